"""Check arrays that a caller gives in place of a file."""

from typing import Any

import numpy as np

from avsr.errors import MediaError
from avsr.rates import MOUTH_SIZE, SAMPLE_RATE
from avsr.settings import show


def check_waveform(waveform: Any) -> np.ndarray:
    """Return sound as (S,) float32.

    Args:
        waveform: (S,) floats in [-1, 1] at 16 kHz: an array, a tensor or a list.

    Raises:
        MediaError: It has another type or shape, no samples, or values that are not finite.
    """
    sound = _as_array(waveform, "waveform")
    if sound.ndim != 1 or sound.dtype.kind != "f" or not len(sound):
        hint = "; divide whole numbers by their maximum" if sound.dtype.kind in "iu" else ""
        raise MediaError(
            f"waveform must be (S,) floats in [-1, 1] at {SAMPLE_RATE} Hz, not {sound.shape} "
            f"{sound.dtype}{hint}"
        )
    with np.errstate(over="ignore"):
        sound = np.ascontiguousarray(sound, np.float32)
    if not np.isfinite(sound).all():
        raise MediaError("waveform holds values that are not finite")
    return sound


def check_mouth(mouth: Any) -> np.ndarray:
    """Return mouth crops as (T, 96, 96) uint8.

    Args:
        mouth: (T, 96, 96) uint8 grey crops at 25 Hz: an array or a tensor.

    Raises:
        MediaError: It has another type or shape, or no frames.
    """
    crops = _as_array(mouth, "mouth")
    size = (MOUTH_SIZE, MOUTH_SIZE)
    if crops.ndim != 3 or crops.shape[1:] != size or crops.dtype != np.uint8 or not len(crops):
        raise MediaError(
            f"mouth must be (T, {MOUTH_SIZE}, {MOUTH_SIZE}) uint8 grey crops at 25 Hz, not "
            f"{crops.shape} {crops.dtype}"
        )
    return np.ascontiguousarray(crops)


def _as_array(values: Any, name: str) -> np.ndarray:
    """Return an array, a tensor on any device, or a list as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise MediaError(f"{name} is no array: {show(values)}") from error
