"""Noise for training: clips of babble, of one talker, or out of a folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from avsr.audio import make_babble, rms
from avsr.augmentation.noise_sources import BABBLE_TALKERS
from avsr.errors import ConfigError, MediaError
from avsr.media import read_waveform
from avsr.rates import SAMPLE_RATE
from avsr.training.dataset import Utterances

BABBLE, SPEECH = "babble", "speech"  # every other kind is a folder
CLIP_SECONDS = 10
BABBLE_CLIPS = 40
MAX_CLIPS = 400  # of speech, and of a folder


def make_noises(
    utterances: Utterances, kinds: Iterable[str], seed: int
) -> dict[str, Sequence[np.ndarray]]:
    """Clips (S,) float32 of every kind of noise, 10 s at most; they are looped to length.

    ``babble`` is the mean of 30 random utterances, ``speech`` one utterance; every other kind is a
    folder, from whose sound files (any depth) random pieces are cut. The clips depend on the seed
    and the kind alone. Raises ConfigError for a folder without sound.
    """
    return {kind: _clips(utterances, kind, seed) for kind in sorted(set(kinds))}


def _clips(utterances: Utterances, kind: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, *kind.encode()])
    if kind == BABBLE:
        talkers = min(BABBLE_TALKERS, len(utterances))
        return [
            make_babble(
                [utterances.waveform(int(i)) for i in rng.choice(len(utterances), talkers, False)],
                CLIP_SECONDS * SAMPLE_RATE,
                rng,
            )
            for _ in range(BABBLE_CLIPS)
        ]
    if kind == SPEECH:
        chosen = rng.choice(len(utterances), min(MAX_CLIPS, len(utterances)), False)
        return [_piece(utterances.waveform(int(i)), rng) for i in chosen]
    return _folder_clips(Path(kind), rng)


def _folder_clips(folder: Path, rng: np.random.Generator) -> list[np.ndarray]:
    if not folder.is_dir():
        raise ConfigError(f"noise '{folder}' is neither {BABBLE}, {SPEECH} nor a folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    clips: list[np.ndarray] = []
    for index in rng.permutation(len(files)).tolist():
        try:
            clip = _piece(read_waveform(files[index]), rng)
        except MediaError:
            continue  # a licence or a list, which noise corpora hold too
        if rms(clip) > 0:
            clips.append(clip)
        if len(clips) == MAX_CLIPS:
            break
    if not clips:
        raise ConfigError(f"noise '{folder}' holds no file with sound")
    return clips


def _piece(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most CLIP_SECONDS from a random place."""
    size = CLIP_SECONDS * SAMPLE_RATE
    first = int(rng.integers(max(1, len(waveform) - size + 1)))
    return waveform[first : first + size].copy()
