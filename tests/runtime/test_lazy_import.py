"""Deferred imports; each test runs in a new process, in which the module is not imported yet."""

import os
import subprocess
import sys

import pytest

BEGIN = "import sys\nfrom avsr.runtime.lazy_import import defer_import\n"


def run(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout


def test_an_unused_module_is_not_imported() -> None:
    code = """
with defer_import("json", "tool"):
    import json.tool as tool
print(*(name for name in sys.modules if name.startswith("json")))
"""
    assert run(code).split() == []


@pytest.mark.parametrize("inside", [True, False])
def test_a_used_module_is_the_real_one(inside: bool) -> None:
    code = f"""
with defer_import("json", "tool"):
    import json.tool as tool
    import json as package
    if {inside}:
        print(tool.main.__module__, package.dumps(1))
        import json.decoder
if not {inside}:
    print(tool.main.__module__, package.dumps(1))
import json.tool
print(json.tool is tool, type(json).__name__, type(json.tool).__name__, json.decoder.__name__)
"""
    expected = ["json.tool", "1", "False", "module", "module", "json.decoder"]
    assert run(code).split() == expected


def test_another_module_of_the_package_may_be_imported_meanwhile() -> None:
    code = """
with defer_import("json", "tool"):
    import json.decoder
    print(json.decoder.JSONDecoder.__name__)
"""
    assert run(code).split() == ["JSONDecoder"]


def test_an_imported_package_stays() -> None:
    code = """
import json
with defer_import("json", "tool"):
    import json.tool
print(json.tool.main.__name__, sys.modules["json"] is json)
"""
    assert run(code).split() == ["main", "True"]


def test_faces_are_found_without_matplotlib_and_it_can_be_used_afterwards() -> None:
    code = """
import numpy as np
from avsr.face import MediapipeDetector
with MediapipeDetector() as finder:
    finder.find(np.zeros((64, 64, 3), np.uint8))
print("matplotlib" in sys.modules)
from mediapipe.python.solutions import drawing_utils
print(drawing_utils.plt.figure.__module__)
"""
    assert run(code, MPLBACKEND="agg").split() == ["False", "matplotlib.pyplot"]
