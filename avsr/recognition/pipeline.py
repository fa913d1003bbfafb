"""The flow of one recording: file -> frames and waveform -> mouth and filterbank -> transcript."""

import os
from pathlib import Path

from avsr import media
from avsr.languages import check_language_option
from avsr.model.network import AVSRModel
from avsr.recognition.inference import recognize
from avsr.recognition.lip_sync import sync_lips
from avsr.recognition.longform import transcribe_long
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording
from avsr.runtime.progress import WRITING, report
from avsr.transcript import Transcript


def is_long(model: AVSRModel, path: str | os.PathLike[str], options: TranscribeOptions) -> bool:
    """Whether a file is transcribed part by part. Raises MediaError if it cannot be read."""
    longest = model.config.segment_seconds
    return options.face == "all" or media.probe(Path(path)).duration > longest


def transcribe_file(
    model: AVSRModel, path: str | os.PathLike[str], options: TranscribeOptions
) -> Transcript:
    """Transcribe one media file; raise MediaError if it holds nothing to transcribe.

    A file that lasts longer than the model's segments is cut at pauses and transcribed part by
    part, and so is any file for every face in it.
    """
    check_language_option(options.language, model.config.languages)
    if is_long(model, path, options):
        return transcribe_long(model, path, options)
    recording = read_recording(path, options.modality, options.face, model)
    report(recording.duration, recording.duration, WRITING)
    if options.sync:
        recording = sync_lips(model, recording)
    return recognize(model, [recording], options)[0]
