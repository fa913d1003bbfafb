"""Noise of a test: for each utterance a file, a place in it and a level, fixed by a hash.

Where the noise comes from is written down with a digest of every file, so that a second person
can tell whether hers is the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from avsr.audio import loop_to_length, make_babble, mix_at_snr, rms
from avsr.errors import ConfigError, MediaError
from avsr.rates import SAMPLE_RATE

KINDS = ("babble", "speech", "music", "noise")  # any other kind is a file or folder
BUILT_IN = Path(__file__).parents[1] / "assets/noise"
BABBLE_TALKERS = 30
TALKER_SECONDS = 10  # MUSAN is used in pieces of this length
SPLITS = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
MUSAN_RULE = (
    "files of speech by speaker (speech/*/ANNOTATIONS), of music and noise each by itself, in the "
    "order of the SHA-256 of their names; the first 80 % train, the next 10 % valid, the rest test"
)
MOST_DRAWS = 20  # of a piece that is not silent


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


@dataclass(frozen=True, kw_only=True)
class NoiseFiles:
    """Where one kind of noise comes from."""

    source: str
    """Name for a reader: built in, MUSAN, or a path."""
    root: Path
    """Folder that the files' names count from."""
    files: tuple[str, ...]
    """In alphabetical order."""
    rule: str | None = None
    """How they were chosen among more."""
    talkers: int = 1
    """Pieces whose mean is the noise."""


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


def find_noise(kind: str, musan: Path | None) -> NoiseFiles:
    """The files of a kind of noise; raise ConfigError if there are none."""
    if kind not in KINDS:
        path = Path(kind)
        if path.is_file():
            return NoiseFiles(source=kind, root=path.parent, files=(path.name,))
        if not path.is_dir():
            raise ConfigError(f"noise '{kind}' is none of {', '.join(KINDS)}, nor a file or folder")
        return NoiseFiles(source=kind, root=path, files=_sounds(path))
    if musan is not None:
        folder = musan / ("speech" if kind == "babble" else kind)
        if not folder.is_dir():
            raise ConfigError(f"musan: there is no folder {folder}")
        chosen = musan_split(folder, "test")
        talkers = BABBLE_TALKERS if kind == "babble" else 1
        return NoiseFiles(
            source="MUSAN", root=musan, files=chosen, rule=MUSAN_RULE, talkers=talkers
        )
    if not (BUILT_IN / f"{kind}.flac").is_file():
        raise ConfigError(f"noise '{kind}' is not built in: set 'musan', or name a file or folder")
    return NoiseFiles(source="built in", root=BUILT_IN, files=(f"{kind}.flac",))


def musan_split(folder: Path, split: str) -> tuple[str, ...]:
    """Names, from the folder above, of the files of a split of MUSAN's music, noise or speech."""
    names = _sounds(folder)
    voices = _speakers(folder)
    groups = {name: voices.get(Path(name).stem, name) for name in names}
    order = sorted(
        set(groups.values()), key=lambda group: hashlib.sha256(group.encode()).hexdigest()
    )
    first, last = (round(len(order) * share) for share in SPLITS[split])
    chosen = set(order[first:last])
    found = tuple(f"{folder.name}/{name}" for name in names if groups[name] in chosen)
    if not found:
        raise ConfigError(f"musan: {folder} has too few files for a {split} split")
    return found


def _speakers(folder: Path) -> dict[str, str]:
    """Speaker of each recording: what ANNOTATIONS say behind its name."""
    speakers = {}
    for path in sorted(folder.glob("*/ANNOTATIONS")):
        for line in path.read_text("utf-8", errors="replace").splitlines():
            name, _, about = line.strip().partition(" ")
            if about:
                speakers[name] = " ".join(about.split())
    return speakers


def _sounds(folder: Path) -> tuple[str, ...]:
    """Names of the sound files in a folder, at any depth."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() in SOUND_SUFFIXES:
            names.append(path.relative_to(folder).as_posix())
    if not names:
        raise ConfigError(f"noise: {folder} holds no sound file ({', '.join(SOUND_SUFFIXES)})")
    return tuple(names)


SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac")


def read_piece(path: Path, place: float, num_samples: int) -> tuple[np.ndarray, float]:
    """At most ``num_samples`` (N,) of a file, and the second where they begin.

    ``place`` in [0, 1) says where in it; a file that is shorter is repeated from there. Any sample
    rate and number of channels become 16 kHz mono.
    """
    try:
        about = soundfile.info(path)
        partly = about.samplerate == SAMPLE_RATE and about.channels == 1
    except soundfile.LibsndfileError:
        partly = False
    if partly and about.frames > num_samples:
        first = int(place * (about.frames - num_samples + 1))
        piece, _ = soundfile.read(path, num_samples, first, dtype="float32")
        return piece, first / SAMPLE_RATE
    whole = read_whole(path)
    if len(whole) > num_samples:
        first = int(place * (len(whole) - num_samples + 1))
        return whole[first : first + num_samples], first / SAMPLE_RATE
    first = int(place * len(whole))
    return loop_to_length(whole, num_samples, first), first / SAMPLE_RATE


@lru_cache(maxsize=8)
def read_whole(path: Path) -> np.ndarray:
    """A noise file as (S,) float32 at 16 kHz; raise ConfigError if it holds no sound."""
    from avsr.media import read_waveform

    try:
        waveform = read_waveform(path)
    except MediaError as error:
        raise ConfigError(f"noise: {error}") from error
    if rms(waveform) == 0.0:
        raise ConfigError(f"noise: {path} is silent; remove it")
    return waveform


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
