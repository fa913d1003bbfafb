"""Input of an evaluation: sound and lips of the records of a manifest."""

import hashlib
import logging
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zipfile import BadZipFile

import numpy as np

from avsr import face, media
from avsr.audio import is_silent
from avsr.corpus import Record, StoredSample, open_shard
from avsr.errors import CorpusError, MediaError
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.segmentation import list_spans
from avsr.runtime.atomic_files import atomic_write, make_folder

logger = logging.getLogger(__name__)

T = TypeVar("T")
SHARD = ".tar"
LIPS_VERSION = 2  # of what is kept of a file; 1 did not say which frames can be read


class Lips(NamedTuple):
    """The mouth in the frames of a video."""

    mouth: np.ndarray
    """Crops (T, 96, 96) uint8."""
    found: np.ndarray
    """(T,) bool, whether a face was found in the frame."""
    readable: np.ndarray
    """(T,) bool, whether its lips can be read, as ``face.is_readable`` says."""


NO_LIPS = Lips(np.zeros((0, 96, 96), np.uint8), np.zeros(0, np.bool_), np.zeros(0, np.bool_))


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
    readable: np.ndarray | None = None
    """(T,) bool, in which frames of ``mouth`` the lips can be read; None: in all of them."""
    heard: np.ndarray | None = None
    """(S,) sound of a clip that is transcribed from its lips alone. It tells where somebody speaks;
    None: there is none, or it is ``waveform``."""

    spoken: bool = True
    """Whether there is speech in its sound before noise is mixed in, or its lips move. Otherwise it
    has no words."""

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
        longest: Seconds that the recognizer takes at a time; longer clips will be cut.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        cache_dir: str | os.PathLike[str] | None = None,
        longest: float = math.inf,
    ) -> None:
        self.folder = Path(folder)
        self.longest = longest
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._shards: dict[Path, dict[str, StoredSample]] = {}
        # Records of one file follow each other in most manifests.
        self._last_sound: tuple[Path | None, np.ndarray] = (None, np.zeros(0, np.float32))
        self._last_lips: tuple[tuple[Path, bool] | None, Lips] = (None, NO_LIPS)

    def media(self, record: Record) -> Path:
        """Path of a record's media file."""
        return self.folder / record.media

    def sound(self, record: Record) -> np.ndarray | None:
        """Read the sound of a record.

        Returns:
            (S,) float32 at 16 kHz; None if the file has no sound, or silence.

        Raises:
            MediaError: The file cannot be read.
        """
        path = self.media(record)
        if path.suffix == SHARD:
            samples = _decoded(self._stored(record).decode_audio)
        elif self._last_sound[0] == path or (info := face.probe_faces(path)).has_audio:
            if self._last_sound[0] != path:
                self._last_sound = path, media.read_waveform(path, tracks=info.tracks)
            span = cut(self._last_sound[1], record, SAMPLE_RATE)
            if len(span) == 0:
                return None
            samples = np.round(span * 32768).clip(-32768, 32767).astype(np.int16)
        else:
            return None
        waveform = samples.astype(np.float32) / 32768
        return None if is_silent(waveform) else waveform

    def lips(self, record: Record) -> Lips | None:
        """Read or make the mouth crops of a record.

        Returns:
            The lips at 25 Hz; None if the file has no video or no face was found.

        Raises:
            MediaError: The file cannot be read.
        """
        path = self.media(record)
        if path.suffix == SHARD:
            mouth = _decoded(self._stored(record).decode_mouth)
            if mouth is None:
                return None
            return Lips(mouth, np.ones(len(mouth), np.bool_), np.ones(len(mouth), np.bool_))
        if self._last_lips[0] != (path, record.mouth):
            self._last_lips = (path, record.mouth), self._crop(path, record.mouth)
        lips = Lips(*(cut(array, record, FPS) for array in self._last_lips[1]))
        return lips if lips.found.any() else None

    def _crop(self, path: Path, is_mouth: bool) -> Lips:
        """Crop the mouth in a file; the frames of a mouth video are the crops."""
        if is_mouth:
            return read_mouth_video(path)
        edges = list_edges(path, self.longest)
        if self.cache_dir is None:
            return track(path, edges)
        return cached_track(path, self.cache_dir, edges)

    def _stored(self, record: Record) -> StoredSample:
        """Find a record in its shard."""
        path = self.media(record)
        if path not in self._shards:
            self._shards[path] = {s.record.utterance_id: s for s in open_shard(path)}
        if record.utterance_id not in self._shards[path]:
            raise MediaError(f"{path}: does not hold {record.utterance_id}")
        return self._shards[path][record.utterance_id]


def _decoded(decode: Callable[[], T]) -> T:
    """Decode an utterance of a shard; a broken one fails alone, like a broken file."""
    try:
        return decode()
    except CorpusError as error:
        raise MediaError(str(error)) from error


def cut(array: np.ndarray, record: Record, rate: int) -> np.ndarray:
    """Cut a record out of the samples or frames (N, ...) of its file, ``rate`` per second."""
    end = len(array) if record.end == float("inf") else round(record.end * rate)
    return array[round(record.start * rate) : end]


def list_edges(path: Path, longest: float) -> list[int]:
    """List the frames in which ``avsr transcribe`` begins and ends a segment of a file.

    Faces are followed anew from each, as there, so that the crops are the same.

    Args:
        path: Media file.
        longest: Seconds of the longest segment; a shorter file is not cut.
    """
    info = face.probe_faces(path)
    if not info.has_video or info.duration <= longest:
        return []
    spans = list_spans(path, info, longest)
    return [round(edge / SAMPLES_PER_FRAME) for span in spans for edge in (span.start, span.end)]


def track(path: Path, edges: Sequence[int] = ()) -> Lips:
    """Crop the mouth in a video file; T is 0 for a file without video.

    Args:
        path: Media file.
        edges: Frames, in order, from each of which faces are followed anew.
    """
    info = face.probe_faces(path)
    if not info.has_video:
        return NO_LIPS
    frames = media.read_pictures(path, tracks=info.tracks)
    lengths = [last - first for first, last in pairwise([0, *edges])]
    parts = [face.track_mouth(islice(frames, length)) for length in lengths if length]
    parts.append(face.track_mouth(frames))
    return Lips(
        np.concatenate([part.mouth for part in parts]),
        np.concatenate([part.found for part in parts]),
        np.concatenate([face.is_readable(part) for part in parts]),
    )


def read_mouth_video(path: Path) -> Lips:
    """Read a mouth video; T is 0 for a file without video. Raises MediaError for another size."""
    if not media.probe(path).has_video:
        return NO_LIPS
    tracked = face.track_mouth_video(path, media.read_pictures(path))
    return Lips(tracked.mouth, tracked.found, face.is_readable(tracked))


def cached_track(path: Path, cache_dir: Path, edges: Sequence[int] = ()) -> Lips:
    """Crop the mouth with ``track``, or read the crops from a folder.

    They are made again when the file or the code that makes them has changed.
    """
    stat = path.stat()
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    parts = (path.resolve(), *state, crop_version(), LIPS_VERSION, *edges)
    identity = "\n".join(map(str, parts))
    name = hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]
    cached = cache_dir / f"{name}.npz"
    if (stored := _read_cached(cached)) is not None:
        return stored
    lips = track(path, edges)
    make_folder(cache_dir)
    with atomic_write(cached) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **lips._asdict())
    return lips


def _read_cached(path: Path) -> Lips | None:
    """Read kept lips; None if there are none, or if the file is damaged, which is logged."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as arrays:
            lips = Lips(*(arrays[name] for name in Lips._fields))
        if lips.mouth.ndim != 3 or not len(lips.mouth) == len(lips.found) == len(lips.readable):
            raise ValueError("its parts do not fit together")
    except (OSError, ValueError, LookupError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        logger.warning("%s is broken (%s): it is made anew", path, " ".join(str(error).split()))
        return None
    return lips


@cache
def crop_version() -> str:
    """Digest of all that decides a crop: two stages, their weights, the version of mediapipe."""
    digest = hashlib.sha256(metadata.version("mediapipe").encode())
    for files in ("media/*.py", "face/*.py", "assets/mouth/*"):
        for source in sorted(Path(__file__).parents[1].glob(files)):
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
