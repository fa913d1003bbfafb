"""Prepare a corpus: media files -> shards of sound and mouth crops, and a list of failures."""

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from avsr import face, media
from avsr.corpus.manifest import Record, read_manifest
from avsr.corpus.muavic import sound_of
from avsr.corpus.resumable import ResumableSplit, claim_output
from avsr.corpus.shards import EncodedSample, ShardFile, encode_sample
from avsr.corpus.text_files import read_bytes
from avsr.errors import CorpusError, MediaError
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.runtime.atomic_files import make_folder, replace_text
from avsr.runtime.progress import ItemProgress
from avsr.runtime.text_lines import json_lines
from avsr.runtime.workers import cluster_map, process_map

MIN_FOUND = 0.5  # share of frames with a face below which an utterance fails
FAILED = ".failed.jsonl"  # ending of the lists of failures


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be prepared."""

    utterance_id: str
    media: str
    """Media file of the record."""
    reason: str
    """One line."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The result of a preparation."""

    manifest: Path
    """Manifest of the split, ``OUT/<split>.jsonl``."""
    records: list[Record]
    """The utterances in the shards."""
    failures: list[Failure]
    """The utterances that are in no shard."""


def prepare(
    records: Sequence[Record],
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    split: str,
    *,
    video: bool = True,
    min_found: float = MIN_FOUND,
    reader: "type[MediaReader] | None" = None,
    shard_size: int = 500,
    workers: int = 1,
    cluster: str | None = None,
    progress: ItemProgress | None = None,
) -> Prepared:
    """Write one split of a corpus as shards ``OUT/<split>/*.tar`` with ``OUT/<split>.jsonl``.

    Utterances that fail (unreadable or damaged file, no sound, no face) are listed with the reason
    in ``OUT/<split>.failed.jsonl``. An interrupted run is continued by calling this again with the
    same arguments. The bytes written do not depend on ``workers`` or ``cluster``. More than one
    worker starts processes that import the caller's main module: guard the call by
    ``if __name__ == "__main__"``.

    Args:
        records: The corpus; records of other splits are ignored.
        root: Folder to which the media paths of the records are relative.
        out: Folder to write to.
        split: train, valid or test.
        video: Crop mouths; without it the shards hold sound only.
        min_found: Share of frames with a face (0 to 1) below which an utterance fails.
        reader: How to read media files: MediaReader (default) or CropReader (MuAViC).
        shard_size: Utterances per shard.
        workers: Number of processes.
        cluster: Address of a Ray cluster to use instead of ``workers`` processes.
        progress: Called with (split, utterances done, utterances in all).

    Returns:
        The manifest, its records, and the failures.

    Raises:
        CorpusError: For no records, duplicate ids, options out of range, or a folder that holds
            another corpus.
    """
    selected = _select_records(records, split)
    if shard_size < 1 or workers < 1 or not 0 <= min_found <= 1:
        raise CorpusError("shard_size and workers must be at least 1, min_found within 0 and 1")
    shards = ResumableSplit(Path(out), split, len(selected), shard_size)
    _claim(shards, selected, {"video": video, "min_found": min_found, "shard_size": shard_size})
    failed = shards.out / f"{split}{FAILED}"
    shards.repair(FAILED)
    if not shards.is_finished:
        work = partial(
            prepare_media,
            root=Path(root),
            video=video,
            min_found=min_found,
            reader=reader or MediaReader,
        )
        processes = process_map(workers) if cluster is None else cluster_map(cluster)
        with processes as run:
            _write_shards(shards, selected, partial(run, work), progress or _ignore)
        replace_text(failed, shards.merge_lists(FAILED))
        shards.finish()
    return Prepared(
        manifest=shards.manifest,
        records=read_manifest(shards.manifest),
        failures=read_failures(failed),
    )


def read_failures(path: str | os.PathLike[str]) -> list[Failure]:
    """Read a list of failures, ``OUT/<split>.failed.jsonl``; raise CorpusError if it is broken."""
    path = Path(path)
    failures = []
    for line in json_lines(read_bytes(path)):
        if set(line.values) != {field.name for field in dataclasses.fields(Failure)}:
            raise CorpusError(f"{path}:{line.number} is no failure: delete {path}")
        failures.append(Failure(**line.values))
    return failures


def _select_records(records: Sequence[Record], split: str) -> list[Record]:
    """Return the records of a split; raise CorpusError for none or for duplicate ids."""
    selected = [record for record in records if record.split == split]
    if not selected:
        raise CorpusError(f"there are no records of the split '{split}'")
    duplicates = len(selected) - len({record.utterance_id for record in selected})
    if duplicates:
        raise CorpusError(f"{duplicates} utterance ids of '{split}' are not unique")
    return selected


def _claim(shards: ResumableSplit, records: Sequence[Record], options: dict[str, Any]) -> None:
    """Describe the split in ``OUT/<split>.prepare.json``; refuse to mix it with another corpus."""
    path = shards.out / f"{shards.name}.prepare.json"
    if not path.exists() and (shards.is_finished or (shards.out / shards.name).exists()):
        raise CorpusError(
            f"{shards.out} holds another '{shards.name}' corpus; choose another folder"
        )
    make_folder(shards.out)
    lines = "".join(record.to_json() + "\n" for record in records)
    digest = sha256(lines.encode()).hexdigest()
    claim_output(path, {"records": len(records), "records_sha256": digest, **options})


class MediaReader:
    """Reads the sound and video of spans of one file.

    Spans that are read in order of time are decoded once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sound = path
        self._waveform: np.ndarray | None = None
        self._frames: Iterator[np.ndarray] = iter(())
        self._position = -1

    def waveform(self, first: int, last: float) -> np.ndarray:
        """Read the sound of a span.

        Args:
            first: First video frame.
            last: Video frame after the last one; infinity for the end of the sound.

        Returns:
            Waveform (S,) float32 at 16 kHz.

        Raises:
            MediaError: If the sound cannot be read completely.
        """
        if self._waveform is None:
            tracks = self._tracks if self.sound == self.path else media.ANY_TRACKS
            self._waveform = media.read_waveform(self.sound, tracks=tracks, warn=_refuse)
        end = None if math.isinf(last) else int(last) * SAMPLES_PER_FRAME
        return self._waveform[first * SAMPLES_PER_FRAME : end]

    def mouth(self, first: int, last: float, min_found: float) -> np.ndarray:
        """Crop the mouth of the tracked face in a span.

        Args:
            first: First video frame.
            last: Video frame after the last one; infinity for the end of the video.
            min_found: Share of frames that must show a face.

        Returns:
            Mouth crops (T, 96, 96) uint8.

        Raises:
            MediaError: If a face is detected in too few frames.
        """
        track = face.track_mouth(self.frames(first, last))
        if len(track.found) == 0:
            raise MediaError(f"{self.path}: has no video at {first / FPS} s")
        share = float(track.found.mean())
        if share == 0:
            raise MediaError(f"{self.path}: no face in any frame")
        if share < min_found:
            raise MediaError(f"{self.path}: a face in {share:.0%} of the frames only")
        return track.mouth

    def mouth_video(self, first: int, last: float) -> np.ndarray:
        """Read a span of a mouth video.

        Args:
            first: First video frame.
            last: Video frame after the last one; infinity for the end of the video.

        Returns:
            Mouth crops (T, 96, 96) uint8.

        Raises:
            MediaError: The span has no video, or it is no mouth video.
        """
        pictures = map(media.as_picture, self.frames(first, last))
        mouth = face.track_mouth_video(self.path, pictures).mouth
        if len(mouth) == 0:
            raise MediaError(f"{self.path}: has no video at {first / FPS} s")
        return mouth

    @functools.cached_property
    def _tracks(self) -> media.Tracks:
        return face.probe_faces(self.path).tracks

    def frames(self, first: int, last: float) -> Iterator[np.ndarray]:
        """Yield frames (H, W, 3) of a span; exhaust the iterator before the next call."""
        if self._position < 0 or first < self._position:
            self._frames, self._position = (
                media.read_frames(self.path, tracks=self._tracks, warn=_refuse),
                0,
            )
        skip, self._position = first - self._position, -1  # unknown until the span is read
        for _ in islice(self._frames, skip):
            pass
        taken = 0
        for frame in islice(self._frames, None if math.isinf(last) else int(last) - first):
            taken += 1
            yield frame
        self._position = first + taken


class CropReader(MediaReader):
    """Reads MuAViC, whose videos are mouth crops already and whose sound is in separate files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sound = sound_of(path)

    def mouth(self, first: int, last: float, min_found: float) -> np.ndarray:
        """Read the mouth crops of a span, as ``mouth_video``."""
        return self.mouth_video(first, last)


def _refuse(warning: str) -> None:
    """Turn a warning into an error: a file that is read only in part does not match its text."""
    if not isinstance(warning, media.Note):
        raise MediaError(warning)


def prepare_media(
    records: Sequence[Record],
    *,
    root: Path,
    video: bool,
    min_found: float,
    reader: type[MediaReader] = MediaReader,
) -> list[EncodedSample | Failure]:
    """Prepare the records of one media file.

    Args:
        records: Records with the same ``media``, best in order of time.
        root: Folder to which ``media`` is relative.
        video: Whether to crop mouths.
        min_found: Share of frames with a face below which an utterance fails.
        reader: How to read the file.

    Returns:
        For each record the encoded utterance, or the failure.
    """
    media = reader(root / records[0].media)
    results: list[EncodedSample | Failure] = []
    for record in records:
        try:
            results.append(_prepare(record, media, video, min_found))
        except MediaError as error:
            reason = " ".join(str(error).split())
            results.append(Failure(record.utterance_id, record.media, reason))
    return results


def _prepare(record: Record, reader: MediaReader, video: bool, min_found: float) -> EncodedSample:
    """Cut an utterance at whole frames; the sound is cut or padded to the length of the video."""
    first = round(record.start * FPS)
    last = record.end if math.isinf(record.end) else max(first + 1, round(record.end * FPS))
    waveform = reader.waveform(first, last)
    if len(waveform) == 0:
        raise MediaError(f"{reader.path}: has no sound at {record.start} s")
    mouth = None
    num_frames = -(-len(waveform) // SAMPLES_PER_FRAME)
    if video:
        if record.mouth:
            mouth = reader.mouth_video(first, last)
        else:
            mouth = reader.mouth(first, last, min_found)
        num_frames = len(mouth)
    waveform = waveform[: num_frames * SAMPLES_PER_FRAME]
    waveform = np.pad(waveform, (0, num_frames * SAMPLES_PER_FRAME - len(waveform)))
    shift = record.start - first / FPS
    prepared = dataclasses.replace(
        record,
        start=0.0,
        end=num_frames / FPS,
        words=_shift(record.words, shift),
        phones=_shift(record.phones, shift),
        mouth=False,  # a shard holds crops whatever they were made from
    )
    return encode_sample(prepared, waveform, mouth)


def _shift(spans: list[dict[str, Any]] | None, seconds: float) -> list[dict[str, Any]] | None:
    if spans is None or seconds == 0:
        return spans
    return [
        {**span, **{name: round(max(0.0, span[name] + seconds), 3) for name in ("start", "end")}}
        for span in spans
    ]


RunMap = Callable[[Sequence[Sequence[Record]]], Iterator[list[EncodedSample | Failure]]]


def _write_shards(
    shards: ResumableSplit, records: list[Record], run: RunMap, progress: ItemProgress
) -> None:
    """Write the missing shards with their lists of records and failures."""
    done = 0
    for shard in shards.shards:
        if shards.has_shard(shard):
            done += len(shards.indices(shard))
            progress(shards.name, done, len(records))
            continue
        media = shards.media(shard)
        failures = []
        members = [records[index] for index in shards.indices(shard)]
        by_file = [list(group) for _, group in groupby(members, key=lambda record: record.media)]
        with ShardFile(shards.shard_path(shard)) as tar:
            for results in run(by_file):
                for result in results:
                    if isinstance(result, Failure):
                        failures.append(result)
                    else:
                        record = dataclasses.replace(result.record, media=media)
                        tar.write(dataclasses.replace(result, record=record))
                    done += 1
                    progress(shards.name, done, len(records))
        lines = (json.dumps(dataclasses.asdict(f), ensure_ascii=False) + "\n" for f in failures)
        shards.finish_shard(shard, tar.records, {FAILED: "".join(lines)})


def _ignore(part: str, done: int, total: int) -> None:
    """Show no progress."""
