"""The flow of one recording: file -> segments -> batches through the network -> transcript.

A short recording is a long one with one segment.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from avsr import face
from avsr.errors import MediaError
from avsr.language import smooth_languages
from avsr.model.network import AVSRModel
from avsr.rates import FPS, MAX_SEGMENT_SECONDS
from avsr.recognition.assembly import assemble_transcript
from avsr.recognition.inference import recognize_encoded
from avsr.recognition.language_change import language_change
from avsr.recognition.lip_sync import Synchronizer
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import probe_recording
from avsr.recognition.recording import Recording, split_recording
from avsr.recognition.segmentation import (
    MediaSegment,
    cut_segments,
    is_one_segment,
    read_segments,
)
from avsr.recognition.senses import encode_checked
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import WRITING, report
from avsr.transcript import Modality, Segment, Transcript, Word
from avsr.transcript.result import Interrupted

PREFETCHED_SEGMENTS = 4  # read while the model works on the ones before
BATCH_SEGMENTS = 4  # of one modality, that the model takes at a time
NOTHING = "nothing to transcribe: no speech and no face was found"


def transcribe_file(
    model: AVSRModel, path: str | os.PathLike[str], options: TranscribeOptions
) -> Transcript:
    """Transcribe one media file; memory does not grow with its length.

    Raises:
        LanguageError: The model does not know ``options.language``.
        MediaError: The file cannot be read, or has neither a sound track nor lips.
        Interrupted: Ctrl-C after the first finished segment; carries the transcript up to there.
    """
    options = options.for_languages(model.config.languages)
    path = Path(path)
    info = probe_recording(path, options)
    warnings: list[str] = []
    segments: list[Segment] = []
    mouths: list[tuple[int, face.MouthTrack]] = []
    language_history: list[dict[str, float]] = []
    synchronizer = Synchronizer(model, check=options.check) if options.sync else None
    is_whole = is_interrupted = False
    modality: Modality = "audio"
    duration = max(info.duration, info.audio_duration, info.video_duration)
    try:
        reader = read_segments(model, path, info, options, warnings)
        if not is_one_segment(model, info, options):
            reader = prefetch(reader, PREFETCHED_SEGMENTS)
        with closing(reader):
            for batch in _batches(_synchronize(synchronizer, reader)):
                if batch[0].whole:
                    is_whole, duration = True, batch[0].end
                    warnings += batch[0].recording.warnings
                    modality = batch[0].recording.modality
                if batch[-1].end > duration + 1 / FPS:  # not only by a frame that is not full
                    duration = batch[-1].end
                report(batch[-1].end, duration, WRITING)
                mouths += _mouths(batch)
                if duration > MAX_SEGMENT_SECONDS or options.face == "all":
                    mouths.clear()  # too long to keep, or of several faces
                batch = [segment for segment in batch if segment.recording.spoken]
                if batch:
                    segments += transcribe_batch(model, batch, options, language_history)
    except KeyboardInterrupt:
        if not segments:
            raise
        is_interrupted = True
        end = segments[-1].end
        warnings.append(f"stopped at {end:.1f} of {duration:.1f} s; the rest is not transcribed")
    transcript = assemble_transcript(
        os.fspath(path),
        segments,
        is_whole=is_whole,
        duration=duration,
        warnings=warnings,
        sync_warnings=synchronizer.warnings if synchronizer else [],
        options=options,
        mouth=_join_mouths(mouths, duration, is_whole),
        modality=modality,
        advice=model.reliability.advice if model.reliability else "",
    )
    if is_interrupted:
        raise Interrupted(transcript)
    return transcript


def transcribe_recording(
    model: AVSRModel,
    recording: Recording,
    options: TranscribeOptions,
    *,
    heard: np.ndarray | None = None,
    readable: np.ndarray | None = None,
    only_spoken: bool = False,
) -> Transcript:
    """Transcribe a long recording in memory in segments, as ``transcribe_file`` does a file.

    Args:
        model: The network.
        recording: Sound, lips or both; modality and face of ``options`` do not count.
        options: Language, search and synchronization are used here.
        heard: As for ``cut_segments``.
        readable: As for ``cut_segments``.
        only_spoken: As for ``cut_segments``; what is not spoken then has no words, and is no error.

    Raises:
        LanguageError: The model does not know ``options.language``.
        MediaError: There is neither sound nor lips.
    """
    options = options.for_languages(model.config.languages)
    parts, warnings = cut_segments(
        recording,
        model.config.segment_seconds,
        heard=heard,
        readable=readable,
        only_spoken=only_spoken,
    )
    if not parts and not only_spoken:
        raise MediaError(f"{recording.name or 'recording'}: {NOTHING}")
    synchronizer = Synchronizer(model, check=options.check) if options.sync else None
    segments: list[Segment] = []
    language_history: list[dict[str, float]] = []
    for batch in _batches(_synchronize(synchronizer, parts)):
        segments += transcribe_batch(model, batch, options, language_history)
    return assemble_transcript(
        recording.name,
        segments,
        is_whole=False,
        duration=recording.duration,
        warnings=(*recording.warnings, *warnings),
        sync_warnings=synchronizer.warnings if synchronizer else [],
        options=options,
        mouth=None,
        advice=model.reliability.advice if model.reliability else "",
    )


def _synchronize(
    synchronizer: Synchronizer | None, segments: Iterable[MediaSegment]
) -> Iterator[MediaSegment]:
    """Each segment, as soon as it is read, with its lips moved to where the sound is."""
    for segment in segments:
        if synchronizer is None:
            yield segment
        else:
            yield replace(segment, recording=synchronizer.align(segment.recording))


def _batches(segments: Iterable[MediaSegment]) -> Iterator[list[MediaSegment]]:
    """Neighbours of one modality together."""
    batch: list[MediaSegment] = []
    for segment in segments:
        if batch and batch[0].recording.modality != segment.recording.modality:
            yield batch
            batch = []
        batch.append(segment)
        if len(batch) == BATCH_SEGMENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def transcribe_batch(
    model: AVSRModel,
    batch: Sequence[MediaSegment],
    options: TranscribeOptions,
    language_history: list[dict[str, float]] | None = None,
) -> list[Segment]:
    """Transcribe segments of one modality in one batch.

    Args:
        model: The network.
        batch: Segments of one recording, in order; or whole recordings.
        options: Language and search are used here.
        language_history: Language probabilities of the recording's segments before these, extended
            by these. None: the segments belong to different recordings.

    Returns:
        A segment for each, or two where the language changes within one.
    """
    recordings, encoded = encode_checked(model, [part.recording for part in batch], options)
    if options.detects and not batch[0].whole:
        parts = _split_at_language_changes(model, batch, recordings)
        if len(parts) > len(batch):
            batch = parts
            recordings, encoded = encode_checked(model, [p.recording for p in batch], options)
    codes = model.config.languages
    rows = [dict(zip(codes, row, strict=True)) for row in encoded.language_probs.tolist()]
    if not options.detects:
        languages = [options.language] * len(batch)
    elif language_history is None:
        languages = [max(row, key=lambda code: row[code]) for row in rows]
    else:
        language_history += rows
        languages = smooth_languages(language_history)[-len(batch) :]
    transcripts = recognize_encoded(model, recordings, encoded, languages, options)
    return [
        Segment(
            start=segment.start,
            end=segment.end,
            language=transcript.language,
            language_probs=transcript.language_probs,
            text=transcript.text,
            modality=transcript.modality,
            modality_reason=transcript.modality_reason,
            words=tuple(_place_word(word, segment) for word in transcript.words),
            faces=segment.recording.faces(segment.start),
            speaker=segment.speaker,
            reliable=transcript.reliable,
            reliability_reasons=transcript.reliability_reasons,
            doubt=transcript.doubt,
            evidence=transcript.evidence,
        )
        for segment, (transcript, _) in zip(batch, transcripts, strict=True)
    ]


def _split_at_language_changes(
    model: AVSRModel, batch: Sequence[MediaSegment], recordings: Sequence[Recording]
) -> list[MediaSegment]:
    """The segments, those in two in which the language changes, as their ``recordings`` tell."""
    segments = []
    for segment, recording in zip(batch, recordings, strict=True):
        frame = language_change(model, recording)
        if frame is None:
            segments.append(segment)
            continue
        change = segment.start + frame / FPS
        before, after = split_recording(segment.recording, frame)
        segments += [
            replace(segment, end=change, recording=before),
            replace(segment, start=change, recording=after),
        ]
    return segments


def _place_word(word: Word, segment: MediaSegment) -> Word:
    """A word on the time of the whole recording; its last frame may be longer than its sound."""
    start, end = word.start + segment.start, word.end + segment.start
    return replace(word, start=min(start, segment.end), end=min(end, segment.end))


def _mouths(batch: Sequence[MediaSegment]) -> list[tuple[int, face.MouthTrack]]:
    """First frame and mouth of the segments whose lips are read."""
    return [
        (round(segment.start * FPS), segment.recording.track)
        for segment in batch
        if segment.recording.mouth is not None and segment.recording.track is not None
    ]


def _join_mouths(
    mouths: Sequence[tuple[int, face.MouthTrack]], duration: float, is_whole: bool
) -> face.MouthTrack | None:
    """The mouth that was read, over the whole recording; None where no lips were read."""
    if not mouths:
        return None
    return mouths[0][1] if is_whole else face.join_parts(mouths, math.ceil(duration * FPS))
