"""Input of an evaluation: sound and lips of the records of a manifest."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from avsr import face, media
from avsr.corpus import Record, StoredSample, decode_audio, decode_mouth, open_shard
from avsr.errors import MediaError
from avsr.rates import FPS, SAMPLE_RATE

SHARD = ".tar"
Lips = tuple[np.ndarray, np.ndarray]  # mouth crops (T, 96, 96), whether a face was found (T,)
NO_LIPS = (np.zeros((0, 96, 96), np.uint8), np.zeros(0, np.bool_))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Input of a recognizer; sound or lips may be missing, but not both."""

    name: str
    waveform: np.ndarray | None
    """(S,) float32 in [-1, 1] at 16 kHz."""
    mouth: np.ndarray | None
    """(T, 96, 96) uint8 at 25 Hz."""
    visual: Any = None
    """Features that the recognizer has computed from ``mouth`` before."""

    @property
    def modality(self) -> str:
        """``av``, ``audio`` or ``video``: what the clip has."""
        if self.mouth is None:
            return "audio"
        return "video" if self.waveform is None else "av"


class ClipReader:
    """Reads the sound and the lips of a manifest's records.

    Args:
        folder: Folder of the manifest, to which media paths are relative.
        cache_dir: Folder in which mouth crops are kept; None: they are made anew each time.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._shards: dict[Path, dict[str, StoredSample]] = {}
        # Records of one file follow each other in most manifests.
        self._last_sound: tuple[Path | None, np.ndarray] = (None, np.zeros(0, np.float32))
        self._last_lips: tuple[Path | None, Lips] = (None, NO_LIPS)

    def media(self, record: Record) -> Path:
        """Path of a record's media file."""
        return self.folder / record.media

    def sound(self, record: Record) -> np.ndarray | None:
        """Read the sound of a record.

        Returns:
            (S,) float32 at 16 kHz; None if the file has no sound.

        Raises:
            MediaError: The file cannot be read.
        """
        path = self.media(record)
        if path.suffix == SHARD:
            samples = decode_audio(self._stored(record).audio)
        elif media.probe(path).has_audio:
            if self._last_sound[0] != path:
                self._last_sound = path, media.read_waveform(path)
            span = cut(self._last_sound[1], record, SAMPLE_RATE)
            if len(span) == 0:
                return None
            samples = np.round(span * 32768).clip(-32768, 32767).astype(np.int16)
        else:
            return None
        return samples.astype(np.float32) / 32768

    def lips(self, record: Record) -> np.ndarray | None:
        """Read or make the mouth crops of a record.

        Returns:
            (T, 96, 96) uint8 at 25 Hz; None if the file has no video or no face was found.

        Raises:
            MediaError: The file cannot be read.
        """
        path = self.media(record)
        if path.suffix == SHARD:
            encoded = self._stored(record).mouth
            return None if encoded is None else decode_mouth(encoded)
        if self._last_lips[0] != path:
            cropped = track(path) if self.cache_dir is None else cached_track(path, self.cache_dir)
            self._last_lips = path, cropped
        mouth, face_found = self._last_lips[1]
        if not cut(face_found, record, FPS).any():
            return None
        return cut(mouth, record, FPS)

    def _stored(self, record: Record) -> StoredSample:
        """Find a record in its shard."""
        path = self.media(record)
        if path not in self._shards:
            self._shards[path] = {s.record.utterance_id: s for s in open_shard(path)}
        if record.utterance_id not in self._shards[path]:
            raise MediaError(f"{path}: does not hold {record.utterance_id}")
        return self._shards[path][record.utterance_id]


def cut(array: np.ndarray, record: Record, rate: int) -> np.ndarray:
    """Cut a record out of the samples or frames (N, ...) of its file, ``rate`` per second."""
    end = len(array) if record.end == float("inf") else round(record.end * rate)
    return array[round(record.start * rate) : end]


def track(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Crop the mouth in a video file.

    Returns:
        Mouth crops (T, 96, 96) uint8, and whether a face was found in each frame (T,) bool; T is 0
        for a file without video.
    """
    if not media.probe(path).has_video:
        return NO_LIPS
    tracked = face.track_mouth(media.read_pictures(path))
    return tracked.mouth, tracked.found


def cached_track(path: Path, cache_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Crop the mouth with ``track``, or read the crops from a folder.

    They are made again when the file or the code that makes them has changed.
    """
    stat = path.stat()
    identity = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{crop_version()}"
    cached = cache_dir / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"
    if cached.is_file():
        with np.load(cached) as arrays:
            return arrays["mouth"], arrays["found"]
    mouth, face_found = track(path)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=cache_dir, suffix=".part", delete=False) as file:
        np.savez_compressed(file, mouth=mouth, found=face_found)
    os.replace(file.name, cached)
    return mouth, face_found


@cache
def crop_version() -> str:
    """Digest of all that decides a crop: the code of two stages and the version of mediapipe."""
    digest = hashlib.sha256(metadata.version("mediapipe").encode())
    for stage in ("media", "face"):
        for source in sorted((Path(__file__).parents[1] / stage).glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def check_media(records: Sequence[Record], folder: Path) -> None:
    """Raise MediaError if media files are missing, with their number and the first path."""
    missing = [r for r in records if not (folder / r.media).is_file()]
    if missing:
        raise MediaError(
            f"{len(missing)} of {len(records)} media files are missing, the first is "
            f"{folder / missing[0].media}"
        )
