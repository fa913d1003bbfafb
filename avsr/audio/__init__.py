"""Stage 3 of 8: waveform -> log filterbank, stacked to one vector per video frame; noise."""

from avsr.audio.fbank import audio_features, compute_fbank, stack_fbank
from avsr.audio.noise import make_babble, mix_at_snr, rms

__all__ = ["audio_features", "compute_fbank", "make_babble", "mix_at_snr", "rms", "stack_fbank"]
