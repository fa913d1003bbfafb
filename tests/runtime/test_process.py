"""The library leaves the process alone; the command line may change its settings."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avsr.runtime import process
from avsr.runtime.process import hide_stderr_lines
from avsr.runtime.workers import process_map

EXAMPLE = Path(__file__).parents[2] / "demo/examples/de.mp4"
STATE = """
import gc, os, sys
def state():  # OpenCV's import sets the variables of Qt and the path of libraries
    names = {n for n in os.environ if not n.startswith(("QT_QPA_", "LD_LIBRARY_PATH"))}
    return gc.isenabled(), gc.get_threshold(), sys.getdlopenflags(), names
def forbidden(*_):
    raise AssertionError("a setting of the process was changed")
before = state()
setters = [(os, "dup2"), (gc, "disable"), (gc, "freeze"), (sys, "setdlopenflags")]
originals = [getattr(module, name) for module, name in setters]
for module, name in setters:
    setattr(module, name, forbidden)
"""
LIBRARY = f"""
{STATE}
import avsr
print(bool(avsr.transcribe({os.fspath(EXAMPLE)!r}).text), state() == before)
for (module, name), function in zip(setters, originals):
    setattr(module, name, function)
"""


def test_a_library_call_changes_no_setting_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_lines_are_hidden_in_a_tuned_process_only(capfd, monkeypatch) -> None:
    for tuned, output in ((False, "W0000 noise\ndisk full\n"), (True, "disk full\n")):
        monkeypatch.setattr(process, "_tuned", tuned)
        with hide_stderr_lines((b"W0000", b"I0000")):
            os.write(2, b"W0000 noise\n")
            os.write(2, b"disk full\n")
        assert capfd.readouterr().err == output


def test_stderr_comes_back_after_an_error(capfd, monkeypatch) -> None:
    monkeypatch.setattr(process, "_tuned", True)
    with pytest.raises(RuntimeError), hide_stderr_lines((b"W0000",)):
        raise RuntimeError
    os.write(2, b"W0000 shown\n")
    assert capfd.readouterr().err == "W0000 shown\n"


def _is_tuned(_: int) -> bool:
    return process.is_tuned()


@pytest.mark.parametrize("tuned", [False, True])
def test_workers_are_tuned_as_their_parent_is(tuned, monkeypatch) -> None:
    monkeypatch.setattr(process, "_tuned", tuned)
    with process_map(2) as run:
        assert list(run(_is_tuned, range(2))) == [tuned, tuned]


def test_the_garbage_collector_is_paused_in_a_tuned_process_only(monkeypatch) -> None:
    from avsr.model.meta_init import gc_paused

    for tuned in (False, True):
        monkeypatch.setattr(process, "_tuned", tuned)
        with gc_paused():
            assert gc.isenabled() is not tuned
        assert gc.isenabled()
