"""Mel filterbank in decibels, the input of ECAPA language identification, at 100 Hz.

It differs from the filterbank of AV-HuBERT (``avsr.audio.fbank``) in every step: Hamming windows
that are centred on their frames, no pre-emphasis, triangles that are symmetric in Hz, and a floor
relative to the loudest value of the clip.
"""

import functools

import numpy as np
import scipy.fft

from avsr.audio.fbank import hz_to_mel
from avsr.rates import FBANK_HOP, FBANK_WINDOW, SAMPLE_RATE

MIN_ENERGY = 1e-10  # smaller energies count as this, -100 dB
RANGE_DB = 80.0  # below the loudest value of the clip; what is lower is raised to it


@functools.cache
def hamming_window() -> np.ndarray:
    """Return the periodic Hamming window (400,) float32: 0.54 - 0.46 cos(2 pi n / 400)."""
    phase = 2 * np.pi * np.arange(FBANK_WINDOW) / FBANK_WINDOW
    return _frozen(0.54 - 0.46 * np.cos(phase))


@functools.cache
def mel_triangles(num_filters: int) -> np.ndarray:
    """Return the filters (201, num_filters) float32 for the bins 0, 40, ..., 8000 Hz.

    Points are evenly spaced in mel from 0 to 8000 Hz. Filter i has its peak of 1 at point i + 1 and
    falls on both sides to 0 within the distance in Hz to the point on its left.
    """
    mels = np.linspace(0.0, hz_to_mel(SAMPLE_RATE / 2), num_filters + 2)
    hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    centres, half_widths = hz[1:-1], np.diff(hz)[:-1]
    bins = np.linspace(0.0, SAMPLE_RATE / 2, FBANK_WINDOW // 2 + 1)[:, None]
    return _frozen(np.maximum(0.0, 1.0 - np.abs(bins - centres) / half_widths))


def _frozen(values: np.ndarray) -> np.ndarray:
    """Cast to float32 and forbid changes, as all callers share the array."""
    values = values.astype(np.float32)
    values.flags.writeable = False
    return values


def compute_mel_decibels(waveform: np.ndarray, num_filters: int) -> np.ndarray:
    """Compute mel filterbank energies in decibels.

    Windows of 25 ms are centred on multiples of 10 ms, with zeros before and after the clip. The
    power spectrum is not scaled.

    Args:
        waveform: (S,) float in [-1, 1] at 16 kHz.
        num_filters: Number of mel filters.

    Returns:
        (1 + S // 160, num_filters) float32; its range is at most 80 dB.

    Raises:
        ValueError: ``waveform`` has another shape or type.
    """
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(f"waveform must be (S,) float, got {waveform.shape} {waveform.dtype}")
    padded = np.pad(waveform.astype(np.float32, copy=False), FBANK_WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, FBANK_WINDOW)[::FBANK_HOP]
    spectrum = scipy.fft.rfft(windows * hamming_window())
    energies = (spectrum.real**2 + spectrum.imag**2) @ mel_triangles(num_filters)
    decibels = 10.0 * np.log10(np.maximum(energies, np.float32(MIN_ENERGY)))
    return np.maximum(decibels, decibels.max() - np.float32(RANGE_DB))
