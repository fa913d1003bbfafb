"""Two states of the project by turns: ``python -m benchmarks.paired CHECKOUT [CASE...]``.

Each case runs in this checkout and in the other one, one after the other, ``--turns`` times. A
ratio is this one's seconds over the other's: the median over the turns, with a 95 % interval of
the median by a bootstrap over the turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avsr.runtime.process import SPINS

HERE = Path(__file__).resolve().parents[1]
RESAMPLES = 10_000

TOGETHER = """
import json, sys, time
from pathlib import Path
from benchmarks import media
clip = Path(sys.argv[1])
media.warm_up(clip)
print(json.dumps({"media together": media.timed(media.together, clip)}))
"""
LARGE = """
import json, sys
try:  # as in the command line; states before 0.2 pause the garbage collector in any process
    from avsr.runtime.process import tune_process
    tune_process()
except ImportError:
    pass
from benchmarks.network import examine
figures = examine(sys.argv[1], "fp32", 2, 3)
names = ["load_seconds", "encoder_seconds", "beam20_token_ms", "beam5_token_ms"]
print(json.dumps({f"large {name}": figures[name] for name in names}))
"""


def run(checkout: Path, *arguments: str) -> str:
    """The stdout of Python with arguments, by the avsr of a checkout."""
    # The command line's waiting time of idle OpenMP threads, for what does not run it, too.
    environment = {"GOMP_SPINCOUNT": SPINS} | os.environ | {"PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout


def time_command(name: str, *arguments: str) -> Callable[[Path], dict[str, float]]:
    """A case that times the whole of an avsr command."""

    def turn(checkout: Path) -> dict[str, float]:
        start = time.perf_counter()
        run(checkout, "-m", "avsr", *arguments)
        return {name: time.perf_counter() - start}

    return turn


def run_script(script: str, *arguments: str) -> Callable[[Path], dict[str, float]]:
    """A case that measures inside a process and prints its figures as JSON."""

    def turn(checkout: Path) -> dict[str, float]:
        figures: dict[str, float] = json.loads(
            run(checkout, "-c", script, *arguments).splitlines()[-1]
        )
        return figures

    return turn


def prepare_case(name: str, folder: Path) -> Callable[[Path], dict[str, float]]:
    """Make what a case needs, in ``folder``, and return what one turn runs."""
    if name == "transcribe":
        return time_command("transcribe", "transcribe", str(HERE / "demo/examples/de.mp4"))
    if name == "large":
        from benchmarks import network

        network.write_models("large", str(folder))
        network.compare(str(folder), ("plain",), 2, 1)  # leaves what the others are compared with
        return run_script(LARGE, str(folder))
    from benchmarks import long, media, transcribe

    part, clip = folder / "part.mp4", folder / "clip.mp4"
    transcribe.make_clip(part)
    long.join(part, media.TIMES, transcribe.SECONDS, clip)
    if name == "media":
        return run_script(TOGETHER, str(clip))
    out = str(folder / "out.srt")
    return time_command("file to SRT", "transcribe", str(clip), "--device", "cpu", "-o", out)


def median_interval(ratios: list[float]) -> tuple[float, float]:
    """95 % interval of the median, by a bootstrap over the turns with a fixed seed."""
    draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


CASES = ("transcribe", "media", "srt", "large")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another state of the project")
    parser.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--turns", type=int, default=10)
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.case) - set(CASES))
    if unknown:
        parser.error(f"unknown case '{unknown[0]}': use one of {', '.join(CASES)}")
    for name in arguments.case or CASES:
        with tempfile.TemporaryDirectory() as folder:
            turn = prepare_case(name, Path(folder))
            rows: list[tuple[dict[str, float], dict[str, float]]] = []
            for number in range(arguments.turns + 1):
                # Both orders, so that a drift of the machine's speed favours neither.
                if number % 2:
                    other, this = turn(arguments.checkout), turn(HERE)
                else:
                    this, other = turn(HERE), turn(arguments.checkout)
                if number:  # the first turn only fills caches
                    rows.append((this, other))
        for figure in rows[0][0]:
            ratios = [this[figure] / other[figure] for this, other in rows]
            low, high = median_interval(ratios)
            seconds = statistics.median(this[figure] for this, _ in rows)
            print(
                f"{figure:28} {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f}), "
                f"{len(rows)} turns, {seconds:.3f} here",
                flush=True,
            )


if __name__ == "__main__":
    main()
