"""Recordings of any length: read once as a stream, cut at pauses, transcribed part by part."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from avsr import face, media
from avsr.errors import MediaError
from avsr.language import MIN_CONFIDENCE, UNKNOWN, smooth_languages
from avsr.model.network import AVSRModel
from avsr.rates import FPS
from avsr.recognition.inference import encode, recognize_encoded
from avsr.recognition.language_change import language_change
from avsr.recognition.lip_sync import Synchronizer
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recording import split_recording
from avsr.recognition.segmentation import Part, read_parts
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import WRITING, report
from avsr.transcript import Segment, Transcript, Word
from avsr.transcript.result import Interrupted

SHOWN_SECONDS = 20.0  # a recording of no more has the mouth that was read in its transcript
PARTS_AHEAD = 4  # that wait for the model
BATCH_SEGMENTS = 4  # of one modality that the model takes at a time


def transcribe_long(
    model: AVSRModel,
    path: str | os.PathLike[str],
    options: TranscribeOptions,
) -> Transcript:
    """Transcribe a media file part by part; memory does not grow with its length.

    Raises MediaError if it cannot be read or holds neither speech nor a face, and Interrupted, with
    the transcript of the finished parts, at Ctrl-C after the first of them.
    """
    path = Path(path)
    info = media.probe(path)
    notes: list[str] = []
    segments: list[Segment] = []
    history: list[dict[str, float]] = []
    synchronizer = Synchronizer(model) if options.sync else None
    mouths: list[tuple[int, face.MouthTrack]] = []
    shown = info.duration <= SHOWN_SECONDS and options.face != "all"
    stopped = False
    try:
        for even in (False, True):
            if even and info.has_audio:
                notes.append("no speech was found in the sound, so it is cut into even parts")
            # While the model works on a part the next ones are read.
            read = prefetch(read_parts(model, path, info, options, notes, even), PARTS_AHEAD)
            with closing(read):
                for batch in _batches(_aligned(synchronizer, read)):
                    report(batch[-1].end, info.duration, WRITING)
                    if shown:
                        mouths += _mouths(batch)
                    segments += _transcribe_batch(model, batch, options, history)
            if segments or not info.has_audio:
                break
    except KeyboardInterrupt:
        if not segments:
            raise
        stopped = True
        end = segments[-1].end
        notes.append(f"stopped at {end:.1f} of {info.duration:.1f} s; the rest is not transcribed")
    if not segments:
        raise MediaError(f"{path}: nothing to transcribe: no speech and no face was found")
    if options.detects:
        segments = _admit_doubts(segments)
        if any(segment.language == UNKNOWN for segment in segments):
            notes.append("in parts the language is not sure; see the segments")
    seconds: dict[str, float] = {}
    for segment in segments:
        length = segment.end - segment.start
        seconds[segment.language] = seconds.get(segment.language, 0.0) + length
    total = sum(seconds.values())
    if synchronizer is not None:
        notes += synchronizer.notes
    used = {segment.modality for segment in segments}
    if len(used) > 1:
        notes.append("parts were transcribed from sound or lips alone; see the segments")
    transcript = Transcript(
        file=os.fspath(path),
        language=max(seconds, key=lambda code: seconds[code]),
        language_probs={
            code: sum(s.language_probs[code] * (s.end - s.start) for s in segments) / total
            for code in segments[0].language_probs
        },
        text=" ".join(s.text for s in segments if s.text),
        modality="av" if "av" in used else segments[0].modality,
        words=tuple(word for s in segments for word in s.words),
        warnings=tuple(dict.fromkeys(notes)),
        duration=info.duration,
        segments=tuple(segments),
        mouth=face.join_parts(mouths, math.ceil(info.duration * FPS)) if mouths else None,
    )
    if stopped:
        raise Interrupted(transcript)
    return transcript


def _mouths(batch: Sequence[Part]) -> list[tuple[int, face.MouthTrack]]:
    """First frame and mouth of the parts whose lips are read."""
    return [
        (round(part.start * FPS), part.recording.track)
        for part in batch
        if part.recording.mouth is not None and part.recording.track is not None
    ]


def _aligned(synchronizer: Synchronizer | None, parts: Iterator[Part]) -> Iterator[Part]:
    """Each part, as soon as it comes, with its lips where the sound is."""
    for part in parts:
        if synchronizer is None:
            yield part
        else:
            yield replace(part, recording=synchronizer.align(part.recording))


def _batches(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Neighbours of one modality together."""
    batch: list[Part] = []
    for part in parts:
        if batch and batch[0].recording.modality != part.recording.modality:
            yield batch
            batch = []
        batch.append(part)
        if len(batch) == BATCH_SEGMENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _transcribe_batch(
    model: AVSRModel,
    batch: Sequence[Part],
    options: TranscribeOptions,
    history: list[dict[str, float]],
) -> list[Segment]:
    """Segments of a batch; ``history`` has the language probabilities of all parts before it."""
    if options.detects:
        batch = _divided(model, batch)
    recordings = [part.recording for part in batch]
    encoded = encode(model, recordings, options.language)
    codes = model.config.languages
    rows = [dict(zip(codes, row, strict=True)) for row in encoded.language_probs.tolist()]
    history += rows
    if options.detects:
        languages = smooth_languages(history)[-len(batch) :]
    else:
        languages = [options.language] * len(batch)
    found = recognize_encoded(model, recordings, encoded, languages, options)
    return [
        Segment(
            start=part.start,
            end=part.end,
            language=transcript.language,
            language_probs=transcript.language_probs,
            text=transcript.text,
            modality=transcript.modality,
            words=tuple(_moved(word, part.start) for word in transcript.words),
            faces=part.recording.faces(part.start),
            speaker=part.speaker,
        )
        for part, (transcript, _) in zip(batch, found, strict=True)
    ]


def _divided(model: AVSRModel, batch: Sequence[Part]) -> list[Part]:
    """The parts, those in which the language changes in two."""
    found = []
    for part in batch:
        frame = language_change(model, part.recording)
        if frame is None:
            found.append(part)
            continue
        change = part.start + frame / FPS
        before, after = split_recording(part.recording, frame)
        found += [
            replace(part, end=change, recording=before),
            replace(part, start=change, recording=after),
        ]
    return found


def _admit_doubts(segments: Sequence[Segment]) -> list[Segment]:
    """Call the language unknown in neighbours of one language, none of which is likely enough."""
    found: list[Segment] = []
    for code, group in groupby(segments, lambda segment: segment.language):
        run = list(group)
        sure = any(segment.language_probs.get(code, 1.0) >= MIN_CONFIDENCE for segment in run)
        found += run if sure else [replace(segment, language=UNKNOWN) for segment in run]
    return found


def _moved(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)
