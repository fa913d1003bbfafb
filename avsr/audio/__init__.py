"""Stage 3 of 8: waveform -> log filterbank, stacked to one vector per video frame."""

from avsr.audio.fbank import audio_features, compute_fbank, stack_fbank
from avsr.audio.level import rms
from avsr.audio.speech import (
    Span,
    SpokenParts,
    speech_probs,
    speech_spans,
    vowel_level,
)

__all__ = [
    "Span",
    "SpokenParts",
    "audio_features",
    "compute_fbank",
    "rms",
    "speech_probs",
    "speech_spans",
    "stack_fbank",
    "vowel_level",
]
