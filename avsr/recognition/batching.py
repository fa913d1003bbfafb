"""Many short files by one model: the next ones are read while it works on a batch of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from avsr.model.network import AVSRModel
from avsr.recognition.inference import recognize
from avsr.recognition.lip_sync import sync_all_lips
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import is_long, transcribe_file
from avsr.recognition.reading import read_recording
from avsr.recognition.recording import Recording
from avsr.runtime.prefetch import prefetch_map
from avsr.transcript import Transcript

BATCH_FILES = 8  # that the model takes at a time, and that wait for it
READERS = 2  # threads; one is not always as fast as the model

Result = Transcript | Exception


@dataclass(frozen=True)
class _Read:
    """A file that was read; without ``recording`` it is long, or there is an ``error``."""

    video: str
    recording: Recording | None = None
    error: Exception | None = None


def transcribe_batches(
    model: AVSRModel,
    videos: Sequence[str],
    options: TranscribeOptions,
    check: Callable[[str], None] = lambda video: None,
) -> Iterator[Result]:
    """The transcript of each file in turn, as of ``transcribe_file``, or what was raised for it.

    ``check`` may raise before a file is read. Long files are no part of a batch. Whatever is no
    Exception (Ctrl-C) is raised here.
    """
    batch: list[Recording] = []

    def read_one(video: str) -> _Read:
        return _read(model, video, options, check)

    with closing(prefetch_map(read_one, videos, BATCH_FILES, READERS)) as reading:
        for read in reading:
            recording = read.recording
            full = len(batch) == BATCH_FILES
            if full or recording is None or (batch and batch[0].modality != recording.modality):
                yield from _recognize(model, batch, options)
                batch = []
            if recording is not None:
                batch.append(recording)
            elif read.error is not None:
                yield read.error
            else:
                yield _transcribe_long(model, read.video, options)
        yield from _recognize(model, batch, options)


def _read(
    model: AVSRModel, video: str, options: TranscribeOptions, check: Callable[[str], None]
) -> _Read:
    try:
        check(video)
        if is_long(model, video, options):
            return _Read(video)
        return _Read(video, read_recording(video, options.modality, options.face, model))
    except Exception as error:  # the other files are still to be done
        return _Read(video, error=error)


def _recognize(
    model: AVSRModel, batch: Sequence[Recording], options: TranscribeOptions
) -> list[Result]:
    """A batch; if that fails each one alone, so that only the failing one has no transcript."""
    try:
        if options.sync:
            batch = sync_all_lips(model, batch)
        return [*recognize(model, batch, options)] if batch else []
    except Exception as error:
        if len(batch) == 1:
            return [error]
    return [result for one in batch for result in _recognize(model, [one], options)]


def _transcribe_long(model: AVSRModel, video: str, options: TranscribeOptions) -> Result:
    try:
        return transcribe_file(model, video, options)
    except Exception as error:
        return error
