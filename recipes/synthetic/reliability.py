"""How often the bundled model marks its own kind of clips as not reliable, and real voices.

    python recipes/synthetic/reliability.py VOICES MANIFEST... [--split SPLIT] [--limit 40]
        [--modalities av audio video]

VOICES is a folder of real voices with a ``manifest.jsonl`` of ``file, source, language``; of each
source and language ``--limit`` random clips are read, and every pair counts the same. MANIFEST are
clips that the model should do well; ``--split`` selects among those that have splits.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from avsr.corpus import read_manifest
from avsr.corpus.manifest import resolve_media
from avsr.evaluation.reliability import auroc
from avsr.hub import load_network
from avsr.language import UNKNOWN
from avsr.recognition.batching import transcribe_batches
from avsr.recognition.options import TranscribeOptions
from avsr.runtime.text_lines import split_lines
from avsr.transcript import MODALITIES, Modality, Transcript

EXAMPLES = Path(__file__).parents[2] / "demo" / "examples"
SEED = 0

model = load_network(device="cpu")


def transcribe(paths: Sequence[Path], modality: Modality) -> Iterator[Transcript]:
    """Transcribe files and skip, with a line, those that cannot be."""
    options = TranscribeOptions(modality=modality)
    files = [str(path) for path in paths]
    for path, result in zip(files, transcribe_batches(model, files, options), strict=True):
        if isinstance(result, Transcript):
            yield result
        else:
            print(f"{path}: {result}")


def read_pairs(folder: Path, limit: int) -> dict[tuple[str, str], list[Path]]:
    """Choose at most ``limit`` files of each source and language."""
    pairs: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for line in split_lines((folder / "manifest.jsonl").read_text("utf-8")):
        row = json.loads(line)
        pairs[row["source"], row["language"]].append(folder / row["file"])
    rng = random.Random(SEED)
    return {
        pair: rng.sample(paths, min(limit, len(paths))) for pair, paths in sorted(pairs.items())
    }


def doubts(transcripts: Sequence[Transcript]) -> list[float]:
    """The doubt about each transcript of a calibrated model."""
    return [transcript.doubt for transcript in transcripts if transcript.doubt is not None]


def main() -> None:
    """Transcribe all, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voices", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--modalities", nargs="+", choices=MODALITIES, default=MODALITIES)
    arguments = parser.parse_args()
    sets = {"examples": sorted(EXAMPLES.glob("*.mp4"))}
    for manifest in arguments.manifests:
        records = read_manifest(manifest)
        splits = {record.split for record in records}
        chosen = arguments.split if arguments.split in splits else None
        sets[f"{manifest.parent.name}/{manifest.name}"] = [
            resolve_media(manifest, record)
            for record in records
            if chosen is None or record.split == chosen
        ]
    home: dict[Modality, list[float]] = {modality: [] for modality in arguments.modalities}
    for name, paths in sets.items():
        for modality in home:
            results = [*transcribe(paths, modality)]
            found = doubts(results)
            if name != "examples":
                home[modality] += found
            share = np.mean(np.array(found) > 0)
            print(f"{name}  {modality}  {len(found)} clips, {share:.1%} not reliable", flush=True)
    away: list[float] = []
    weights: list[float] = []
    flagged, wrong = [], []
    for (source, language), paths in read_pairs(arguments.voices, arguments.limit).items():
        results = [*transcribe(paths, "audio")]
        found = doubts(results)
        flagged.append(float(np.mean(np.array(found) > 0)))
        wrong.append(float(np.mean([r.language not in (UNKNOWN, language) for r in results])))
        away += found
        weights += [1 / len(found)] * len(found)
        print(
            f"{source}  {language}  {len(found)} clips, {flagged[-1]:.1%} not reliable, "
            f"{wrong[-1]:.1%} of a wrong language by name",
            flush=True,
        )
    print(
        f"mean of {len(flagged)} sources and languages: {np.mean(flagged):.1%} not reliable, "
        f"{np.mean(wrong):.1%} of a wrong language by name"
    )
    for modality, found in home.items():
        print(f"AUROC of the voices against the manifests, {modality}: ", end="")
        print(f"{auroc(away, found, weights):.4f}")


if __name__ == "__main__":
    main()
