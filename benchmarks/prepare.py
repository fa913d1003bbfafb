"""Time of cropping mouths and writing shards with one worker and with two."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

CLIPS = 135  # half a minute of work, so that the start of processes matters little


def measure(runs: int) -> dict[str, Any]:
    """Return the seconds of each, with the start of processes, and their ratio."""
    from avsr.corpus import read_manifest
    from avsr.corpus.prepare import prepare
    from avsr.synthetic import synthesize

    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize(folder / "corpus", hours=0, valid_hours=0, clips=CLIPS // 9, seed=1)
        records = read_manifest(folder / "corpus/test.jsonl")
        for run in range(runs):
            for workers, durations in seconds.items():
                out = folder / f"{run}-{workers}"
                start = time.perf_counter()
                prepare(records, folder / "corpus", out, "test", workers=workers)
                durations.append(time.perf_counter() - start)
    one, two = (statistics.median(durations) for durations in seconds.values())
    return {
        "case": f"avsr prepare, {len(records)} clips, 1 and 2 workers",
        "seconds_1_worker": round(one, 2),
        "seconds_2_workers": round(two, 2),
        "ratio": round(one / two, 2),
    }
