"""Stage 3 of 8: waveform -> log filterbank, stacked to one vector per video frame."""

from avsr.audio.fbank import audio_features, compute_fbank, stack_fbank
from avsr.audio.level import MIN_SOUND_SECONDS, is_short, is_silent, rms
from avsr.audio.speech import (
    Span,
    SpokenParts,
    has_speech,
    speech_probs,
    speech_spans,
    vowel_level,
)

__all__ = [
    "MIN_SOUND_SECONDS",
    "Span",
    "SpokenParts",
    "audio_features",
    "compute_fbank",
    "has_speech",
    "is_short",
    "is_silent",
    "rms",
    "speech_probs",
    "speech_spans",
    "stack_fbank",
    "vowel_level",
]
