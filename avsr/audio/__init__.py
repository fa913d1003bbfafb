"""Stage 3 of 8: waveform -> log filterbank, stacked to one vector per video frame; noise."""

from avsr.audio.fbank import audio_features, compute_fbank, stack_fbank
from avsr.audio.noise import active_rms, loop_to_length, make_babble, mix_at_snr, rms

__all__ = [
    "active_rms",
    "audio_features",
    "compute_fbank",
    "loop_to_length",
    "make_babble",
    "mix_at_snr",
    "rms",
    "stack_fbank",
]
