"""What training and evaluation do to clips: noise, masks, bad video, other voices and faces."""

from avsr.augmentation.corruption import Corruption
from avsr.augmentation.face_change import FaceChange
from avsr.augmentation.lips import Lips
from avsr.augmentation.masking import LIPS_MASK, mask_fbank
from avsr.augmentation.mixing import active_rms, loop_to_length, make_babble, mix_at_snr
from avsr.augmentation.noise_sources import NOISE_KINDS, NoiseCorpora, NoiseSource, open_noise
from avsr.augmentation.random_corruption import corrupt_lips, drop_lips, sample_corruptions
from avsr.augmentation.sound import drop_sound, sound_reliability
from avsr.augmentation.world import AnalyzedVoice, VoiceChange, analyze_voice

__all__ = [
    "LIPS_MASK",
    "NOISE_KINDS",
    "AnalyzedVoice",
    "Corruption",
    "FaceChange",
    "Lips",
    "NoiseCorpora",
    "NoiseSource",
    "VoiceChange",
    "active_rms",
    "analyze_voice",
    "corrupt_lips",
    "drop_lips",
    "drop_sound",
    "loop_to_length",
    "make_babble",
    "mask_fbank",
    "mix_at_snr",
    "open_noise",
    "sample_corruptions",
    "sound_reliability",
]
