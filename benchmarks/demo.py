"""Several users of the web page at once: correct answers, memory of the server, waiting times.

The server runs in its own process; the users are gradio clients in this one. Each uploads a clip
under its own name, waits for the transcript and starts again. Each clip is also transcribed alone:
an answer is correct if it has the name of its upload and the same text.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "demo" / "examples"
LIMITS = "uploads_per_minute: 100000\ncalls_per_minute: 100000\n"  # all users have one address
POLL_SECONDS = 0.5  # between two measurements of memory and page
WARM_UP = 60  # s, after which memory should not grow


@dataclass
class Tally:
    """The measurements; threads append to them."""

    answers: list[bool] = field(default_factory=list)  # True: correct
    failures: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Start `avsr demo`; yield its address and process id."""
    (folder / "limits.yaml").write_text(LIMITS)
    options = ["demo", "--device", "cpu", "--config", str(folder / "limits.yaml")]
    process = subprocess.Popen(
        [sys.executable, "-m", "avsr", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if " is at " not in line:
            raise SystemExit("avsr demo did not start")
        yield line.split()[3], process.pid
    finally:
        process.terminate()
        process.wait(30)


def transcribe(client: Any, clip: Path) -> tuple[str, str]:
    """Transcribe a clip; return the file name and the text in the answer."""
    from gradio_client import handle_file

    answer = client.predict(video=handle_file(clip), api_name="/transcribe")
    (path,) = (path for path in answer[-1] if path.endswith(".json"))
    transcript = json.loads(Path(path).read_text("utf-8"))
    return transcript["file"], transcript["text"]


def measure(_runs: int, users: int = 8, seconds: float = 180) -> dict[str, Any]:
    """Return the figures of one run of ``seconds``."""
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as (address, process):
        clips = copy_clips(Path(name), users)
        expected = {clip.name: ask_alone(address, Path(name), clip) for clip in clips}
        tally = Tally()
        threads = [
            threading.Thread(target=use, args=(address, Path(name), clip, seconds, expected, tally))
            for clip in clips
        ]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        watch(address, process, threads, tally)
        duration = time.monotonic() - start
    return {
        "case": f"{users} users of the web page at once for {seconds:g} s, clips of 1 to 2 s",
        "different_texts": len(set(expected.values())),
        "right_answers": tally.answers.count(True),
        "wrong_answers": tally.answers.count(False),
        "failures": len(tally.failures),
        "first_failure": tally.failures[0] if tally.failures else None,
        "answers_per_minute": round(60 * len(tally.answers) / duration, 1),
        "median_wait_seconds": round(statistics.median(tally.waits or [0]), 2),
        "longest_wait_seconds": round(max(tally.waits, default=0), 2),
        "page_median_seconds": round(statistics.median(tally.pages), 3),
        "page_slowest_seconds": round(max(tally.pages), 3),
        **growth(tally.memory),
    }


def copy_clips(folder: Path, users: int) -> list[Path]:
    """Copy the examples in turn, one clip for each user."""
    examples = sorted(EXAMPLES.glob("*.mp4"))
    clips = [folder / f"user-{number}.mp4" for number in range(users)]
    for number, clip in enumerate(clips):
        shutil.copy(examples[number % len(examples)], clip)
    return clips


def connect(address: str, folder: Path) -> Any:
    """Return a client of the server."""
    from gradio_client import Client

    return Client(address, verbose=False, download_files=folder / "got")


def ask_alone(address: str, folder: Path, clip: Path) -> str:
    """Transcribe a clip while no other user is active; return its text."""
    client = connect(address, folder)
    try:
        return transcribe(client, clip)[1]
    finally:
        client.close()


def use(
    address: str, folder: Path, clip: Path, seconds: float, expected: dict[str, str], tally: Tally
) -> None:
    """Upload and wait repeatedly for ``seconds``."""
    end = time.monotonic() + seconds
    client = connect(address, folder / clip.stem)
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            is_correct = transcribe(client, clip) == (clip.name, expected[clip.name])
        except Exception as error:  # any failure is counted
            tally.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(POLL_SECONDS)
            continue
        tally.waits.append(time.monotonic() - start)
        tally.answers.append(is_correct)
    client.close()


def watch(address: str, process: int, threads: list[threading.Thread], tally: Tally) -> None:
    """Measure page and memory until the users are done."""
    import httpx
    import psutil

    server = psutil.Process(process)
    began = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        start = time.monotonic()
        try:
            httpx.get(address, timeout=30).raise_for_status()
        except httpx.HTTPError as error:
            tally.failures.append(f"the page: {type(error).__name__}: {error}")
        tally.pages.append(time.monotonic() - start)
        tally.memory.append((time.monotonic() - began, server.memory_info().rss))
        time.sleep(POLL_SECONDS)


def growth(memory: list[tuple[float, int]]) -> dict[str, Any]:
    """MB after the first minute (or half of a shorter run) and at the end; medians of 10 s."""
    end = memory[-1][0]
    warm = WARM_UP if end > 2 * WARM_UP else end / 2

    def around(time: float) -> float:
        return statistics.median(size for at, size in memory if abs(at - time) <= 5) / 1e6

    before, after = around(warm), around(end - 5)
    return {
        "memory_mb": round(before),
        "memory_at_end_mb": round(after),
        "memory_growth_percent": round(100 * (after / before - 1), 1),
    }
