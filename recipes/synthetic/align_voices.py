"""Find the phones of prepared real voices, and let synthetic heads say what they say.

    python recipes/synthetic/align_voices.py data/real-voices data/real-voices-lips --workers 2

An interrupted run continues when it is started again. Sound alone: ``--video-fraction 0``.
"""

import argparse
from pathlib import Path

from avsr.cli.display import show_progress
from avsr.synthetic.phone_alignment import align_speech
from avsr.synthetic.recorded import align_corpus


def main() -> None:
    """Write the corpus, and print how many recordings are aligned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="prepared corpus of sound")
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--video-fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with show_progress() as progress:
        records = align_corpus(
            arguments.source,
            arguments.out,
            align_speech,
            split=arguments.split,
            video_fraction=arguments.video_fraction,
            seed=arguments.seed,
            workers=arguments.workers,
            progress=progress,
        )
    aligned = sum(record.phones is not None for record in records)
    print(f"{len(records)} utterances, {aligned} aligned")


if __name__ == "__main__":
    main()
