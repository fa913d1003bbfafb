"""A process that was forked after a first video hung or crashed: threads do not come along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLIP = Path(__file__).parents[2] / "demo/examples/en.mp4"

PROGRAM = """
import multiprocessing, os, sys
import avsr

model, clip = avsr.load_model(device="cpu"), sys.argv[1]

def work(modality):
    try:
        print("text:", model.transcribe(clip, modality=modality).text, flush=True)
    except avsr.AvsrError as error:
        print("error:", error, flush=True)

def fork():
    child = os.fork()
    if not child:
        work("av")
        work("audio")
        sys.exit(3)
    print("exit:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

fork()  # the model was loaded before, as by a server that forks its workers
work("av")
fork()
child = multiprocessing.get_context("fork").Process(target=work, args=("av",))
child.start()
child.join()
print("exit:", child.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_or_says_why_it_cannot():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(CLIP)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = done.stdout.splitlines()
    text = lines[0]
    assert text.startswith("text: ")
    error = lines[4]
    assert error.startswith("error: faces cannot be found in a process that was forked")
    assert "'spawn'" in error
    heard = lines[1]
    assert lines == [text, heard, "exit: 3", text, error, heard, "exit: 3", error, "exit: 0"]
