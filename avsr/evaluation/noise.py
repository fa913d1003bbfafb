"""Noise of an evaluation: a hash decides file, position and level for each utterance.

The source of the noise is written down with a digest of every file, so that a second person can
tell whether hers is the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avsr.augmentation.mixing import mix_at_snr
from avsr.augmentation.noise_sources import NoiseCorpora, Piece, open_noise
from avsr.errors import ConfigError


def hashed_rng(*parts: object) -> np.random.Generator:
    """Make a random generator that depends on ``parts`` alone, not on any order of work."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of one condition."""

    kind: str
    """``babble``, ``speech`` (one talker), ``music``, ``noise``, or a file or folder."""
    snr_db: float
    """Speech over noise in dB by RMS; 0.0 is 0 dB."""


class NoiseLibrary:
    """Mixes every kind of noise of an evaluation into its utterances.

    Args:
        kinds: Kinds of noise: ``babble``, ``speech``, ``music``, ``noise``, a file or a folder.
        musan: Folder of the MUSAN corpus, whose test split the four named kinds then come from.
            Without it ``babble`` and ``speech`` are built in, and the other two do not exist.
        seed: Another seed draws other pieces of noise.
        pauses: Whether pauses count in the level of the speech, as in ``mix_at_snr``.

    Raises:
        ConfigError: A kind has no files.
    """

    def __init__(
        self, kinds: Sequence[str], *, musan: str | None = None, seed: int = 0, pauses: bool = True
    ) -> None:
        self.seed, self.pauses = seed, pauses
        corpora = NoiseCorpora(musan=None if musan is None else Path(musan), split="test")
        self.sources = {kind: open_noise(kind, corpora) for kind in sorted(set(kinds))}

    def mix(
        self, waveform: np.ndarray, noise: Noise, utterance_id: str
    ) -> tuple[np.ndarray, list[Piece]]:
        """Mix noise into an utterance.

        Args:
            waveform: (S,) samples at 16 kHz.
            noise: Kind and level; a noise shorter than the utterance is repeated, a longer one cut.
            utterance_id: Decides, with the seed and the noise, which pieces are drawn.

        Returns:
            The noisy sound (S,) float32, and the pieces of noise in it: file and second.
        """
        rng = hashed_rng(self.seed, utterance_id, noise.kind, f"{noise.snr_db:g}")
        sound, pieces = self.sources[noise.kind].sample(len(waveform), rng)
        return mix_at_snr(waveform, sound, noise.snr_db, pauses=self.pauses), pieces

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Plain values from which the same noise can be made again, with a digest of every file."""
        return {
            "seed": self.seed,
            "snr_over": "clip" if self.pauses else "speech",
            "kinds": {kind: source.describe() for kind, source in self.sources.items()},
        }


def check_noise(actual: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Check that the noise of this run is that of another run.

    Args:
        actual: ``NoiseLibrary.manifest`` of this run.
        expected: Manifest of the other run.
        where: File of the other manifest, for the message.

    Raises:
        ConfigError: They differ; the message names the first difference.
    """
    try:
        _check_noise(actual, expected, where)
    except (AttributeError, LookupError, TypeError) as error:
        raise ConfigError(f"{where} is no noise.json of an evaluation") from error


def _check_noise(actual: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    for name in ("seed", "snr_over"):
        if actual[name] != expected.get(name):
            raise ConfigError(
                f"{where}: {name} is {expected.get(name)!r} there, {actual[name]!r} here"
            )
    for kind, source in actual["kinds"].items():
        other = expected.get("kinds", {}).get(kind)
        if other is None:
            raise ConfigError(f"{where} has no noise '{kind}'")
        digests, other_digests = (
            {entry["file"]: entry["sha256"] for entry in side["files"]} for side in (source, other)
        )
        for file in sorted(other_digests.keys() | digests.keys()):
            if other_digests.get(file) != digests.get(file):
                raise ConfigError(f"{where}: '{file}' of noise '{kind}' is another file here")
        if other["talkers"] != source["talkers"]:
            raise ConfigError(f"{where}: noise '{kind}' has {other['talkers']} talkers there")
