"""Preparation: media files -> sound and mouth crops in shards; what fails is listed with why."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from avsr.corpus.manifest import Record, read_manifest, write_manifest
from avsr.corpus.muavic import sound_of
from avsr.corpus.shards import EncodedSample, ShardFile, encode_sample
from avsr.errors import CorpusError, MediaError
from avsr.rates import FPS, MOUTH_SIZE, SAMPLES_PER_FRAME
from avsr.runtime.atomic_files import replace_text
from avsr.runtime.workers import cluster_map, process_map

MIN_FOUND = 0.5  # share of frames with a face below which an utterance fails

Progress = Callable[[int, int, int], None]
"""Utterances done (failed ones too), failed ones, utterances in all."""


@dataclass(frozen=True)
class Failure:
    """An utterance that is in no shard."""

    utterance_id: str
    media: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a preparation has made."""

    manifest: Path
    records: list[Record]
    failures: list[Failure]


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
    progress: Progress | None = None,
) -> Prepared:
    """Write the records of a split as shards ``OUT/<split>/*.tar`` with ``OUT/<split>.jsonl``.

    ``records`` name media files that count from the folder ``root``. With ``video`` the lips are
    cropped, and an utterance fails whose face is seen in less than ``min_found`` of the frames;
    without it shards hold sound only. Failures (unreadable, damaged, no sound, no face) stand with
    their reasons in ``OUT/<split>.failed.jsonl``. ``reader`` opens the files: MediaReader by
    default, CropReader for MuAViC.

    ``cluster``, the address of a Ray cluster, takes the place of ``workers`` processes. The bytes
    written do not depend on either.

    Calling it again with the same arguments goes on after an interruption. More than one worker
    means processes that import the caller's main module: call it under ``__main__`` then.
    """
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise CorpusError(f"there are no records of the split '{split}'")
    names = {record.utterance_id for record in chosen}
    if len(names) < len(chosen):
        raise CorpusError(f"{len(chosen) - len(names)} utterance ids of '{split}' are not unique")
    if shard_size < 1 or workers < 1 or not 0 <= min_found <= 1:
        raise CorpusError("shard_size and workers must be at least 1, min_found within 0 and 1")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, split, chosen, {"video": video, "min_found": min_found, "shard_size": shard_size})
    manifest, failed = out / f"{split}.jsonl", out / f"{split}.failed.jsonl"
    if not manifest.exists():
        work = partial(
            prepare_media,
            root=Path(root),
            video=video,
            min_found=min_found,
            reader=reader or MediaReader,
        )
        processes = process_map(workers) if cluster is None else cluster_map(cluster)
        with processes as run:
            _write_shards(out, split, chosen, shard_size, partial(run, work), progress or _silent)
        parts = [_parts(out, split, i) for i in range(_num_shards(chosen, shard_size))]
        replace_text(failed, "".join(part.read_text(encoding="utf-8") for _, part in parts))
        write_manifest(manifest, [record for part, _ in parts for record in read_manifest(part)])
        shutil.rmtree(out / ".parts" / split)
    return Prepared(
        manifest=manifest, records=read_manifest(manifest), failures=read_failures(failed)
    )


def read_failures(path: str | os.PathLike[str]) -> list[Failure]:
    """The list of utterances that failed."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [Failure(**json.loads(line)) for line in lines if line]


class MediaReader:
    """Sound and pictures of spans of one file; spans in order of time are decoded once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sound = path
        self._waveform: np.ndarray | None = None
        self._frames: Iterator[np.ndarray] = iter(())
        self._position = -1

    def waveform(self, first: int, last: float) -> np.ndarray:
        """(S,) float32 from video frame ``first`` up to ``last``, or to the end of the sound."""
        from avsr import media

        if self._waveform is None:
            self._waveform = media.read_waveform(self.sound, warn=_refuse)
        end = None if math.isinf(last) else int(last) * SAMPLES_PER_FRAME
        return self._waveform[first * SAMPLES_PER_FRAME : end]

    def mouth(self, first: int, last: float, min_found: float) -> np.ndarray:
        """(T, 96, 96) uint8 of the followed face; MediaError where it is seen too seldom."""
        from avsr import face

        track = face.track_mouth(self.frames(first, last))
        if len(track.found) == 0:
            raise MediaError(f"{self.path}: has no picture at {first / FPS} s")
        share = float(track.found.mean())
        if share == 0:
            raise MediaError(f"{self.path}: no face in any frame")
        if share < min_found:
            raise MediaError(f"{self.path}: a face in {share:.0%} of the frames only")
        return track.mouth

    def frames(self, first: int, last: float) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) ``first`` up to ``last``, or to the end; take them before the next."""
        from avsr import media

        if self._position < 0 or first < self._position:
            self._frames, self._position = media.read_frames(self.path, warn=_refuse), 0
        skip, self._position = first - self._position, -1  # lost until the span is through
        for _ in islice(self._frames, skip):
            pass
        taken = 0
        for frame in islice(self._frames, None if math.isinf(last) else int(last) - first):
            taken += 1
            yield frame
        self._position = first + taken


class CropReader(MediaReader):
    """Reads MuAViC: the pictures are mouth crops already, the sound is a file of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sound = sound_of(path)

    def mouth(self, first: int, last: float, min_found: float) -> np.ndarray:
        """(T, 96, 96) uint8, grey."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in self.frames(first, last)]
        if not grey:
            raise MediaError(f"{self.path}: has no picture")
        if grey[0].shape != (MOUTH_SIZE, MOUTH_SIZE):
            height, width = grey[0].shape
            raise MediaError(f"{self.path}: is {width}x{height}, mouth crops are 96x96")
        return np.stack(grey)


def _refuse(warning: str) -> None:
    """What is read only in part does not fit its text."""
    raise MediaError(warning)


def prepare_media(
    records: Sequence[Record],
    *,
    root: Path,
    video: bool,
    min_found: float,
    reader: type[MediaReader] = MediaReader,
) -> list[EncodedSample | Failure]:
    """Prepare records of one media file."""
    path = root / records[0].media
    opened = reader(path)
    results: list[EncodedSample | Failure] = []
    for record in records:
        try:
            results.append(_prepare(record, opened, video, min_found))
        except MediaError as error:
            reason = " ".join(str(error).split())
            results.append(Failure(record.utterance_id, record.media, reason))
    return results


def _prepare(record: Record, reader: MediaReader, video: bool, min_found: float) -> EncodedSample:
    """Cut an utterance at whole frames; sound gets exactly the length of the lips."""
    first = round(record.start * FPS)
    last = record.end if math.isinf(record.end) else max(first + 1, round(record.end * FPS))
    waveform = reader.waveform(first, last)
    if len(waveform) == 0:
        raise MediaError(f"{reader.path}: has no sound at {record.start} s")
    mouth = None
    num_frames = -(-len(waveform) // SAMPLES_PER_FRAME)
    if video:
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
    )
    return encode_sample(prepared, waveform, mouth)


def _shift(spans: list[dict[str, Any]] | None, seconds: float) -> list[dict[str, Any]] | None:
    if spans is None or seconds == 0:
        return spans
    return [
        {**span, **{name: round(max(0.0, span[name] + seconds), 3) for name in ("start", "end")}}
        for span in spans
    ]


Run = Callable[[Sequence[Sequence[Record]]], Iterator[list[EncodedSample | Failure]]]


def _write_shards(
    out: Path, split: str, records: list[Record], size: int, run: Run, progress: Progress
) -> None:
    """Write the shards that are missing; a shard is complete once its two lists are there."""
    done = failed = 0
    for shard in range(_num_shards(records, size)):
        part = records[shard * size : (shard + 1) * size]
        written, lost = _parts(out, split, shard)
        if written.exists():
            failures = read_failures(lost)
            done += len(part)
            failed += len(failures)
            progress(done, failed, len(records))
            continue
        written.parent.mkdir(parents=True, exist_ok=True)
        media = f"{split}/{shard:06d}.tar"
        failures = []
        groups = [list(group) for _, group in groupby(part, key=lambda record: record.media)]
        with ShardFile(out / media) as tar:
            for results in run(groups):
                for result in results:
                    if isinstance(result, Failure):
                        failures.append(result)
                    else:
                        record = dataclasses.replace(result.record, media=media)
                        tar.write(dataclasses.replace(result, record=record))
                    done += 1
                    failed += isinstance(result, Failure)
                    progress(done, failed, len(records))
        lines = (json.dumps(dataclasses.asdict(f), ensure_ascii=False) + "\n" for f in failures)
        replace_text(lost, "".join(lines))
        write_manifest(written, tar.records)


def _num_shards(records: Sequence[Record], size: int) -> int:
    return -(-len(records) // size)


def _parts(out: Path, split: str, shard: int) -> tuple[Path, Path]:
    """The lists of a shard's utterances that were written, and that failed."""
    folder = out / ".parts" / split
    return folder / f"{shard:06d}.jsonl", folder / f"{shard:06d}.failed.jsonl"


def _claim(out: Path, split: str, records: Sequence[Record], options: dict[str, Any]) -> None:
    """Note what is being made in ``out``; refuse to mix it with something else."""
    lines = "".join(record.to_json() + "\n" for record in records)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    plan = {"records": len(records), "records_sha256": digest, **options}
    path = out / f"{split}.prepare.json"
    if not path.exists():
        if (out / split).exists() or (out / f"{split}.jsonl").exists():
            raise CorpusError(f"{out} holds another '{split}' corpus; choose another folder")
        replace_text(path, json.dumps(plan, indent=2) + "\n")
    elif json.loads(path.read_text(encoding="utf-8")) != plan:
        raise CorpusError(
            f"{out} holds '{split}' made from other records or options; choose another folder"
        )


def _silent(done: int, failed: int, total: int) -> None:
    """No progress is shown."""
