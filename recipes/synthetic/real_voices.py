"""Write the manifest of the real voices that the bundled model learns from.

    python recipes/synthetic/real_voices.py OUT --voices VOICES [--festvox FESTVOX]
    avsr prepare manifest OUT/manifest.jsonl data/real-voices --no-video

VOICES is a folder with ``manifest.jsonl`` and the recordings of ``avsr.corpus.voices``. FESTVOX is
the Russian voice of Debian's package ``festvox-ru`` (without installing it: ``apt-get download
festvox-ru && dpkg -x festvox-ru_*.deb FOLDER``). Training recordings longer than ``--max-seconds``
are left out. The table shows what there is of each language and split.
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from avsr.corpus import Record, write_manifest
from avsr.corpus.voices import read_festvox, read_voices

FESTVOX = Path("usr/share/festival/voices/russian/msu_ru_nsh_clunits")


def with_paths(root: Path, records: list[Record]) -> list[Record]:
    """Return the records with absolute paths."""
    return [replace(record, media=str((root / record.media).resolve())) for record in records]


def main() -> None:
    """Write the manifest, and print the seconds of each language and split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--festvox", type=Path, help="the voice, or where its package was unpacked")
    parser.add_argument("--max-seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    records = with_paths(arguments.voices, read_voices(arguments.voices))
    if arguments.festvox:
        inside = arguments.festvox / FESTVOX
        root = inside if inside.is_dir() else arguments.festvox
        records += with_paths(root, read_festvox(root))
    kept = [
        record
        for record in records
        if record.split != "train" or record.end - record.start <= arguments.max_seconds
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_manifest(arguments.out / "manifest.jsonl", kept)
    clips: Counter[tuple[str, str]] = Counter()
    seconds: Counter[tuple[str, str]] = Counter()
    for record in kept:
        clips[record.language, record.split] += 1
        seconds[record.language, record.split] += record.end - record.start
    for language, split in sorted(clips):
        minutes = seconds[language, split] / 60
        print(f"{language}  {split:5}  {clips[language, split]:5} clips  {minutes:6.1f} min")
    print(f"{len(records) - len(kept)} clips are longer than {arguments.max_seconds:g} s")


if __name__ == "__main__":
    main()
