"""Files of noise: find them in folders and in MUSAN's splits, and read pieces of them."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from avsr.audio import rms
from avsr.augmentation.mixing import loop_to_length
from avsr.errors import ConfigError, MediaError
from avsr.media import read_waveform
from avsr.media.offset import has_offset
from avsr.rates import SAMPLE_RATE
from avsr.runtime.text_lines import split_lines

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac")
SPLITS = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
MUSAN_RULE = (
    "files of speech by speaker (speech/*/ANNOTATIONS), of music and noise each by itself, in the "
    "order of the SHA-256 of their names; the first 80 % train, the next 10 % valid, the rest test"
)


def list_files(folder: Path) -> tuple[str, ...]:
    """List all files in a folder at any depth: their names relative to it, in sorted order."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(path.relative_to(folder).as_posix() for path in paths)


def list_sounds(folder: Path) -> tuple[str, ...]:
    """List the sound files in a folder at any depth; raise ConfigError if there is none."""
    names = tuple(n for n in list_files(folder) if Path(n).suffix.lower() in SOUND_SUFFIXES)
    if not names:
        raise ConfigError(f"noise: {folder} holds no sound file ({', '.join(SOUND_SUFFIXES)})")
    return names


def musan_split(folder: Path, split: str) -> tuple[str, ...]:
    """List the files of one split of MUSAN's ``speech``, ``music`` or ``noise``.

    The splits are ours (``MUSAN_RULE``); no speaker is in two of them.

    Args:
        folder: One of MUSAN's three folders.
        split: ``train``, ``valid`` or ``test``.

    Returns:
        Names relative to MUSAN's folder, e.g. ``speech/librivox/speech-librivox-0001.wav``.

    Raises:
        ConfigError: The folder is missing or has too few files.
    """
    if not folder.is_dir():
        raise ConfigError(f"musan: there is no folder {folder}")
    names = list_sounds(folder)
    speakers = _musan_speakers(folder)
    groups = {name: speakers.get(Path(name).stem, name) for name in names}
    order = sorted(
        set(groups.values()), key=lambda group: hashlib.sha256(group.encode()).hexdigest()
    )
    first, last = (round(len(order) * share) for share in SPLITS[split])
    members = set(order[first:last])
    files = tuple(f"{folder.name}/{name}" for name in names if groups[name] in members)
    if not files:
        raise ConfigError(f"musan: {folder} has too few files for a {split} split")
    return files


def _musan_speakers(folder: Path) -> dict[str, str]:
    """Read the speaker of each recording: the text after its name in ANNOTATIONS."""
    speakers = {}
    for path in sorted(folder.glob("*/ANNOTATIONS")):
        for line in split_lines(path.read_text("utf-8", errors="replace")):
            name, _, speaker = line.strip().partition(" ")
            if speaker:
                speakers[name] = " ".join(speaker.split())
    return speakers


def read_piece(path: Path, position: float, num_samples: int) -> tuple[np.ndarray, float]:
    """Read a piece of a noise file.

    A file that is shorter than the piece is repeated. Any sample rate and number of channels become
    16 kHz mono.

    Args:
        path: The file.
        position: Where the piece starts, in [0, 1): 0 is the first possible sample.
        num_samples: Length of the piece.

    Returns:
        The piece (num_samples,) float32, and the second of the file at which it starts.

    Raises:
        ConfigError: The file holds no sound.
    """
    import soundfile

    try:
        info = soundfile.info(path)
        seekable = info.samplerate == SAMPLE_RATE and info.channels == 1
        seekable = seekable and info.subtype not in ("FLOAT", "DOUBLE")  # may need a scale
    except soundfile.LibsndfileError:
        seekable = False
    if seekable and info.frames > num_samples:  # read the piece only, not the whole file
        first = int(position * (info.frames - num_samples + 1))
        piece, _ = soundfile.read(path, num_samples, first, dtype="float32")
        if not has_offset(piece):
            return piece, first / SAMPLE_RATE
    waveform = read_noise(path)
    if len(waveform) > num_samples:
        first = int(position * (len(waveform) - num_samples + 1))
        return waveform[first : first + num_samples], first / SAMPLE_RATE
    first = int(position * len(waveform))
    return loop_to_length(waveform, num_samples, first), first / SAMPLE_RATE


@lru_cache(maxsize=8)
def read_noise(path: Path) -> np.ndarray:
    """Read a whole noise file as (S,) float32 at 16 kHz; raise ConfigError if it has no sound."""
    try:
        waveform = read_waveform(path)
    except MediaError as error:
        raise ConfigError(f"noise: {error}") from error
    if rms(waveform) == 0.0:
        raise ConfigError(f"noise: {path} is silent; remove it")
    return waveform
