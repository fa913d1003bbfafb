"""The level of a waveform."""

import numpy as np


def rms(waveform: np.ndarray) -> float:
    """Compute the root mean square of a waveform.

    Args:
        waveform: (S,) samples.

    Returns:
        The RMS in the unit of the samples; 0.0 for an empty waveform.
    """
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0
