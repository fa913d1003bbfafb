"""What training does to the sound beside noise: spans that are lost, and how much of it is left."""

import numpy as np

from avsr.audio import rms
from avsr.rates import SAMPLE_RATE, SAMPLES_PER_FRAME

DROPS = 3  # most spans of one utterance that are lost
DROP_SECONDS = (0.2, 1.5)
BURST_DB = (0.0, 20.0)  # level of a burst of noise over that of the speech
DEAF_DB, CLEAR_DB = -10.0, 10.0


def sound_reliability(snr_db: float) -> float:
    """Return how far sound in noise can be trusted: 0 at -10 dB, 1 at 10 dB, linear between.

    By the results of the bundled model (recipes/synthetic/RESULTS.md): at -10 dB of babble all
    words are wrong without lips, and lips that are added to speech at 10 dB bring less than they
    bring at any lower ratio.
    """
    return float(np.clip((snr_db - DEAF_DB) / (CLEAR_DB - DEAF_DB), 0.0, 1.0))


def drop_sound(waveform: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Replace spans of the sound by silence or by bursts of white noise.

    Args:
        waveform: (S,) samples, which stay unchanged.
        rng: Decides on number, places and kinds.

    Returns:
        (S,) float32, and which video frames (T,) are mostly lost, T = S / 640 rounded up.
    """
    out = waveform.astype(np.float32)
    lost = np.zeros(len(out), bool)
    level = max(rms(out), 1e-3)  # a burst must not be silent in silence
    for _ in range(int(rng.integers(1, DROPS + 1))):
        width = min(len(out), round(float(rng.uniform(*DROP_SECONDS)) * SAMPLE_RATE))
        first = int(rng.integers(len(out) - width + 1))
        span = slice(first, first + width)
        lost[span] = True
        out[span] = 0.0
        if rng.random() < 0.5:
            gain = level * 10 ** (float(rng.uniform(*BURST_DB)) / 20)
            out[span] = (gain * rng.standard_normal(width)).clip(-1.0, 1.0)
    padded = np.pad(lost, (0, -len(lost) % SAMPLES_PER_FRAME))
    return out, padded.reshape(-1, SAMPLES_PER_FRAME).mean(1) > 0.5
