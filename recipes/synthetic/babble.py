"""Make the built-in test noise from synthetic talkers: 30 at once, and one after the other.

    python recipes/synthetic/babble.py MANIFEST OUT

MANIFEST lists training shards of ``avsr synthesize``; OUT gets ``babble.flac`` and ``speech.flac``.
"""

import argparse
from collections import defaultdict
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from avsr.audio import rms
from avsr.augmentation import make_babble
from avsr.augmentation.noise_sources import BABBLE_TALKERS
from avsr.corpus import open_shard, read_manifest
from avsr.rates import SAMPLE_RATE

SECONDS = 30  # of the babble
TURN_SECONDS = 5  # of each language in the speech
LEVEL = 0.1  # RMS of both files
SEED = 4


def talkers(manifest: Path) -> dict[tuple[str, str], list[np.ndarray]]:
    """Return waveforms by language and speaker, from six random shards."""
    records = read_manifest(manifest)
    shards = list(dict.fromkeys(r.media for r in records))
    rng = np.random.default_rng(SEED)
    waveforms: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for number in rng.permutation(len(shards))[:6].tolist():
        for sample in open_shard(manifest.parent / shards[number]):
            sound = sample.decode_audio().astype(np.float32) / 32768
            waveforms[sample.record.language, sample.record.speaker].append(sound)
    return waveforms


def concatenate(clips: list[np.ndarray], seconds: float) -> np.ndarray:
    """Concatenate clips at the same level to (S,), repeating them if they are too short."""
    size, parts, length = round(seconds * SAMPLE_RATE), [], 0
    for clip in cycle(clips):
        parts.append(clip * (LEVEL / rms(clip)))
        length += len(clip)
        if length >= size:
            return np.concatenate(parts)[:size]
    raise ValueError("there are no clips")


def main() -> None:
    """Pick talkers, mix them, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    waveforms = talkers(arguments.manifest)
    by_language: dict[str, list[list[np.ndarray]]] = defaultdict(list)
    for language, speaker in sorted(waveforms):
        by_language[language].append(waveforms[language, speaker])
    turns = cycle(sorted(by_language))
    mixed = []
    for number, language in enumerate(islice(turns, BABBLE_TALKERS)):
        voices = by_language[language]
        mixed.append(concatenate(voices[number // len(by_language) % len(voices)], SECONDS))
    babble = make_babble(mixed, SECONDS * SAMPLE_RATE, np.random.default_rng(SEED))
    speech = np.concatenate(
        [concatenate(v[-1], TURN_SECONDS) for _, v in sorted(by_language.items())]
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, sound in (("babble", babble), ("speech", speech)):
        path = arguments.out / f"{name}.flac"
        soundfile.write(path, sound * (LEVEL / rms(sound)), SAMPLE_RATE, subtype="PCM_16")
        print(path, f"{len(sound) / SAMPLE_RATE:.0f} s", f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
