"""Log filterbank of AV-HuBERT: 26 mel bins at 100 Hz, four frames stacked to 104 at 25 Hz."""

import functools

import numpy as np
import scipy.fft

from avsr.rates import (
    FBANK_BINS,
    FBANK_DIM,
    FBANK_HOP,
    FBANK_STACK,
    FBANK_WINDOW,
    SAMPLE_RATE,
)

PREEMPHASIS = 0.97
FFT_SIZE = 512
INT16_SCALE = 32768.0  # energies are computed on the scale of 16-bit samples
SILENCE = np.finfo(np.float64).eps  # replaces an energy of 0, whose logarithm is not finite
LAYER_NORM_EPS = 1e-5
BLOCK = 3000  # frames (30 s) transformed at a time; an hour at once would need gigabytes


def hz_to_mel(hz: float) -> float:
    """Convert Hz to the mel scale of O'Shaughnessy (1987): 2595 log10(1 + f / 700)."""
    return float(2595.0 * np.log10(1.0 + hz / 700.0))


@functools.cache
def mel_filters() -> np.ndarray:
    """Return triangular filters (257, 26) float32 from 0 Hz to 8 kHz, edges on whole FFT bins."""
    mels = np.linspace(hz_to_mel(0), hz_to_mel(SAMPLE_RATE / 2), FBANK_BINS + 2)
    hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    edges = np.floor((FFT_SIZE + 1) * hz / SAMPLE_RATE)
    bins = np.arange(FFT_SIZE // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    inside = (bins >= left) & (bins < right)
    filters = np.where(inside, np.where(bins < centre, rising, falling), 0.0).astype(np.float32)
    filters.flags.writeable = False  # shared by all callers
    return filters


def compute_fbank(waveform: np.ndarray) -> np.ndarray:
    """Compute natural-log mel filterbank energies at 100 Hz.

    Pre-emphasis 0.97, rectangular windows of 25 ms every 10 ms, 512-point power spectrum; the
    last window is padded with zeros.

    Args:
        waveform: (S,) float in [-1, 1] at 16 kHz.

    Returns:
        (N, 26) float32; no frames for an empty waveform.

    Raises:
        ValueError: If ``waveform`` has another shape or type.
    """
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(f"waveform must be (S,) float, got {waveform.shape} {waveform.dtype}")
    if len(waveform) == 0:
        return np.zeros((0, FBANK_BINS), np.float32)
    num_frames = 1 + max(0, -(-(len(waveform) - FBANK_WINDOW) // FBANK_HOP))
    energies = np.empty((num_frames, FBANK_BINS), np.float32)
    for first in range(0, num_frames, BLOCK):
        block = energies[first : first + BLOCK]
        windows = _windows(waveform, first, len(block))
        # Single precision is within 2e-5 of double, six times faster.
        spectrum = scipy.fft.rfft(windows, FFT_SIZE)
        np.matmul(spectrum.real**2 + spectrum.imag**2, mel_filters(), out=block)
    energies /= FFT_SIZE
    energies[energies == 0] = SILENCE
    return np.log(energies, dtype=np.float64).astype(np.float32)


def _windows(waveform: np.ndarray, first: int, num_frames: int) -> np.ndarray:
    """Return windows of the pre-emphasised waveform from ``first`` on, (num_frames, 400)."""
    begin = first * FBANK_HOP
    length = (num_frames - 1) * FBANK_HOP + FBANK_WINDOW
    samples = waveform[begin : begin + length].astype(np.float64)
    previous = waveform[max(0, begin - 1) : begin + len(samples) - 1]
    samples[len(samples) - len(previous) :] -= PREEMPHASIS * previous
    padded = np.zeros(length, np.float32)
    padded[: len(samples)] = samples * INT16_SCALE
    return np.lib.stride_tricks.sliding_window_view(padded, FBANK_WINDOW)[::FBANK_HOP]


def stack_fbank(fbank: np.ndarray) -> np.ndarray:
    """Stack four frames of 10 ms to one of 40 ms.

    Args:
        fbank: (N, 26).

    Returns:
        (ceil(N / 4), 104); the last frame is padded with zeros.
    """
    return _pad_frames(fbank, -len(fbank) % FBANK_STACK).reshape(-1, FBANK_DIM)


def _pad_frames(frames: np.ndarray, missing: int) -> np.ndarray:
    """Append ``missing`` frames of zeros to frames (N, D)."""
    return np.concatenate([frames, np.zeros((missing, frames.shape[1]), frames.dtype)])


def normalize_frames(stacked: np.ndarray) -> np.ndarray:
    """Apply layer norm without weights to each frame, (T, 104) -> (T, 104) float32.

    Scale and shift have single precision as in torch's layer norm, so that the rounding errors in
    constant frames (digital silence, 1e-4) agree with those that models are trained on.
    """
    exact = stacked.astype(np.float64)
    variance = exact.var(axis=1, keepdims=True).astype(np.float32)
    scale = (1.0 / np.sqrt(variance + LAYER_NORM_EPS)).astype(np.float32)
    shift = exact.mean(axis=1, keepdims=True).astype(np.float32) * scale
    return (exact * scale - shift).astype(np.float32)


def audio_features(waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
    """Compute the audio input of the encoder: stacked filterbank, normalised per frame.

    Args:
        waveform: (S,) float in [-1, 1] at 16 kHz.
        num_frames: Length of the video. The stacked filterbank is cut or padded with zeros to it
            before it is normalised. Default: as many frames as the sound has.

    Returns:
        (T, 104) float32 at 25 Hz.
    """
    stacked = stack_fbank(compute_fbank(waveform))
    if num_frames is not None:
        stacked = _pad_frames(stacked[:num_frames], max(0, num_frames - len(stacked)))
    return normalize_frames(stacked)
