"""Shards: tar files of ordinary files, so that any tar reader (webdataset too) opens them.

An utterance is ``<id>.json`` (its record), ``<id>.flac`` (16 kHz mono) and, where lips were seen,
``<id>.mp4`` (mouth crop, 96x96 grey, 25 fps). The same utterances give the same bytes. Written
with the standard library, since byte-equal archives need every header field set.

Beside ``000000.tar`` lies its index ``000000.jsonl``: per line the ``record`` of an utterance and
the place of its ``flac`` and ``mp4`` in the shard, as [first byte, number of bytes]. So a corpus
opens fast, and its sound and lips stay on disk until they are asked for.
"""

import io
import json
import math
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import ColorRange

from avsr.corpus.manifest import Record, is_file_stem, parse_record, write_manifest
from avsr.errors import CorpusError
from avsr.rates import FPS, SAMPLE_RATE
from avsr.runtime.atomic_files import replace_text
from avsr.runtime.interrupts import defer_sigint

MOUTH_CRF = 18  # H.264 quality of mouth crops
NEUTRAL = 128  # chroma of grey
# H.264 keeps brightness in 16 to 235 unless a file says otherwise.
TO_LIMITED = np.round(16 + np.arange(256) * 219 / 255).astype(np.uint8)
FROM_LIMITED = np.round((np.arange(256) - 16) * 255 / 219).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class EncodedSample:
    """An utterance to be written to a shard."""

    record: Record
    audio: bytes
    """FLAC."""
    mouth: bytes | None
    """MP4 of the mouth crops; None where there are none."""


@dataclass(frozen=True)
class StoredSample:
    """An utterance in a shard; sound and lips are read anew each time they are asked for."""

    record: Record
    shard: Path
    places: dict[str, tuple[int, int]]
    """First byte and number of bytes of ``flac`` and, where lips were seen, of ``mp4``."""

    @property
    def audio(self) -> bytes:
        """FLAC."""
        return self._read("flac")

    @property
    def mouth(self) -> bytes | None:
        """MP4 of the mouth crops; None where there are none."""
        return self._read("mp4") if self.has_mouth else None

    @property
    def has_mouth(self) -> bool:
        """Whether lips were seen."""
        return "mp4" in self.places

    def _read(self, kind: str) -> bytes:
        first, size = self.places[kind]
        try:
            with open(self.shard, "rb") as file:
                file.seek(first)
                return file.read(size)
        except OSError as error:
            raise CorpusError(f"cannot read {self.shard}: {error.strerror}") from error


@dataclass(frozen=True)
class Sample:
    """An utterance, decoded."""

    record: Record
    waveform: np.ndarray
    """(S,) int16 at 16 kHz."""
    mouth: np.ndarray | None
    """(T, 96, 96) uint8 at 25 Hz."""


def encode_mouth(mouth: np.ndarray) -> bytes:
    """Mouth crops (T, H, W) uint8, sides even -> bytes of an H.264 mp4; always the same bytes."""
    if mouth.ndim != 3 or mouth.dtype != np.uint8 or len(mouth) == 0:
        raise ValueError(f"mouth must be (T, H, W) uint8, got {mouth.shape} {mouth.dtype}")
    _, height, width = mouth.shape
    picture = np.full((height * 3 // 2, width), NEUTRAL, np.uint8)  # planar: grey, then chroma
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        # x264's macroblock tree reads stray memory in pictures this small: bytes would vary
        stream.options = {"crf": str(MOUTH_CRF), "preset": "veryfast", "mbtree": "0"}
        for i, crop in enumerate(mouth):
            picture[:height] = TO_LIMITED[crop]
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_mouth(encoded: bytes) -> np.ndarray:
    """The reverse of encode_mouth: (T, H, W) uint8; raise CorpusError for what is no video."""
    try:
        with av.open(io.BytesIO(encoded), "r") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            return np.stack([_brightness(frame) for frame in container.decode(stream)])
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise CorpusError(f"a mouth video cannot be decoded ({error})") from error


def _brightness(frame: av.VideoFrame) -> np.ndarray:
    """Grey picture (H, W) of a frame: its first plane, six times faster than a conversion."""
    if frame.format.name not in ("yuv420p", "yuvj420p", "gray"):
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    grey = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
    full = frame.format.name != "yuv420p" or frame.color_range == ColorRange.JPEG
    return grey[:, : plane.width].copy() if full else FROM_LIMITED[grey[:, : plane.width]]


def encode_audio(waveform: np.ndarray) -> bytes:
    """Waveform (S,), float in [-1, 1] or int16 -> bytes of a 16-bit FLAC."""
    import soundfile  # an extra

    buffer = io.BytesIO()
    with defer_sigint():
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_audio(encoded: bytes) -> np.ndarray:
    """The reverse of encode_audio: (S,) int16; raise CorpusError for another rate or no FLAC."""
    import soundfile  # an extra

    try:
        with defer_sigint():
            waveform, rate = soundfile.read(io.BytesIO(encoded), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"a FLAC cannot be decoded ({error})") from error
    if rate != SAMPLE_RATE or waveform.ndim != 1:
        raise CorpusError(f"a FLAC must be mono at {SAMPLE_RATE} Hz, this one has {rate} Hz")
    return waveform


def encode_sample(record: Record, waveform: np.ndarray, mouth: np.ndarray | None) -> EncodedSample:
    """An utterance as shards hold it: ``waveform`` (S,), ``mouth`` (T, 96, 96) uint8 or None."""
    encoded = None if mouth is None else encode_mouth(mouth)
    return EncodedSample(record, encode_audio(waveform), encoded)


class ShardFile:
    """Writes one shard; the file gets its name when it is complete. A context manager."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.records: list[Record] = []
        self._index: list[str] = []
        self._part = self.path.with_suffix(".part")
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.open(self._part, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, sample: EncodedSample) -> None:
        """Add an utterance."""
        name = sample.record.utterance_id
        if not is_file_stem(name):
            raise CorpusError(f"utterance id '{name}' must not hold dots, slashes or spaces")
        if not math.isfinite(sample.record.end):
            raise CorpusError(f"record {name} has no end; a shard holds the times of its sound")
        record = sample.record.to_json()
        self._add(f"{name}.json", record.encode())
        places = {"flac": self._add(f"{name}.flac", sample.audio)}
        if sample.mouth is not None:
            places["mp4"] = self._add(f"{name}.mp4", sample.mouth)
        self.records.append(sample.record)
        rest = "".join(f', "{kind}": {json.dumps(place)}' for kind, place in places.items())
        self._index.append(f'{{"record": {record}{rest}}}\n')

    def _add(self, name: str, content: bytes) -> tuple[int, int]:
        info = tarfile.TarInfo(name)  # time, owner and mode are constants
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return self._tar.offset - padded, len(content)

    def close(self) -> None:
        """Complete the shard and give it its name."""
        self._tar.close()
        replace_text(index_path(self.path), "".join(self._index))
        os.replace(self._part, self.path)

    def discard(self) -> None:
        """Throw away what was written."""
        self._tar.close()
        self._part.unlink(missing_ok=True)


class ShardWriter:
    """Writes utterances to ``OUT/<split>/000000.tar`` and so on, ``shard_size`` to a shard.

    A context manager; at its end ``OUT/<split>.jsonl`` lists all records. An interruption leaves
    complete shards only. Shards that are there already are an error, unless ``resume`` is set:
    ``records`` then begins with theirs, and the caller goes on behind them.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        split: str,
        shard_size: int = 500,
        *,
        resume: bool = False,
    ) -> None:
        self.folder = Path(out) / split
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shard_size = shard_size
        present = shard_paths(out, split)
        if present and not resume:
            raise CorpusError(f"{self.folder} holds shards already; delete them or choose another")
        self.shards = len(present)
        self.records = [sample.record for path in present for sample in open_shard(path)]
        self._names = {record.utterance_id for record in self.records}
        self._shard: ShardFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._close_shard()
            write_manifest(self.folder.with_name(f"{self.folder.name}.jsonl"), self.records)
        elif self._shard is not None:
            self._shard.discard()

    def write(self, record: Record, waveform: np.ndarray, mouth: np.ndarray | None) -> None:
        """Add an utterance: ``waveform`` (S,) and ``mouth`` (T, 96, 96) uint8 or None."""
        if record.utterance_id in self._names:
            raise CorpusError(f"utterance id '{record.utterance_id}' is in {self.folder} already")
        if self._shard is None:
            self._shard = ShardFile(self.folder / f"{self.shards:06d}.tar")
        self._shard.write(encode_sample(record, waveform, mouth))
        self._names.add(record.utterance_id)
        self.records.append(record)
        if len(self._shard.records) == self.shard_size:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
            self.shards += 1


def shard_paths(corpus: str | os.PathLike[str], split: str) -> list[Path]:
    """The shards of a split in order."""
    return sorted((Path(corpus) / split).glob("*.tar"))


def index_path(shard: Path) -> Path:
    """Where the index of a shard lies."""
    return shard.with_suffix(".jsonl")


def open_shards(corpus: str | os.PathLike[str], split: str) -> Iterator[StoredSample]:
    """The utterances of a split, shard by shard; raise CorpusError without shards."""
    paths = shard_paths(corpus, split)
    if not paths:
        raise CorpusError(f"no shards in {Path(corpus) / split}; prepare the corpus first")
    for path in paths:
        yield from open_shard(path)


def open_shard(path: Path) -> list[StoredSample]:
    """The utterances of one shard, by its index if it has one; CorpusError where it is broken."""
    try:
        index = index_path(path)
        samples = _read_index(index, path) if index.exists() else _scan(path)
        size = path.stat().st_size
    except (tarfile.TarError, OSError) as error:
        raise CorpusError(f"{path} is broken ({error}); delete it and prepare again") from error
    if any(sum(place) > size for sample in samples for place in sample.places.values()):
        raise CorpusError(f"{path} is broken (it is too short); delete it and prepare again")
    return samples


def _read_index(index: Path, shard: Path) -> list[StoredSample]:
    samples = []
    for number, line in enumerate(index.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{index}:{number}"
        try:
            entry = json.loads(line)
            places = {k: (int(v[0]), int(v[1])) for k, v in entry.items() if k != "record"}
            record = json.dumps(entry["record"])
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CorpusError(f"{where} is no entry of an index; delete {index}") from error
        samples.append(_stored(record, shard, places, where))
    return samples


def _scan(path: Path) -> list[StoredSample]:
    """A shard without index: what lies where."""
    found: dict[str, dict[str, Any]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name, _, kind = member.name.partition(".")
            parts = found.setdefault(name, {})
            if kind == "json":
                file = tar.extractfile(member)
                parts[kind] = b"" if file is None else file.read()
            else:
                parts[kind] = (member.offset_data, member.size)
    return [
        _stored(parts.pop("json", b"").decode(), path, parts, f"{path}: {name}")
        for name, parts in found.items()
    ]


def _stored(
    record: str, shard: Path, places: dict[str, tuple[int, int]], where: str
) -> StoredSample:
    if not record or "flac" not in places:
        raise CorpusError(f"{where}: the utterance misses its json or flac")
    return StoredSample(parse_record(record, where), shard, places)


def decode_sample(encoded: StoredSample) -> Sample:
    """Sound and mouth crops of an utterance; raise CorpusError that names it."""
    try:
        waveform = decode_audio(encoded.audio)
        mouth = None if encoded.mouth is None else decode_mouth(encoded.mouth)
    except CorpusError as error:
        raise CorpusError(f"utterance {encoded.record.utterance_id}: {error}") from error
    return Sample(encoded.record, waveform, mouth)


def read_shards(corpus: str | os.PathLike[str], split: str) -> Iterator[Sample]:
    """The utterances of a split, decoded."""
    return map(decode_sample, open_shards(corpus, split))
