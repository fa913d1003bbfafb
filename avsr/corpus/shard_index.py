"""What lies where in a shard: from its index, or else from the headers of the tar file.

A shard may come from anybody: nothing in it is believed before it is checked.
"""

import math
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.corpus.codecs import decode_audio, decode_mouth
from avsr.corpus.manifest import Record, parse_record
from avsr.corpus.text_files import read_bytes
from avsr.errors import CorpusError
from avsr.runtime.safe_names import show_name
from avsr.runtime.text_lines import json_lines, parse_object

SUFFIX = ".tar"  # of a shard
KINDS = ("flac", "mp4")  # files of an utterance besides its record
LEAST_BYTES = 2  # of FLAC per second of silence, in its longest blocks
MIN_SECONDS = 10  # that any sound may last
MAX_RECORD_BYTES = 2**24  # of one utterance; an hour of words and phones has 2 MB
# What tarfile raises for damaged headers, besides errors of reading.
BROKEN_TAR = (tarfile.TarError, ValueError, OverflowError, EOFError, LookupError, RecursionError)


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


def index_path(shard: Path) -> Path:
    """Return the path of the index of a shard."""
    return shard.with_suffix(".jsonl")


def open_shard(path: Path) -> list[StoredSample]:
    """List the utterances of one shard, without decoding them.

    Args:
        path: The tar file. Its index is used if there is one.

    Returns:
        The utterances, in order.

    Raises:
        CorpusError: The shard or its index is broken; the message names the line or the utterance.
    """
    index = index_path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():  # a pipe would block
            raise CorpusError(f"{path} is no file")
        samples = _read_index(index, path) if index.exists() else _scan(path)
    except (*BROKEN_TAR, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path} is broken ({reason}); delete it and prepare again") from error
    names = set()
    for sample in samples:
        name = sample.record.utterance_id
        if any(sum(span) > size for span in sample.places.values()):
            raise CorpusError(
                f"{path} is broken (it is too short for {name}); delete it and prepare again"
            )
        if name in names:
            raise CorpusError(f"{path} holds {name} twice; delete it and prepare again")
        names.add(name)
    return samples


def _read_index(index: Path, shard: Path) -> list[StoredSample]:
    samples = []
    for line in json_lines(read_bytes(index)):
        where = f"{index}:{line.number}"
        values = dict(line.values)
        record = values.pop("record", None)
        if line.problem or not isinstance(record, dict) or not all(map(_is_place, values.values())):
            reason = f" ({line.problem})" if line.problem else ""
            raise CorpusError(f"{where} is not an entry of an index{reason}; delete {index}")
        samples.append(_stored(parse_record(record, where), shard, values, where))
    return samples


def _is_place(value: object) -> bool:
    """Return whether a value is [first byte, number of bytes]."""
    return isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)


def _scan(path: Path) -> list[StoredSample]:
    """List the utterances of a shard without an index."""
    records: dict[str, Record] = {}
    places: dict[str, dict[str, list[int]]] = {}
    end = 0
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, slash, file = member.name.rpartition("/")
            stem, _, kind = file.partition(".")
            name = folder + slash + stem
            where = f"{path}: {show_name(member.name)}"
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise CorpusError(f"{where} is a link or a device, not an ordinary file")
            if member.size < 0 or member.offset_data < end:
                raise CorpusError(f"{where} has a size that cannot be; prepare the shard again")
            end = member.offset_data + member.size
            parts = places.setdefault(name, {})
            if kind == "json":
                records[name] = _read_record(tar, member, where)
            else:
                parts[kind] = [member.offset_data, member.size]
    samples = []
    for name, parts in places.items():
        where = f"{path}: {show_name(name)}"
        if name not in records:
            raise CorpusError(f"{where}: the utterance has no json or flac")
        samples.append(_stored(records[name], path, parts, where))
    return samples


def _read_record(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> Record:
    """Read the record in a member of a shard."""
    if member.size > MAX_RECORD_BYTES:
        raise CorpusError(f"{where} has {member.size} bytes, too many for a record")
    file = tar.extractfile(member)
    values, problem = parse_object(b"" if file is None else file.read())
    if problem:
        raise CorpusError(f"{where}: {problem}")
    return parse_record(values, where)


def _stored(
    record: Record, shard: Path, places: Mapping[str, Sequence[int]], where: str
) -> StoredSample:
    """Check an utterance of a shard; kinds of files that are not known do no harm."""
    ranges = {kind: (place[0], place[1]) for kind, place in places.items() if kind in KINDS}
    if "flac" not in ranges:
        raise CorpusError(f"{where}: the utterance has no json or flac")
    if any(first < 0 or size < 0 for first, size in ranges.values()):
        raise CorpusError(f"{where} has a place before the first byte; prepare the shard again")
    if not math.isfinite(record.end):
        raise CorpusError(f"{where}: record {record.utterance_id} has no end, which a shard needs")
    if record.end - record.start > MIN_SECONDS + ranges["flac"][1] / LEAST_BYTES:
        raise CorpusError(
            f"{where}: record {record.utterance_id} lasts {record.end - record.start:.0f} s, more "
            f"than {ranges['flac'][1]} bytes of sound can; prepare the shard again"
        )
    return StoredSample(record, shard, ranges)
