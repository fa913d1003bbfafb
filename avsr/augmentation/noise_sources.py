"""Where noise comes from, for training and for evaluation.

``NOISE_KINDS`` lists the named kinds; any other kind is a file or folder. A new kind is a function
in that table that returns a ``NoiseSource``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avsr.audio import rms
from avsr.augmentation.mixing import loop_to_length, make_babble
from avsr.augmentation.noise_files import (
    MUSAN_RULE,
    list_files,
    list_sounds,
    musan_split,
    read_piece,
)
from avsr.errors import ConfigError, MediaError
from avsr.media import read_waveform
from avsr.rates import SAMPLE_RATE
from avsr.runtime.file_digest import digest_file

BUILT_IN = Path(__file__).parents[1] / "assets/noise"
BABBLE_TALKERS = 30
CLIP_SECONDS = 10  # longest clip of a training pool, and longest piece of MUSAN
POOL_BABBLE = 40  # babble clips in a training pool
POOL_CLIPS = 400  # most other clips in a training pool
MAX_ATTEMPTS = 20  # draws of a piece that is not silent

Piece = dict[str, Any]
"""Origin of a piece of noise: ``{"file": name, "start": second}``."""


class NoiseSource(Protocol):
    """Noise of one kind."""

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, list[Piece]]:
        """Draw noise for one utterance.

        Returns:
            At most ``num_samples`` of noise, float32 (a mix repeats a shorter one), and the
            pieces of which it consists.
        """

    def sample_pool(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw the clips (N_i,) of at most 10 s from which a training takes its noise."""

    def describe(self) -> dict[str, Any]:
        """Plain values from which a second person can tell whether her noise is the same."""


class Utterances(Protocol):
    """The clips of a corpus, from which training makes babble and speech."""

    def __len__(self) -> int: ...

    def waveform(self, index: int) -> np.ndarray:
        """Sound (S,) float32 at 16 kHz of one utterance."""


@dataclass(frozen=True, kw_only=True)
class NoiseCorpora:
    """What noise may be made of."""

    musan: Path | None = None
    """Folder of the MUSAN corpus."""
    split: str = "test"
    """Split of MUSAN: ``train``, ``valid`` or ``test``."""
    utterances: Utterances | None = None
    """Training utterances. Without MUSAN, babble and speech are then made of them, never of the
    built-in clips, which are for tests."""


def open_noise(kind: str, corpora: NoiseCorpora) -> NoiseSource:
    """Find the noise of a kind.

    Args:
        kind: A name in ``NOISE_KINDS``, or a file or folder.
        corpora: What the named kinds may be made of.

    Returns:
        The source, from which noise is drawn.

    Raises:
        ConfigError: There is no such noise.
    """
    if kind in NOISE_KINDS:
        return NOISE_KINDS[kind](kind, corpora)
    return _from_path(kind, corpora)


@dataclass(frozen=True, kw_only=True)
class FileNoise:
    """Noise from sound files."""

    source: str
    """For the reader: ``built in``, ``MUSAN``, or a path."""
    root: Path
    """Folder to which the names of the files are relative."""
    files: tuple[str, ...]
    """In sorted order."""
    rule: str | None = None
    """How the files were chosen from a larger corpus."""
    talkers: int = 1
    """Number of pieces that are averaged."""
    piece_seconds: float | None = None
    """Longest piece; None: as long as the utterance."""

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, list[Piece]]:
        """Draw a random piece of a random file, or babble of several; see ``NoiseSource``."""
        draws = [self._sample_piece(num_samples, rng) for _ in range(self.talkers)]
        pieces = [piece for _, piece in draws]
        if self.talkers == 1:
            return draws[0][0], pieces
        return make_babble([waveform for waveform, _ in draws], num_samples, rng), pieces

    def _sample_piece(self, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, Piece]:
        if self.piece_seconds is not None:
            num_samples = min(num_samples, round(self.piece_seconds * SAMPLE_RATE))
        for _ in range(MAX_ATTEMPTS):
            name = self.files[int(rng.integers(len(self.files)))]
            waveform, start = read_piece(self.root / name, float(rng.random()), num_samples)
            if rms(waveform) > 0.0:
                return waveform, {"file": name, "start": round(start, 4)}
        raise ConfigError(f"noise {self.source}: '{name}' is silent, and so are others; remove it")

    def sample_pool(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw one clip from each of at most 400 files, or 40 clips of babble."""
        if self.talkers > 1:
            return _babble_pool(self, rng)
        pool: list[np.ndarray] = []
        for index in rng.permutation(len(self.files)).tolist():
            try:
                waveform = read_waveform(self.root / self.files[index])
            except MediaError:
                continue  # noise corpora also hold licences and lists
            clip = _random_clip(waveform, rng)
            if rms(clip) > 0:
                pool.append(clip)
            if len(pool) == POOL_CLIPS:
                break
        if not pool:
            raise ConfigError(f"noise '{self.source}' holds no file with sound")
        return pool

    def describe(self) -> dict[str, Any]:
        """Source, rule, number of talkers, and the SHA-256 of every file."""
        return {
            "source": self.source,
            "rule": self.rule,
            "talkers": self.talkers,
            "files": [
                {"file": name, "sha256": digest_file(self.root / name, ConfigError)}
                for name in self.files
            ],
        }


@dataclass(frozen=True, kw_only=True)
class UtteranceNoise:
    """Babble or single talkers, made of the utterances of a corpus."""

    utterances: Utterances
    talkers: int = 1

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, list[Piece]]:
        """Draw utterances without repetition, and average them; see ``NoiseSource``."""
        indices = self._sample_indices(self.talkers, rng)
        waveforms = [self.utterances.waveform(i) for i in indices]
        pieces: list[Piece] = [{"utterance": i} for i in indices]
        if self.talkers == 1:
            return loop_to_length(_random_clip(waveforms[0], rng), num_samples), pieces
        return make_babble(waveforms, num_samples, rng), pieces

    def sample_pool(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw one clip from each of at most 400 utterances, or 40 clips of babble."""
        if self.talkers > 1:
            return _babble_pool(self, rng)
        indices = self._sample_indices(POOL_CLIPS, rng)
        return [_random_clip(self.utterances.waveform(i), rng) for i in indices]

    def _sample_indices(self, count: int, rng: np.random.Generator) -> list[int]:
        total = len(self.utterances)
        return [int(i) for i in rng.choice(total, min(count, total), False)]

    def describe(self) -> dict[str, Any]:
        """Number of talkers; the utterances belong to the training data."""
        return {
            "source": "utterances of the corpus",
            "rule": None,
            "talkers": self.talkers,
            "files": [],
        }


def _babble_pool(source: NoiseSource, rng: np.random.Generator) -> list[np.ndarray]:
    return [source.sample(CLIP_SECONDS * SAMPLE_RATE, rng)[0] for _ in range(POOL_BABBLE)]


def _random_clip(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut at most 10 s at a random position."""
    num_samples = CLIP_SECONDS * SAMPLE_RATE
    first = int(rng.integers(max(1, len(waveform) - num_samples + 1)))
    return waveform[first : first + num_samples].copy()


def _from_path(kind: str, corpora: NoiseCorpora) -> NoiseSource:
    """Noise of a file or of the sound files in a folder."""
    path = Path(kind)
    if path.is_file():
        return FileNoise(source=kind, root=path.parent, files=(path.name,))
    if not path.is_dir():
        kinds = ", ".join(NOISE_KINDS)
        raise ConfigError(f"noise '{kind}' is none of {kinds}, nor a file or folder")
    # Training tries every file, whatever its suffix: their number decides the permutation drawn.
    training = corpora.utterances is not None
    return FileNoise(
        source=kind, root=path, files=list_files(path) if training else list_sounds(path)
    )


def _from_musan(kind: str, corpora: NoiseCorpora) -> NoiseSource:
    """Music or other noise of MUSAN."""
    if corpora.musan is not None:
        return _musan_noise(corpora.musan, corpora.split, folder=kind, talkers=1)
    hint = "set 'musan', or " if corpora.utterances is None else ""
    if corpora.utterances is not None and Path(kind).is_dir():
        return _from_path(kind, corpora)  # training may have a folder of this name
    raise ConfigError(f"noise '{kind}' is not built in: {hint}name a file or folder")


def _from_talkers(kind: str, corpora: NoiseCorpora, *, talkers: int) -> NoiseSource:
    """Talkers of MUSAN, of the training utterances, or built in."""
    if corpora.musan is not None:
        return _musan_noise(corpora.musan, corpora.split, folder="speech", talkers=talkers)
    if corpora.utterances is not None:
        return UtteranceNoise(utterances=corpora.utterances, talkers=talkers)
    return FileNoise(source="built in", root=BUILT_IN, files=(f"{kind}.flac",))


def _musan_noise(musan: Path, split: str, *, folder: str, talkers: int) -> FileNoise:
    return FileNoise(
        source="MUSAN",
        root=musan,
        files=musan_split(musan / folder, split),
        rule=MUSAN_RULE,
        talkers=talkers,
        piece_seconds=CLIP_SECONDS,
    )


NOISE_KINDS: dict[str, Callable[[str, NoiseCorpora], NoiseSource]] = {
    "babble": partial(_from_talkers, talkers=BABBLE_TALKERS),
    "speech": partial(_from_talkers, talkers=1),
    "music": _from_musan,
    "noise": _from_musan,
}
"""Named kinds of noise: many talkers at once, one talker, music, and other sounds."""
