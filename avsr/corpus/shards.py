"""Shards: tar files of ordinary files, which any tar reader (webdataset too) can open.

An utterance is ``<id>.json`` (its record), ``<id>.flac`` (16 kHz mono) and, if it has video,
``<id>.mp4`` (mouth crops, 96x96 grey, 25 fps). The same utterances give the same bytes. Shards are
written with the standard library: byte-equal archives need control of every header field.

The index ``000000.jsonl`` of the shard ``000000.tar`` has one line per utterance: its ``record``,
and the byte ranges of its ``flac`` and ``mp4`` in the shard as [first byte, number of bytes]. With
it a corpus opens fast, and audio and video are read from disk only when they are needed.
"""

import contextlib
import io
import json
import math
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from avsr.corpus.codecs import encode_audio, encode_mouth
from avsr.corpus.manifest import Record, write_manifest
from avsr.corpus.shard_index import StoredSample, index_path, open_shard
from avsr.errors import CorpusError
from avsr.runtime.atomic_files import (
    explain_write,
    make_folder,
    replace_text,
    temporary_beside,
)
from avsr.runtime.safe_names import MAX_MEMBER_BYTES, check_name, name_problem, show_name


@dataclass(frozen=True)
class EncodedSample:
    """An encoded utterance, to be written to a shard."""

    record: Record
    audio: bytes
    """FLAC."""
    mouth: bytes | None
    """MP4 of the mouth crops; None if there are none."""


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
        make_folder(self.path.parent)
        with explain_write(self.path):
            self._part = temporary_beside(self.path)
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
        if name_problem(name, MAX_MEMBER_BYTES):
            raise CorpusError(
                f"utterance id '{show_name(name)}' must not hold dots, slashes, spaces or control "
                f"characters, nor be longer than {MAX_MEMBER_BYTES} bytes"
            )
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
        with explain_write(self.path, self._part):
            self._tar.addfile(info, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return self._tar.offset - padded, len(content)

    def close(self) -> None:
        """Complete the shard and give it its name."""
        try:
            with explain_write(self.path, self._part):
                self._tar.close()
            replace_text(index_path(self.path), "".join(self._index))
            with explain_write(self.path):
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the incomplete shard."""
        with contextlib.suppress(OSError):  # the disk may be full
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
        check_name(split, "the split")
        self.folder = Path(out) / split
        make_folder(self.folder)
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
    """Return the shards of a split in order; raise CorpusError if its name leads elsewhere."""
    check_name(split, "the split")
    return sorted((Path(corpus) / split).glob("*.tar"))


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
