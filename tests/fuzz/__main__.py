"""``make fuzz``: try changed inputs for an hour; failing ones stay in build/fuzz.

FUZZ_SECONDS is the time, FUZZ_SEED the seed, FUZZ_KINDS the kinds of inputs, FUZZ_FIRST the number
of the first case and FUZZ_CASES the most cases: a failing input is named KIND-SEED-NUMBER.
"""

import os
import shutil
import sys
from pathlib import Path

from tests.fuzz.harness import ROOT, run_fuzz
from tests.fuzz.seeds import make_seeds


def main() -> int:
    """Run with the settings of the environment; print the table; return the exit status."""
    get = os.environ.get
    work = Path(get("FUZZ_FOLDER", ROOT / "build" / "fuzz"))
    shutil.rmtree(work, ignore_errors=True)
    make_seeds(work / "seeds")
    seed = int(get("FUZZ_SEED", "0"))
    tally = run_fuzz(
        work / "seeds",
        work,
        seed=seed,
        seconds=float(get("FUZZ_SECONDS", "3600")),
        kinds=get("FUZZ_KINDS", "").split() or None,
        first=int(get("FUZZ_FIRST", "0")),
        cases=int(get("FUZZ_CASES", "0")) or None,
    )
    print(f"seed {seed}")
    print(tally.table())
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
