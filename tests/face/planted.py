"""Tracks of faces whose place, size and mouth are planted: no picture, no detector."""

import numpy as np

from avsr.face import FaceTrack
from avsr.face.geometry import HEAD

EYES = 60.0  # px between the outer corners, of a face 100 px tall


def plant(
    opening: np.ndarray,
    x: float = 100.0,
    *,
    start: int = 0,
    height: float = 100.0,
    look: int = 0,
    yaw: float = 0.0,
    number: int = 0,
) -> FaceTrack:
    """A face at ``x`` whose mouth is open by ``opening`` (N,), in eye distances.

    ``look`` seeds what its crops look like; ``yaw`` (degrees) turns the head.
    """
    count = len(opening)
    head = HEAD.copy()
    head[24:21:-1] = head[18:21]  # the inner lips touch
    turn = np.deg2rad(yaw)
    across = head[:, 0] * np.cos(turn) + head[:, 2] * np.sin(turn)
    points = np.tile(np.stack([across, head[:, 1]], axis=1), (count, 1, 1))
    points[:, 22:25, 1] += np.asarray(opening)[:, None]
    points = points * EYES * height / 100 + (x, 150.0)
    box = np.array([x - height / 2, 150 - height / 2, height, height], np.float32)
    crop = np.random.default_rng(look).integers(0, 255, (12, 12), np.uint8)
    crop = crop.repeat(8, axis=0).repeat(8, axis=1)
    return FaceTrack(
        start,
        np.tile(crop, (count, 1, 1)),
        np.ones(count, np.bool_),
        np.tile(box, (count, 1)),
        points.astype(np.float32),
        np.zeros((count, 2, 3), np.float32),
        number,
    )


def syllables(count: int, seed: int) -> np.ndarray:
    """An opening (N,) that changes about four times a second, 0 to 0.15."""
    rng = np.random.default_rng(seed)
    raw = np.convolve(rng.normal(size=count + 6), np.hanning(7), "valid")
    return 0.15 * (raw - raw.min()) / np.ptp(raw)


def resting(count: int, seed: int = 0) -> np.ndarray:
    """The opening (N,) of a mouth that rests, with the jitter of the landmarks."""
    return np.abs(0.02 + 0.003 * np.random.default_rng(seed).normal(size=count))


def level_of(opening: np.ndarray) -> np.ndarray:
    """The loudness (N,) of what a mouth says, with noise."""
    rng = np.random.default_rng(99)
    return -6 + 25 * opening + rng.normal(scale=0.5, size=len(opening))
