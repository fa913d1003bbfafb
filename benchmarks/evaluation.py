"""Time of an evaluation with one condition and with six, from the same clips."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

CLIPS = 45
RATIOS = ("clean", -10, -5, 0, 5, 10)


def measure(runs: int) -> dict[str, Any]:
    """Return the seconds of each, from media files to scores, and their ratio."""
    from avsr.evaluation import EvaluationConfig, evaluate, write_report
    from avsr.synthetic import synthesize

    seconds: dict[int, list[float]] = {1: [], len(RATIOS): []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize(folder / "corpus", hours=0, valid_hours=0, clips=CLIPS // 9, seed=1)
        for run in range(runs):
            for conditions, durations in seconds.items():
                config = EvaluationConfig(
                    manifest=str(folder / "corpus/test.jsonl"),
                    out=str(folder / f"{run}-{conditions}"),
                    modalities=("av",),
                    snr_db=RATIOS[:conditions],
                )
                start = time.perf_counter()
                write_report(evaluate(config))
                durations.append(time.perf_counter() - start)
    one, six = (statistics.median(durations) for durations in seconds.values())
    return {
        "case": f"avsr evaluate, {CLIPS} clips with sound and lips, 1 and {len(RATIOS)} conditions",
        "seconds_1_condition": round(one, 2),
        f"seconds_{len(RATIOS)}_conditions": round(six, 2),
        "ratio": round(six / one, 2),
    }
