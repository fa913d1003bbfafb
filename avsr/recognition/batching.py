"""Many files by one model: short ones in batches, while the next ones are read."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.model.network import AVSRModel
from avsr.recognition.assembly import assemble_transcript
from avsr.recognition.lip_sync import Synchronizer
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_batch, transcribe_file
from avsr.recognition.reading import probe_recording
from avsr.recognition.segmentation import MediaSegment, is_one_segment, read_segments
from avsr.runtime.prefetch import prefetch_map
from avsr.transcript import Transcript

BATCH_FILES = 8  # that the model takes at a time, and that are read ahead of it
READERS = 2  # threads; one is not always as fast as the model

Result = Transcript | Exception


@dataclass(frozen=True)
class _ReadFile:
    """A file that was read; without ``segment`` it is long, or has an ``error``."""

    video: str
    segment: MediaSegment | None = None
    error: Exception | None = None


def transcribe_batches(
    model: AVSRModel,
    videos: Sequence[str],
    options: TranscribeOptions,
    check: Callable[[str], None] = lambda video: None,
) -> Iterator[Result]:
    """Yield for each file in turn the transcript of ``transcribe_file``, or what it raised.

    Args:
        model: The network.
        videos: Media files.
        options: As for ``transcribe_file``.
        check: Called with each file before it is read; it may raise.

    Raises:
        BaseException: What is no Exception, as KeyboardInterrupt, is raised here.
    """
    options = options.for_languages(model.config.languages)
    batch: list[_ReadFile] = []

    def read_one(video: str) -> _ReadFile:
        return _read(model, video, options, check)

    with closing(prefetch_map(read_one, videos, BATCH_FILES, READERS)) as files:
        for file in files:
            is_full = len(batch) == BATCH_FILES
            if is_full or (batch and _modality(batch[0]) != _modality(file)):
                yield from _transcribe_together(model, batch, options)
                batch = []
            if file.segment is not None:
                batch.append(file)
            elif file.error is not None:
                yield file.error
            else:
                yield _transcribe_alone(model, file.video, options)
        yield from _transcribe_together(model, batch, options)


def _modality(file: _ReadFile) -> str | None:
    return None if file.segment is None else file.segment.recording.modality


def _read(
    model: AVSRModel, video: str, options: TranscribeOptions, check: Callable[[str], None]
) -> _ReadFile:
    try:
        check(video)
        path = Path(video)
        info = probe_recording(path, options)
        if not is_one_segment(model, info, options):
            return _ReadFile(video)
        segments = list(read_segments(model, path, info, options, []))
        if not segments[0].whole:  # longer than its packets told
            return _ReadFile(video)
        return _ReadFile(video, segments[0])
    except Exception as error:  # the other files are still to be done
        return _ReadFile(video, error=error)


def _transcribe_together(
    model: AVSRModel, batch: Sequence[_ReadFile], options: TranscribeOptions
) -> list[Result]:
    """A batch; if that fails each file alone, so that only the failing one has no transcript."""
    try:
        return [*transcribe_whole(model, [_segment(file) for file in batch], options)]
    except Exception as error:
        if len(batch) == 1:
            return [error]
    return [result for file in batch for result in _transcribe_together(model, [file], options)]


def _segment(file: _ReadFile) -> MediaSegment:
    assert file.segment is not None
    return file.segment


def transcribe_whole(
    model: AVSRModel, segments: Sequence[MediaSegment], options: TranscribeOptions
) -> list[Transcript]:
    """Transcribe recordings of one segment each, of one modality, in one batch.

    Those in which nobody speaks have no words.
    """
    spoken = [segment for segment in segments if segment.recording.spoken]
    if len(spoken) < len(segments):
        transcripts = iter(transcribe_whole(model, spoken, options))
        return [
            next(transcripts) if segment.recording.spoken else unspoken_transcript(segment, options)
            for segment in segments
        ]
    if not segments:
        return []
    sync_warnings: list[list[str]] = [[] for _ in segments]
    if options.sync:
        synchronizers = [Synchronizer(model, check=options.check) for _ in segments]
        segments = [
            replace(segment, recording=synchronizer.align(segment.recording))
            for segment, synchronizer in zip(segments, synchronizers, strict=True)
        ]
        sync_warnings = [synchronizer.warnings for synchronizer in synchronizers]
    transcribed = transcribe_batch(model, segments, options)
    return [
        assemble_transcript(
            segment.recording.name,
            [result],
            is_whole=True,
            duration=segment.end,
            warnings=segment.recording.warnings,
            sync_warnings=notes,
            options=options,
            mouth=segment.recording.track,
            advice=model.reliability.advice if model.reliability else "",
        )
        for segment, result, notes in zip(segments, transcribed, sync_warnings, strict=True)
    ]


def unspoken_transcript(segment: MediaSegment, options: TranscribeOptions) -> Transcript:
    """The transcript, without words, of a recording of one segment in which nobody speaks."""
    recording = segment.recording
    return assemble_transcript(
        recording.name,
        [],
        is_whole=True,
        duration=segment.end,
        warnings=recording.warnings,
        sync_warnings=[],
        options=options,
        mouth=recording.track if recording.mouth is not None else None,
        modality=recording.modality,
    )


def _transcribe_alone(model: AVSRModel, video: str, options: TranscribeOptions) -> Result:
    try:
        return transcribe_file(model, os.fspath(video), options)
    except Exception as error:
        return error
