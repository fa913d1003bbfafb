"""Stage 8 of 8: hypotheses -> text, words with times, JSON."""

from avsr.transcript.result import Modality, Segment, Transcript, Word
from avsr.transcript.words import time_words

__all__ = ["Modality", "Segment", "Transcript", "Word", "time_words"]
