import platform
import subprocess
import sys

import pytest

COMMAND_LINE = """
import sys
import avsr.runtime.malloc as memory
from avsr import __main__
memory.disable_malloc_trim = lambda: print("kept")
__main__.main = lambda: 0
__main__.run()
"""
SCRIPT = """
import sys
import torch
from avsr.runtime.malloc import disable_malloc_trim
if "keep" in sys.argv:
    assert disable_malloc_trim()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
block = torch.ones(1 << 26)
del block
print((resident() - before) / (4 << 26))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(("argument", "kept"), [("keep", True), ("leave", False)])
def test_freed_memory_is_kept_when_asked_for(argument: str, kept: bool) -> None:
    command = [sys.executable, "-c", SCRIPT, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 0.9) is kept


@pytest.mark.parametrize(("command", "kept"), [("train", True), ("transcribe", False)])
def test_the_command_that_trains_asks_for_it(command: str, kept: bool) -> None:
    arguments = [sys.executable, "-c", COMMAND_LINE, command, "train"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout == "kept\n" * kept
