"""Stage 8 of 8: hypotheses -> text, words with times, subtitles, JSON."""

from avsr.transcript.cues import Cue, Passage, make_cues, transcript_cues
from avsr.transcript.formats import (
    ENDINGS,
    FORMATS,
    FileFormat,
    Format,
    reads_right_to_left,
    render,
    write_transcript,
)
from avsr.transcript.result import MODALITIES, FaceSpan, Modality, Segment, Transcript, Word
from avsr.transcript.words import time_words

__all__ = [
    "ENDINGS",
    "FORMATS",
    "MODALITIES",
    "Cue",
    "FaceSpan",
    "FileFormat",
    "Format",
    "Modality",
    "Passage",
    "Segment",
    "Transcript",
    "Word",
    "make_cues",
    "reads_right_to_left",
    "render",
    "time_words",
    "transcript_cues",
    "write_transcript",
]
