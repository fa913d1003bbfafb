"""Write copies of a prepared corpus with other voices and faces: one speaker stands for many.

    python recipes/synthetic/vary_speakers.py data/grid data/grid-varied --copies 6 --workers 2

Only the training split is copied. An interrupted run continues when it is started again.
"""

import argparse
from pathlib import Path

from avsr.cli.display import show_progress
from avsr.corpus.varied import vary_corpus


def main() -> None:
    """Write the copies, and print how many there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="prepared corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=4, help="of each utterance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with show_progress() as progress:
        records = vary_corpus(
            arguments.source,
            arguments.out,
            copies=arguments.copies,
            seed=arguments.seed,
            workers=arguments.workers,
            progress=progress,
        )
    hours = sum(record.end - record.start for record in records) / 3600
    print(f"{len(records)} utterances, {hours:.2f} h")


if __name__ == "__main__":
    main()
