"""Run cases in a child process with bounds, and sort what comes of them."""

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from tests.fuzz.cases import KINDS, make_case, remove_case

MAX_SECONDS = 30  # of computing, for one input
MAX_WAITING = 120  # s by the clock; other work on the machine counts here
MAX_MEMORY = 3 << 30  # bytes, of a child and its own children
CASES_PER_CHILD = 150
POLL = 0.02  # s
PROBLEMS = ("crash", "foreign", "no reason", "over time", "over memory")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What came of one input."""

    name: str
    """``done``, ``refused``, or one of PROBLEMS."""
    detail: str
    """The line that shows it."""
    seconds: float
    memory: int


class Child:
    """A process that runs commands; it is started anew after a crash or at a bound."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._cases = 0

    def _start(self) -> subprocess.Popen[bytes]:
        self.stop()
        self._answers, answers = os.pipe()
        environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(answers)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[answers],
            start_new_session=True,
        )
        os.close(answers)
        self._cases = 0
        return self._process

    def run(self, folder: Path, arguments: list[str]) -> Outcome:
        """Run one command in a folder."""
        process = self._process
        if process is None or self._cases >= CASES_PER_CHILD or process.poll() is not None:
            process = self._start()
        self._cases += 1
        assert process.stdin is not None
        request = json.dumps({"folder": str(folder), "arguments": arguments})
        watched = psutil.Process(process.pid)
        begin, used = time.monotonic(), _seconds_used(watched)
        process.stdin.write(f"{request}\n".encode())
        process.stdin.flush()
        memory, name, seconds = 0, "", 0.0
        while not name:
            ready, _, _ = select.select([self._answers], [], [], POLL)
            memory = max(memory, _memory(watched))
            if ready:
                answer = os.read(self._answers, 64)
                if not answer:
                    name = "crash"
                    break
                return sort_outcome(int(answer), folder, _seconds_used(watched) - used, memory)
            seconds = max(seconds, _seconds_used(watched) - used)
            if memory > MAX_MEMORY:
                name = "over memory"
            elif seconds > MAX_SECONDS or time.monotonic() - begin > MAX_WAITING:
                name = "over time"
        self.stop()
        detail = f"exit {process.returncode}" if name == "crash" else f"{memory >> 20} MB"
        return Outcome(name, detail, max(seconds, time.monotonic() - begin), memory)

    def stop(self) -> None:
        """End the process and its children."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._answers)
        self._process = None


def _memory(process: psutil.Process) -> int:
    """Bytes in use by a process and its children."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    return total


def _seconds_used(process: psutil.Process) -> float:
    """Seconds of computing of a process and its children."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def sort_outcome(status: int, folder: Path, seconds: float, memory: int) -> Outcome:
    """Sort a command that ended by its exit status and output."""
    output = [
        line
        for name in ("stdout", "stderr")
        if (folder / name).exists()
        for line in (folder / name).read_text("utf-8", "replace").splitlines()
    ]
    foreign = [line for line in output if "unexpected" in line and "AVSR_DEBUG" in line]
    if foreign or any(line.startswith("Traceback") for line in output) or status == -1:
        return Outcome("foreign", (foreign or output or [""])[-1], seconds, memory)
    if status == 0:
        return Outcome("done", "", seconds, memory)
    if status not in (1, 2) or not any(line.strip() for line in output):
        return Outcome("no reason", f"exit {status}", seconds, memory)
    return Outcome("refused", output[-1], seconds, memory)


@dataclass
class Tally:
    """Counts of all outcomes."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Kind of input -> outcome -> inputs."""
    longest: float = 0.0
    largest: int = 0
    problems: list[str] = field(default_factory=list)
    """One line for each input that went wrong."""

    def add(self, kind: str, case: str, arguments: list[str], outcome: Outcome) -> None:
        """Count an outcome."""
        self.outcomes[kind][outcome.name] += 1
        self.longest = max(self.longest, outcome.seconds)
        self.largest = max(self.largest, outcome.memory)
        if outcome.name in PROBLEMS:
            command = shlex.join(arguments)
            line = f"{case}: {outcome.name}: {command}: {outcome.detail[:300]}"
            line = line.encode("utf-8", "backslashreplace").decode()
            print(line, flush=True)
            self.problems.append(line)

    def table(self) -> str:
        """Return the counts as a table."""
        names = ("done", "refused", *PROBLEMS)
        lines = [f"{'':10}{'inputs':>8}" + "".join(f"{name:>13}" for name in names)]
        total: Counter[str] = Counter()
        for counts in self.outcomes.values():
            total.update(counts)
        for kind, counts in [*sorted(self.outcomes.items()), ("all", total)]:
            cells = "".join(f"{counts[name]:13}" for name in names)
            lines.append(f"{kind:10}{counts.total():8}{cells}")
        lines.append(f"longest {self.longest:.1f} s, largest {self.largest / 2**20:.0f} MB")
        return "\n".join(lines)


def run_fuzz(
    seeds: Path,
    work: Path,
    *,
    seed: int,
    seconds: float,
    kinds: list[str] | None = None,
    first: int = 0,
    cases: int | None = None,
    keep: bool = True,
) -> Tally:
    """Try changed inputs, kind after kind, until the time is over.

    Args:
        seeds: What ``make_seeds`` wrote.
        work: Folder for the inputs; those that went wrong stay there.
        seed: Seed of all changes; ``first`` and it decide a case.
        seconds: Time to run.
        kinds: Kinds of inputs; default: all.
        first: Number of the first case.
        cases: Most cases.
        keep: Whether inputs that went wrong stay.
    """
    kinds = kinds or list(KINDS)
    tally, child = Tally(), Child()
    end, number = time.monotonic() + seconds, first
    try:
        while time.monotonic() < end and (cases is None or number < first + cases):
            kind = kinds[number % len(kinds)]
            name = f"{kind}-{seed}-{number}"
            folder = work / name
            remove_case(folder)
            arguments = make_case(seeds, folder, kind, Random(name))
            outcome = child.run(folder, arguments)
            tally.add(kind, name, arguments, outcome)
            if outcome.name in PROBLEMS and keep:
                (folder / "command").write_bytes(os.fsencode(shlex.join(arguments) + "\n"))
            else:
                remove_case(folder)
            number += 1
    finally:
        child.stop()
    return tally
