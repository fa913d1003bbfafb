"""The level of a waveform, and whether it holds any sound."""

import numpy as np

from avsr.rates import SAMPLE_RATE

SILENCE_RMS = 1e-4  # -80 dB of full scale; below it a waveform holds no sound
MIN_SOUND_SECONDS = 0.1  # s; what is shorter is a click, and no sound


def rms(waveform: np.ndarray) -> float:
    """Compute the root mean square of a waveform.

    Args:
        waveform: (S,) samples.

    Returns:
        The RMS in the unit of the samples; 0.0 for an empty waveform.
    """
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def is_short(waveform: np.ndarray) -> bool:
    """Whether a waveform (S,) at 16 kHz is too short to be a sound."""
    return len(waveform) < MIN_SOUND_SECONDS * SAMPLE_RATE


def is_silent(waveform: np.ndarray) -> bool:
    """Whether a waveform (S,) in [-1, 1] at 16 kHz holds no sound: it is silent, or too short.

    A constant offset, as cheap sound cards add it, is no sound.
    """
    return is_short(waveform) or float(np.std(waveform, dtype=np.float64)) < SILENCE_RMS
