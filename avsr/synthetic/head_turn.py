"""Turning a photographed head: the front view is laid over the depth of a face and projected anew.

Positions are canvas px (see ``portrait``). Angles are degrees: yaw > 0 turns the face to the
viewer's right, pitch > 0 lowers the chin.
"""

import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import MEAN_FACE, estimate_similarity
from avsr.synthetic import portrait

Floats = NDArray[np.float32]

MAX_YAW = 30.0  # beyond, the photograph lacks what would show
MAX_PITCH = 25.0
PIVOT = (portrait.MOUTH_X, 150.0)  # stays in place when the axis lies at its depth
AXIS = -30.0  # depth of the axis around which the head turns
HALF_HEAD = (80.0, 150.0)  # half width and half height of the head, whose depth is that of
HEAD_MIDDLE = 110.0  # an ellipsoid around this y
HEAD_DEPTH = 60.0
# Bumps on it: middle x and y, sigma along x and y, height. Between them, the depths of eyes, nose
# and lips are those of ``avsr.face.geometry.HEAD`` to a few px.
BUMPS = (
    (portrait.MOUTH_X, 122.0, 8.5, 13.0, 18.0),  # nose
    (portrait.MOUTH_X, 147.0, 13.0, 14.0, 15.0),  # mouth
)
ITERATIONS = 8  # of the fixed-point search in ``unturn``


def face_depth(x: Floats, y: Floats) -> Floats:
    """Return how far positions lie in front of the forehead (negative: behind it), canvas px."""
    across = (x - np.float32(PIVOT[0])) / np.float32(HALF_HEAD[0])
    down = (y - np.float32(HEAD_MIDDLE)) / np.float32(HALF_HEAD[1])
    depth = HEAD_DEPTH * (np.sqrt(np.maximum(1 - across * across - down * down, 0.05)) - 1)
    for middle_x, middle_y, width, height, size in BUMPS:
        u = (x - np.float32(middle_x)) / np.float32(width)
        v = (y - np.float32(middle_y)) / np.float32(height)
        depth = depth + np.float32(size) * np.exp(-0.5 * (u * u + v * v))
    return np.asarray(depth, np.float32)


def project(x: Floats, y: Floats, yaw: Floats, pitch: Floats) -> tuple[Floats, Floats]:
    """Return where positions (x, y) of the front view lie after the head has turned."""
    sin, cos, sin_pitch, cos_pitch = _sines(yaw, pitch)
    depth = face_depth(x, y) - np.float32(AXIS)
    across, down = x - np.float32(PIVOT[0]), y - np.float32(PIVOT[1])
    forward = depth * cos - across * sin
    turned_x = np.float32(PIVOT[0]) + across * cos + depth * sin
    turned_y = np.float32(PIVOT[1]) + down * cos_pitch + forward * sin_pitch
    return turned_x, turned_y


def unturn(x: Floats, y: Floats, yaw: Floats, pitch: Floats) -> tuple[Floats, Floats]:
    """Return which positions of the front view lie at (x, y) after the head has turned.

    The inverse of ``project``; the arguments broadcast.
    """
    sin, cos, sin_pitch, cos_pitch = _sines(yaw, pitch)
    right, low = x - np.float32(PIVOT[0]), y - np.float32(PIVOT[1])
    depth: Floats | np.float32 = np.float32(-AXIS)
    for _ in range(ITERATIONS + 1):
        across = (right - depth * sin) / cos
        down = (low - (depth * cos - across * sin) * sin_pitch) / cos_pitch
        from_x, from_y = across + np.float32(PIVOT[0]), down + np.float32(PIVOT[1])
        depth = face_depth(from_x, from_y) - np.float32(AXIS)
    return from_x, from_y


def align_turned(yaw: float, pitch: float) -> NDArray[np.float64]:
    """Return the similarity (2, 3) by which ``avsr.face`` brings a turned head to the canvas."""
    x, y = MEAN_FACE.astype(np.float32).T
    turned = project(x, y, np.full(1, yaw, np.float32), np.full(1, pitch, np.float32))
    return estimate_similarity(np.column_stack(turned), MEAN_FACE)


def _sines(yaw: Floats, pitch: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    yaw, pitch = np.radians(yaw, dtype=np.float32), np.radians(pitch, dtype=np.float32)
    return np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
