"""Noise at a signal-to-noise ratio, and babble made of many talkers."""

from collections.abc import Sequence

import numpy as np

LOUDEST = 32767 / 32768  # the largest positive 16-bit sample; the largest negative one is -1
FRAME = 320  # samples of a frame that is speech or a pause: 20 ms
PAUSE_DB = 30.0  # frames this far below the loudest are pauses
TALKER_RMS = 0.1  # level of each talker in babble; a mix at an SNR sets its own


def rms(waveform: np.ndarray) -> float:
    """Root mean square of a waveform (S,); 0.0 for an empty one."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def active_rms(waveform: np.ndarray) -> float:
    """Root mean square over the 20 ms frames of a waveform (S,) that are no pauses.

    A pause is a frame whose power lies 30 dB or more below that of the loudest one.
    """
    frames = [waveform[first : first + FRAME] for first in range(0, len(waveform), FRAME)]
    levels = np.array([rms(frame) for frame in frames])
    loudest = levels.max(initial=0.0)
    spoken = [
        f
        for f, level in zip(frames, levels, strict=True)
        if level > loudest * 10 ** (-PAUSE_DB / 20)
    ]
    return rms(np.concatenate(spoken)) if spoken else 0.0


def loop_to_length(waveform: np.ndarray, num_samples: int, offset: int = 0) -> np.ndarray:
    """``num_samples`` of an endlessly repeated waveform, beginning at sample ``offset``."""
    start = offset % len(waveform)
    if start + num_samples <= len(waveform):  # a long one need not be copied
        return waveform[start : start + num_samples]
    repeats = -(-(start + num_samples) // len(waveform))
    return np.tile(waveform, repeats)[start : start + num_samples]


def fit_to_range(waveform: np.ndarray) -> np.ndarray:
    """Scale a waveform down as a whole where it would clip as 16-bit samples; (S,) float32."""
    peak = max(waveform.max(initial=0.0) / LOUDEST, -waveform.min(initial=0.0), 1.0)
    return (waveform / peak).astype(np.float32)


def mix_at_snr(
    speech: np.ndarray,
    noise: np.ndarray,
    snr_db: float | None,
    *,
    offset: int = 0,
    pauses: bool = True,
) -> np.ndarray:
    """Add noise so that the ratio of the two RMS values over the whole clip is ``snr_db``.

    ``speech`` (S,) and ``noise`` (N,) in [-1, 1]; the noise is looped from sample ``offset`` and
    cut to S samples. ``None`` is clean; 0.0 is 0 dB. Where speech or noise is silent no ratio
    exists and the speech is returned as it is. A sum beyond the range of 16-bit samples is scaled
    down as a whole, which keeps the ratio. Without ``pauses`` the speech counts by ``active_rms``.
    Returns (S,) float32.
    """
    if snr_db is None or len(noise) == 0 or len(speech) == 0:
        return speech.astype(np.float32)
    cut = loop_to_length(noise, len(speech), offset).astype(np.float64)
    speech_rms, noise_rms = rms(speech) if pauses else active_rms(speech), rms(cut)
    if speech_rms == 0.0 or noise_rms == 0.0:
        return speech.astype(np.float32)
    gain = speech_rms / noise_rms / 10.0 ** (snr_db / 20.0)
    return fit_to_range(speech + gain * cut)


def make_babble(
    clips: Sequence[np.ndarray], num_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean of several talkers, (num_samples,) float32, each at the same RMS.

    ``clips`` are waveforms (S_i,); each is looped from a random offset. Silent clips take no
    part; without any other the result is silence.
    """
    babble = np.zeros(num_samples)
    talkers = 0
    for clip in clips:
        offset = int(rng.integers(max(1, len(clip))))  # drawn for silent clips too
        level = rms(clip)
        if level > 0.0:
            babble += loop_to_length(clip, num_samples, offset) * (TALKER_RMS / level)
            talkers += 1
    return fit_to_range(babble / max(1, talkers))
