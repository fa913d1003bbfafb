"""``import avsr`` is quick and light, and everything it promises is there."""

import os
import subprocess
import sys
import time

import pytest

import avsr

HEAVY = ("torch", "mediapipe", "gradio", "lightning", "cv2", "av", "scipy", "huggingface_hub")


def test_import_is_quick_and_loads_nothing_heavy() -> None:
    code = "import sys, avsr, avsr.cli.app; print(*sys.modules)"
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 2
    assert not set(HEAVY) & set(run.stdout.split())


def test_a_missing_file_is_found_before_anything_heavy_is_loaded() -> None:
    call = "cli.main(['transcribe', 'gone.mp4'])"
    code = f"import sys; from avsr.cli import app as cli; print({call}, *sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == "avsr: gone.mp4: there is no such file\n"
    status, *modules = run.stdout.split()
    assert status == "2"
    assert not set(HEAVY) & set(modules)


@pytest.mark.parametrize("name", avsr.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(avsr, name)
    assert name in dir(avsr)


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="load_modle"):
        _ = avsr.load_modle


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_the_command_line_lets_idle_threads_sleep_unless_told_otherwise(
    given: dict[str, str], expected: str
) -> None:
    code = """
import os, sys
from avsr import __main__
__main__.main = lambda: print(os.environ.get("GOMP_SPINCOUNT")) or 3
__main__.run()
"""
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept | given)
    assert (done.stdout.strip(), done.returncode) == (expected, 3)
