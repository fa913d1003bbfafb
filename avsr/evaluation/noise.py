"""Noise of a test: for each utterance a file, a place in it and a level, fixed by a hash.

Where the noise comes from is written down with a digest of every file, so that a second person
can tell whether hers is the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avsr.audio import make_babble, mix_at_snr, rms
from avsr.augmentation.noise_sources import (
    MOST_DRAWS,
    TALKER_SECONDS,
    NoiseFiles,
    find_noise,
    read_piece,
)
from avsr.errors import ConfigError
from avsr.rates import SAMPLE_RATE


def hashed_rng(*parts: object) -> np.random.Generator:
    """Random numbers that depend on ``parts`` alone, not on any order of work."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of a cell of the evaluation."""

    kind: str
    """``babble``, ``speech`` (one talker), ``music``, ``noise``, or a file or folder."""
    snr_db: float
    """Speech over noise in dB by RMS; 0.0 is 0 dB."""


class NoiseLibrary:
    """Every kind of noise that an evaluation asks for."""

    def __init__(
        self, kinds: Sequence[str], *, musan: str | None = None, seed: int = 0, pauses: bool = True
    ) -> None:
        """Find the files; raise ConfigError for a kind without any.

        ``musan`` is the folder of that corpus: ``babble``, ``speech``, ``music`` and ``noise`` are
        then of its test split; without it the first two are built in. ``pauses`` as in
        ``mix_at_snr``.
        """
        self.seed, self.pauses = seed, pauses
        root = None if musan is None else Path(musan)
        self.sources = {kind: find_noise(kind, root) for kind in sorted(set(kinds))}

    def mix(
        self, waveform: np.ndarray, noise: Noise, utterance_id: str
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Sound (S,) float32 with noise, and which pieces it is made of: file and seconds.

        A noise shorter than the utterance is repeated, a longer one cut.
        """
        rng = hashed_rng(self.seed, utterance_id, noise.kind, f"{noise.snr_db:g}")
        source = self.sources[noise.kind]
        pieces = [self._piece(source, rng, len(waveform)) for _ in range(source.talkers)]
        sound = pieces[0][0]
        if source.talkers > 1:
            sound = make_babble([piece for piece, _ in pieces], len(waveform), rng)
        mixed = mix_at_snr(waveform, sound, noise.snr_db, pauses=self.pauses)
        return mixed, [about for _, about in pieces]

    def _piece(
        self, source: NoiseFiles, rng: np.random.Generator, num_samples: int
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """``num_samples`` from a random place of a random file."""
        most = TALKER_SECONDS * SAMPLE_RATE if source.rule else num_samples
        for _ in range(MOST_DRAWS):
            name = source.files[int(rng.integers(len(source.files)))]
            place = float(rng.random())
            piece, start = read_piece(source.root / name, place, min(most, num_samples))
            if rms(piece) > 0.0:
                return piece, {"file": name, "start": round(start, 4)}
        raise ConfigError(
            f"noise {source.source}: '{name}' is silent, and so are others; remove it"
        )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What is needed to make the same noise again, with a digest of every file."""
        return {
            "seed": self.seed,
            "snr_over": "clip" if self.pauses else "speech",
            "kinds": {
                kind: {
                    "source": source.source,
                    "rule": source.rule,
                    "talkers": source.talkers,
                    "files": [
                        {"file": name, "sha256": file_digest(source.root / name)}
                        for name in source.files
                    ],
                }
                for kind, source in self.sources.items()
            },
        }


def check_noise(own: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError unless the noise is that of the manifest ``given``."""
    for name in ("seed", "snr_over"):
        if own[name] != given.get(name):
            raise ConfigError(f"{where}: {name} is {given.get(name)!r} there, {own[name]!r} here")
    for kind, source in own["kinds"].items():
        other = given.get("kinds", {}).get(kind)
        if other is None:
            raise ConfigError(f"{where} knows no noise '{kind}'")
        theirs = {entry["file"]: entry["sha256"] for entry in other["files"]}
        ours = {entry["file"]: entry["sha256"] for entry in source["files"]}
        for file in sorted(theirs.keys() | ours.keys()):
            if theirs.get(file) != ours.get(file):
                raise ConfigError(f"{where}: '{file}' of noise '{kind}' is another file here")
        if other["talkers"] != source["talkers"]:
            raise ConfigError(f"{where}: noise '{kind}' is of {other['talkers']} talkers there")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
