"""TODO."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from avsr.audio import loop_to_length, rms
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


MOST_DRAWS = 20  # of a piece that is not silent
