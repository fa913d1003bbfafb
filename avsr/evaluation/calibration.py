"""``avsr calibrate``: learn from validation data what reliable transcripts of a model are like."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from avsr.corpus import Record, read_manifest
from avsr.errors import CorpusError
from avsr.evaluation.clips import ClipReader, check_media
from avsr.evaluation.sense_calibration import CLIPS, SenseClip, SenseTrial, fit_senses, try_senses
from avsr.evaluation.sense_calibration import MIN_CLIPS as MIN_SENSE_CLIPS
from avsr.face import is_covered
from avsr.model.network import AVSRModel
from avsr.model.reliability import MIN_CLIPS, Reliability, fit_reliability
from avsr.recognition.batching import transcribe_whole
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_recording
from avsr.recognition.recording import Recording, extend_lips
from avsr.recognition.segmentation import MediaSegment
from avsr.runtime.progress import ItemProgress
from avsr.transcript import Modality

BATCH = 8  # clips that the model takes at a time
Evidence = Mapping[str, float]


def calibrate(
    model: AVSRModel,
    manifests: Sequence[Path],
    *,
    split: str | None = None,
    limit: int | None = None,
    advice: str = "",
    cache: Path | None = None,
    sense_clips: int = CLIPS,
    progress: ItemProgress | None = None,
) -> Reliability:
    """Transcribe validation clips; fit the bounds of what is reliable, and when lips are left out.

    Args:
        model: A network that writes text.
        manifests: Manifests of clips like those that the model was trained on, but not among them.
        split: Use only this split of the manifests.
        limit: Use at most this many clips of each language and manifest.
        advice: Sentence for users whose recording is not reliable.
        cache: Folder in which mouth crops are kept; None: they are made anew.
        sense_clips: Most clips by which sound alone, lips alone and both are compared.
        progress: Called with ("clips", clips done, clips in all), then with "comparisons".

    Returns:
        The content of ``reliability.json``.

    Raises:
        CorpusError: A manifest is broken, or there are too few clips.
        MediaError: A media file is missing or cannot be read.
    """
    records = {path: _select(path, split, limit) for path in manifests}
    for path in manifests:
        check_media(records[path], path.parent)
    total = sum(map(len, records.values()))
    done = 0
    clips: list[list[Evidence]] = []
    for path in manifests:
        clips.append([])
        reader = ClipReader(path.parent, cache, model.config.segment_seconds)
        for number, evidence in _collect(model, reader, records[path]):
            clips[-1] += evidence
            done += number
            if progress is not None:
                progress("clips", done, total)
    count = sum(map(len, clips))
    if count < MIN_CLIPS:
        raise CorpusError(
            f"{', '.join(map(str, manifests))}: {count} clips with words are too few to calibrate "
            f"a model: at least {MIN_CLIPS} are needed"
        )
    data: list[dict[str, Any]] = [
        {"manifest": path.name, "split": split, "limit": limit, "clips": len(records[path])}
        for path in manifests
    ]
    reliability = fit_reliability([rows for rows in clips if rows], advice, data)
    readers = {
        path: ClipReader(path.parent, cache, model.config.segment_seconds) for path in manifests
    }
    trials = _try_senses(model, readers, records, sense_clips, progress)
    return replace(reliability, senses=fit_senses(trials) if trials else None)


def _try_senses(
    model: AVSRModel,
    readers: Mapping[Path, ClipReader],
    records: Mapping[Path, Sequence[Record]],
    limit: int,
    progress: ItemProgress | None,
) -> list[SenseTrial]:
    """Compare sound, lips and both on clips of each manifest; none if there are too few clips."""
    clips = {
        path: _sense_clips(readers[path], records[path], limit // len(readers), model)
        for path in records
    }
    total = sum(map(len, clips.values()))
    trials: list[SenseTrial] = []
    if total < MIN_SENSE_CLIPS:
        return trials
    for path, members in clips.items():
        for group in try_senses(model, str(path), members):
            trials += group
            if progress is not None:
                progress("comparisons", len({(t.source, t.name) for t in trials}), total)
    return trials


def _sense_clips(
    reader: ClipReader, records: Sequence[Record], limit: int, model: AVSRModel
) -> list[SenseClip]:
    """At most ``limit`` clips with words, sound and lips, in the order of a checksum."""
    clips: list[SenseClip] = []
    for record in sorted(records, key=lambda record: crc32(record.utterance_id.encode())):
        if len(clips) == limit:
            break
        recording, _ = _read(reader, record) if record.text else (None, None)
        if recording is None or recording.waveform is None or recording.mouth is None:
            continue
        if recording.duration <= model.config.segment_seconds:
            clips.append(
                SenseClip(
                    name=record.utterance_id,
                    language=record.language,
                    text=record.text,
                    waveform=recording.waveform,
                    mouth=recording.mouth,
                )
            )
    return clips


def _select(path: Path, split: str | None, limit: int | None) -> list[Record]:
    """The records of a split, at most ``limit`` of each language."""
    counts: dict[str, int] = {}
    selected = []
    for record in read_manifest(path):
        if split is not None and record.split != split:
            continue
        counts[record.language] = counts.get(record.language, 0) + 1
        if limit is None or counts[record.language] <= limit:
            selected.append(record)
    return selected


def _collect(
    model: AVSRModel, reader: ClipReader, records: Sequence[Record]
) -> Iterator[tuple[int, list[Evidence]]]:
    """Yield the number of clips that are done, and the evidence of those that have words.

    A long clip gives that of its segments.
    """
    options = TranscribeOptions(check=False)
    remaining = iter(records)
    while batch := list(islice(remaining, BATCH)):
        segments: list[MediaSegment] = []
        evidence: list[Evidence] = []
        for record in batch:
            recording, readable = _read(reader, record)
            if recording is None:
                continue
            if recording.duration <= model.config.segment_seconds:
                segments.append(MediaSegment(0.0, recording.duration, recording, whole=True))
            else:
                transcript = transcribe_recording(model, recording, options, readable=readable)
                evidence += [segment.evidence for segment in transcript.segments]

        def modality(segment: MediaSegment) -> Modality:
            return segment.recording.modality

        for _, group in groupby(sorted(segments, key=modality), modality):
            results = transcribe_whole(model, list(group), options)
            evidence += [transcript.evidence for transcript in results]
        yield len(batch), [entry for entry in evidence if entry]


def _read(reader: ClipReader, record: Record) -> tuple[Recording | None, np.ndarray | None]:
    """Read sound and lips of a clip, None if it has neither; and which frames (T,) are readable."""
    waveform, lips = reader.sound(record), reader.lips(record)
    if waveform is None and lips is None:
        return None, None
    mouth = None if lips is None else lips.mouth
    if waveform is not None and mouth is not None and is_covered(mouth):
        mouth = None  # as in any transcription
    recording = extend_lips(Recording(name=record.utterance_id, waveform=waveform, mouth=mouth))
    return recording, None if lips is None else lips.readable
