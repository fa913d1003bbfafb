"""What training and evaluation do to clean clips: noise, masks, corrupted video."""

from avsr.augmentation.corruption import Corruption
from avsr.augmentation.masking import LIPS_MASK, mask_fbank
from avsr.augmentation.mixing import active_rms, loop_to_length, make_babble, mix_at_snr
from avsr.augmentation.noise_sources import NOISE_KINDS, NoiseCorpora, NoiseSource, open_noise

__all__ = [
    "LIPS_MASK",
    "NOISE_KINDS",
    "Corruption",
    "NoiseCorpora",
    "NoiseSource",
    "active_rms",
    "loop_to_length",
    "make_babble",
    "mask_fbank",
    "mix_at_snr",
    "open_noise",
]
