"""Shards: tar files of ordinary files, which any tar reader (webdataset too) can open.

An utterance is ``<id>.json`` (its record), ``<id>.flac`` (16 kHz mono) and, if it has video,
``<id>.mp4`` (mouth crops, 96x96 grey, 25 fps). The same utterances give the same bytes. Shards are
written with the standard library: byte-equal archives need control of every header field.

The index ``000000.jsonl`` of the shard ``000000.tar`` has one line per utterance: its ``record``,
and the byte ranges of its ``flac`` and ``mp4`` in the shard as [first byte, number of bytes]. With
it a corpus opens fast, and audio and video are read from disk only when they are needed.
"""

import io
import json
import math
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from avsr.corpus.codecs import decode_audio, decode_mouth, encode_audio, encode_mouth
from avsr.corpus.manifest import Record, is_file_stem, parse_record, write_manifest
from avsr.errors import CorpusError
from avsr.runtime.atomic_files import replace_text


@dataclass(frozen=True)
class EncodedSample:
    """An encoded utterance, to be written to a shard."""

    record: Record
    audio: bytes
    """FLAC."""
    mouth: bytes | None
    """MP4 of the mouth crops; None if there are none."""


@dataclass(frozen=True)
class StoredSample:
    """An utterance in a shard. Audio and video are read from disk at every access."""

    record: Record
    shard: Path
    places: dict[str, tuple[int, int]]
    """First byte and number of bytes of ``flac`` and, if there are mouth crops, of ``mp4``."""

    @property
    def audio(self) -> bytes:
        """The audio as FLAC."""
        return self._read("flac")

    @property
    def mouth(self) -> bytes | None:
        """The mouth crops as MP4; None if there are none."""
        return self._read("mp4") if self.has_mouth else None

    @property
    def has_mouth(self) -> bool:
        """Whether there are mouth crops."""
        return "mp4" in self.places

    def decode_audio(self) -> np.ndarray:
        """Decode the waveform (S,) int16; raise CorpusError, with shard and id, if it is broken."""
        return self._decode(decode_audio, self.audio)

    def decode_mouth(self) -> np.ndarray | None:
        """Decode the mouth crops (T, 96, 96) uint8 like the audio; None if there are none."""
        encoded = self.mouth
        return None if encoded is None else self._decode(decode_mouth, encoded)

    def _decode(self, decode: Callable[[bytes], np.ndarray], encoded: bytes) -> np.ndarray:
        try:
            return decode(encoded)
        except CorpusError as error:
            name = self.record.utterance_id
            raise CorpusError(f"{self.shard}: utterance {name}: {error}") from error

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
    """A decoded utterance."""

    record: Record
    waveform: np.ndarray
    """(S,) int16 at 16 kHz."""
    mouth: np.ndarray | None
    """(T, 96, 96) uint8 at 25 Hz; None if there are no mouth crops."""


def encode_sample(record: Record, waveform: np.ndarray, mouth: np.ndarray | None) -> EncodedSample:
    """Encode an utterance: ``waveform`` (S,), ``mouth`` (T, 96, 96) uint8 or None."""
    encoded = None if mouth is None else encode_mouth(mouth)
    return EncodedSample(record, encode_audio(waveform), encoded)


class ShardFile:
    """Write one shard, as a context manager; the file gets its name when it is complete."""

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
        """Add an utterance; raise CorpusError for an unusable id or a record without end."""
        name = sample.record.utterance_id
        if not is_file_stem(name):
            raise CorpusError(f"utterance id '{name}' must not hold dots, slashes or spaces")
        if not math.isfinite(sample.record.end):
            raise CorpusError(f"record {name} has no end, which a shard needs")
        record = sample.record.to_json()
        self._add(f"{name}.json", record.encode())
        ranges = {"flac": self._add(f"{name}.flac", sample.audio)}
        if sample.mouth is not None:
            ranges["mp4"] = self._add(f"{name}.mp4", sample.mouth)
        self.records.append(sample.record)
        columns = "".join(f', "{kind}": {json.dumps(value)}' for kind, value in ranges.items())
        self._index.append(f'{{"record": {record}{columns}}}\n')

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
        """Delete the incomplete shard."""
        self._tar.close()
        self._part.unlink(missing_ok=True)


class ShardWriter:
    """Write the utterances of a split to shards ``OUT/<split>/000000.tar``, ``000001.tar``, ...

    A context manager. When it ends, ``OUT/<split>.jsonl`` lists all records. An interruption
    leaves complete shards only.

    Example:
        >>> with ShardWriter("out", "train") as writer:  # doctest: +SKIP
        ...     writer.write(record, waveform, mouth)

    Attributes:
        records: Records written so far, those of earlier runs first.
        shards: Number of complete shards.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        split: str,
        shard_size: int = 500,
        *,
        resume: bool = False,
    ) -> None:
        """Open a split for writing.

        Args:
            out: Folder of the corpus.
            split: Name of the split.
            shard_size: Utterances per shard.
            resume: Whether to continue after existing shards. ``records`` then begins with
                theirs, and the caller writes the utterances that follow.

        Raises:
            CorpusError: There are shards already and ``resume`` is not set.
        """
        self.folder = Path(out) / split
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shard_size = shard_size
        existing = shard_paths(out, split)
        if existing and not resume:
            raise CorpusError(f"{self.folder} has shards already; delete them or choose another")
        self.shards = len(existing)
        self.records = [sample.record for path in existing for sample in open_shard(path)]
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
        """Add an utterance.

        Args:
            record: The record; its id must be new, and its end finite.
            waveform: (S,) float in [-1, 1] or int16, at 16 kHz.
            mouth: Mouth crops (T, 96, 96) uint8, or None.

        Raises:
            CorpusError: The id is not new or cannot name a file, or the record has no end.
        """
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
    """Return the shards of a split in order."""
    return sorted((Path(corpus) / split).glob("*.tar"))


def index_path(shard: Path) -> Path:
    """Return the path of the index of a shard."""
    return shard.with_suffix(".jsonl")


def open_shards(corpus: str | os.PathLike[str], split: str) -> Iterator[StoredSample]:
    """List the utterances of a split, shard by shard, without decoding them.

    Args:
        corpus: Folder of the corpus.
        split: Name of the split.

    Yields:
        The utterances.

    Raises:
        CorpusError: There are no shards, or one is broken.
    """
    paths = shard_paths(corpus, split)
    if not paths:
        raise CorpusError(f"no shards in {Path(corpus) / split}; prepare the corpus first")
    for path in paths:
        yield from open_shard(path)


def open_shard(path: Path) -> list[StoredSample]:
    """List the utterances of one shard, without decoding them.

    Args:
        path: The tar file. Its index is used if there is one.

    Returns:
        The utterances, in order.

    Raises:
        CorpusError: The shard or its index is broken.
    """
    try:
        index = index_path(path)
        samples = _read_index(index, path) if index.exists() else _scan(path)
        size = path.stat().st_size
    except (tarfile.TarError, OSError) as error:
        raise CorpusError(f"{path} is broken ({error}); delete it and prepare again") from error
    if any(sum(span) > size for sample in samples for span in sample.places.values()):
        raise CorpusError(f"{path} is broken (it is too short); delete it and prepare again")
    return samples


def _read_index(index: Path, shard: Path) -> list[StoredSample]:
    samples = []
    for number, line in enumerate(index.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{index}:{number}"
        try:
            entry = json.loads(line)
            ranges = {k: (int(v[0]), int(v[1])) for k, v in entry.items() if k != "record"}
            record = json.dumps(entry["record"])
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CorpusError(f"{where} is not an entry of an index; delete {index}") from error
        samples.append(_stored(record, shard, ranges, where))
    return samples


def _scan(path: Path) -> list[StoredSample]:
    """List the utterances of a shard without an index."""
    utterances: dict[str, dict[str, Any]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name, _, kind = member.name.partition(".")
            parts = utterances.setdefault(name, {})
            if kind == "json":
                file = tar.extractfile(member)
                parts[kind] = b"" if file is None else file.read()
            else:
                parts[kind] = (member.offset_data, member.size)
    return [
        _stored(parts.pop("json", b"").decode(), path, parts, f"{path}: {name}")
        for name, parts in utterances.items()
    ]


def _stored(
    record: str, shard: Path, ranges: dict[str, tuple[int, int]], where: str
) -> StoredSample:
    if not record or "flac" not in ranges:
        raise CorpusError(f"{where}: the utterance has no json or flac")
    return StoredSample(parse_record(record, where), shard, ranges)


def decode_sample(encoded: StoredSample) -> Sample:
    """Decode the audio and the mouth crops of an utterance.

    Args:
        encoded: An utterance in a shard.

    Returns:
        The decoded utterance.

    Raises:
        CorpusError: It cannot be decoded; the message names shard and utterance.
    """
    return Sample(encoded.record, encoded.decode_audio(), encoded.decode_mouth())


def read_shards(corpus: str | os.PathLike[str], split: str) -> Iterator[Sample]:
    """Read and decode the utterances of a split.

    Args:
        corpus: Folder of the corpus.
        split: Name of the split.

    Returns:
        An iterator over the decoded utterances.

    Raises:
        CorpusError: There are no shards, or one is broken.
    """
    return map(decode_sample, open_shards(corpus, split))
