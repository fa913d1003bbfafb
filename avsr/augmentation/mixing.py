"""Mix noise into speech at a signal-to-noise ratio, and make babble of many talkers."""

from collections.abc import Sequence

import numpy as np

from avsr.audio import rms

LOUDEST = 32767 / 32768  # the largest positive 16-bit sample; the largest negative one is -1
FRAME = 320  # samples per frame of 20 ms that counts as speech or as a pause
PAUSE_DB = 30.0  # frames this far below the loudest one are pauses
TALKER_RMS = 0.1  # level of each talker in babble; mixing at an SNR sets the final level


def active_rms(waveform: np.ndarray) -> float:
    """Compute the root mean square over the parts of a waveform that are not pauses.

    A pause is a 20 ms frame whose power is 30 dB or more below that of the loudest frame.

    Args:
        waveform: (S,) samples.

    Returns:
        The RMS of the remaining frames; 0.0 for silence.
    """
    frames = [waveform[first : first + FRAME] for first in range(0, len(waveform), FRAME)]
    levels = np.array([rms(frame) for frame in frames])
    threshold = levels.max(initial=0.0) * 10 ** (-PAUSE_DB / 20)
    active = [f for f, level in zip(frames, levels, strict=True) if level > threshold]
    return rms(np.concatenate(active)) if active else 0.0


def loop_to_length(waveform: np.ndarray, num_samples: int, offset: int = 0) -> np.ndarray:
    """Repeat a waveform until it is long enough, starting at a sample.

    Args:
        waveform: (N,) samples, at least one.
        num_samples: Length of the result.
        offset: First sample to use; counted modulo N.

    Returns:
        (num_samples,) samples; a view where nothing has to be repeated.
    """
    start = offset % len(waveform)
    if start + num_samples <= len(waveform):  # a long waveform need not be copied
        return waveform[start : start + num_samples]
    repeats = -(-(start + num_samples) // len(waveform))
    return np.tile(waveform, repeats)[start : start + num_samples]


def fit_to_range(waveform: np.ndarray) -> np.ndarray:
    """Scale a whole waveform down where it would clip as 16-bit samples; (S,) float32."""
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
    """Add noise to speech at a signal-to-noise ratio.

    The ratio is that of the RMS values over the whole clip. A sum beyond the range of 16-bit
    samples is scaled down as a whole, which keeps the ratio. Where speech or noise is silent no
    ratio exists, and the speech is returned unchanged.

    Args:
        speech: (S,) samples in [-1, 1].
        noise: (N,) samples in [-1, 1]; repeated or cut to S samples.
        snr_db: Ratio in dB; None is clean, 0.0 is 0 dB.
        offset: Sample of the noise to start at.
        pauses: Whether pauses count in the level of the speech; if not, ``active_rms`` is used.

    Returns:
        (S,) float32.
    """
    if snr_db is None or len(noise) == 0 or len(speech) == 0:
        return speech.astype(np.float32)
    fitted = loop_to_length(noise, len(speech), offset).astype(np.float64)
    speech_rms, noise_rms = rms(speech) if pauses else active_rms(speech), rms(fitted)
    if speech_rms == 0.0 or noise_rms == 0.0:
        return speech.astype(np.float32)
    gain = speech_rms / noise_rms / 10.0 ** (snr_db / 20.0)
    return fit_to_range(speech + gain * fitted)


def make_babble(
    clips: Sequence[np.ndarray], num_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Average several talkers at equal level.

    Args:
        clips: One waveform (S_i,) per talker; each is repeated from a random offset. Silent clips
            are left out.
        num_samples: Length of the babble.
        rng: Source of the offsets.

    Returns:
        (num_samples,) float32; silence if no clip holds sound.
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
