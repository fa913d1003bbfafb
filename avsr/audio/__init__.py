"""Stage 3 of 8: waveform -> log filterbank, one vector per video frame; noise; speech spans."""

from avsr.audio.fbank import audio_features, compute_fbank, stack_fbank
from avsr.audio.noise import active_rms, loop_to_length, make_babble, mix_at_snr, rms
from avsr.audio.speech import (
    MAX_SECONDS,
    Span,
    SpokenParts,
    speech_probs,
    speech_spans,
    vowel_level,
)

__all__ = [
    "MAX_SECONDS",
    "Span",
    "SpokenParts",
    "active_rms",
    "audio_features",
    "compute_fbank",
    "loop_to_length",
    "make_babble",
    "mix_at_snr",
    "rms",
    "speech_probs",
    "speech_spans",
    "stack_fbank",
    "vowel_level",
]
