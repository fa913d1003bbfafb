"""SIGTERM and SIGHUP left ``.part`` files, lost what was finished, and left workers behind.

``nohup`` is obeyed: signals that are ignored from the start stay ignored.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from avsr.media import open_video
from avsr.runtime import interrupts
from avsr.runtime.interrupts import STOP_SIGNALS, defer_sigint, handle_stops, stop_status

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

COMMAND = """
import os, sys, time
from types import SimpleNamespace
from avsr import Transcript
from avsr.recognition import recognizer
from avsr.transcript import Segment
from avsr.transcript.result import Interrupted

def transcribe(file, **options):
    shared = dict(text="good", language="en", language_probs={"en": 1.0}, modality="av")
    if os.path.basename(file) == "first.mp4":
        return Transcript(file=file, duration=9.0, **shared)
    try:
        os.kill(os.getpid(), int(os.environ["NUMBER"]))
        time.sleep(0.2)
    except KeyboardInterrupt:
        part = Segment(start=0.0, end=1.0, **shared)
        raise Interrupted(Transcript(file=file, duration=9.0, segments=(part,), **shared))
    return Transcript(file=file, duration=9.0, **shared)

model = SimpleNamespace(languages=("en",), transcribe=transcribe)
recognizer.load_model = lambda *arguments: model
from avsr.__main__ import run
run()
"""
POOL = """
import sys, time
from avsr.runtime.interrupts import handle_stops, stop_status
from avsr.runtime.workers import process_map

if __name__ == "__main__":
    handle_stops()
    try:
        with process_map(2) as run:
            print(len(list(run(abs, range(8)))), flush=True)
            list(run(time.sleep, [100] * 4))
    except KeyboardInterrupt:
        sys.exit(stop_status())
"""
LOADER = """
import os, time
import numpy as np
from torch.utils.data import DataLoader, IterableDataset
from avsr.runtime.interrupts import end_with_parent

class Batches(IterableDataset):
    def __iter__(self):
        while True:
            yield np.zeros(1 << 20)

def start(number):
    end_with_parent()

for batch in DataLoader(Batches(), batch_size=None, num_workers=1, worker_init_fn=start):
    print(1, flush=True)
    time.sleep(100)
"""


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The signals stop this process as they stop a command."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS}
    monkeypatch.setattr(interrupts, "_stop", None)
    handle_stops()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_finished_stays_and_the_status_names_the_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    done = run_command(tmp_path, number, ignored=None)
    assert done.returncode == 128 + number
    assert done.stdout == "first.mp4  en (1.00)  good\nsecond.mp4  en (1.00)  good\n"
    assert (
        "second.mp4: stopped at 1.0 of 9.0 s; the finished part is in out/second.partial.srt"
        in (done.stderr)
    )
    assert done.stderr.endswith("avsr: stopped\n")
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["first.srt", "second.partial.srt"]


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(tmp_path: Path) -> None:
    done = run_command(tmp_path, signal.SIGHUP, ignored=signal.SIGHUP)
    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["first.srt", "second.srt", "third.srt"]


def run_command(folder: Path, number: int, ignored: int | None) -> subprocess.CompletedProcess[str]:
    """Transcribe three files; the second sends the signal to the process."""
    names = ["first.mp4", "second.mp4", "third.mp4"]
    for name in names:
        (folder / name).touch()

    def set_signals() -> None:
        for one in STOP_SIGNALS:
            signal.signal(one, signal.SIG_IGN if one == ignored else signal.SIG_DFL)

    return subprocess.run(
        [sys.executable, "-c", COMMAND, "transcribe", *names, "-o", "out"],
        cwd=folder,
        env=os.environ | {"NUMBER": str(int(number))},
        capture_output=True,
        text=True,
        preexec_fn=set_signals,
    )


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_unfinished_files_go(tmp_path: Path, number: int) -> None:
    with pytest.raises(KeyboardInterrupt), open_video(tmp_path / "a.mp4") as add:  # noqa: PT012
        add(np.zeros((48, 64, 3), np.uint8))
        signal.raise_signal(number)
    assert not os.listdir(tmp_path)
    assert stop_status() == 128 + number


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_calls_of_c_code_are_not_interrupted(number: int) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_sigint():  # noqa: PT012
        signal.raise_signal(number)
        done.append("the rest of the block")
    assert done


@pytest.mark.usefixtures("handlers")
def test_two_signals_at_once_are_one_and_a_later_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)  # as a service or a closed terminal sends it
    monkeypatch.setattr(interrupts, "SAME_STOP", 0.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert stop_status() == 128 + signal.SIGHUP


@pytest.mark.parametrize(
    ("script", "number"),
    [(POOL, signal.SIGTERM), (POOL, signal.SIGKILL), (LOADER, signal.SIGKILL)],
    ids=["pool-term", "pool-kill", "loader-kill"],
)
def test_workers_end_with_their_parent(tmp_path: Path, script: str, number: signal.Signals) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    process = subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    time.sleep(0.2)
    process.send_signal(number)
    try:
        assert process.wait(60) == (143 if number == signal.SIGTERM else -number)
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert alive == []
    finally:
        process.stdout.close()
        for worker in workers:
            if worker.is_running():
                worker.kill()
