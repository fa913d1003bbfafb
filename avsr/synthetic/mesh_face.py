"""Shape of a 3-D face: a surface over the mean face's canvas, the lines of the lips, an outline.

Positions are (x, y, z) in px of the canvas (0.82 px are about 1 mm): x is 0 in the middle of the
face, y points down as on the canvas, z points to the camera. Seen straight on from far away, the
face lies on the canvas as the mean face does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Floats = NDArray[np.floating]

MIDDLE = 128.87  # canvas x of the middle of the face
NUM_ANGLES = 56  # around the mouth; angle 0 is its right corner, then over the top


@dataclass(frozen=True)
class HeadShape:
    """Build of a head, constant for an identity: px of the canvas, and factors around 1."""

    face_width: float = 1.0
    jaw_width: float = 1.0
    depth: float = 1.0
    chin: float = 0.0  # px lower
    chin_size: float = 4.0  # px forward
    cheek: float = 3.0  # px forward
    brow: float = 3.0
    nose_length: float = 0.0  # px lower
    nose_height: float = 17.0
    nose_width: float = 1.0
    eye_apart: float = 0.0  # px each eye further out
    eye_width: float = 1.0
    eye_depth: float = 5.0
    mouth_y: float = 151.0  # line of the closed lips
    mouth_half: float = 24.0  # half the width of the mouth at rest
    upper_lip: float = 6.0  # thickness
    lower_lip: float = 8.0
    muzzle: float = 14.0  # px by which the mouth lies further forward than the cheeks
    teeth: float = 1.0  # px that the upper teeth reach below the line of the lips
    lip_bulge: float = 3.0  # px forward
    bow: float = 0.2  # depth of the dip in the upper lip, share of its thickness
    corner: float = 0.0  # px lower than the middle
    jaw_move: float = 1.0  # effort of the jaw
    lip_move: float = 1.0  # and of the lips
    lopsided: float = 0.0  # px by which the left corner of the open mouth lies lower
    hairline: float = 53.0  # canvas y of the hair above the middle of the forehead
    fringe: float = 10.0  # px that the hairline lies lower at the temples
    temple: float = 60.0  # px from the middle to the hair at the sides
    hair_volume: float = 6.0
    hair_length: float = 0.0  # 0 short .. 1 to the shoulders


def ramp(x: Floats, low: float, high: float) -> Floats:
    """Return 0 below ``low``, 1 above ``high``, smooth between."""
    f = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(f * f * (3 - 2 * f), np.float32)


def bump(x: Floats, y: Floats, middle: tuple[float, float], size: tuple[float, float]) -> Floats:
    """Return a Gaussian of height 1."""
    return np.exp(-(((x - middle[0]) / size[0]) ** 2) - ((y - middle[1]) / size[1]) ** 2)


_PROFILE = PchipInterpolator(
    (0, 36, 50, 66, 80, 88, 97, 112, 128, 137, 146, 152, 158, 166, 176, 187, 195, 202, 215),
    (-50, -17, -7, -1, 2, 1, -3, -2, -3, -4, -5, -5, -5, -3, 3, 5, 1, -9, -40),
)
_OUTLINE = PchipInterpolator(
    (30, 34, 40, 48, 58, 72, 90, 108, 128, 146, 160, 174, 186, 194, 199, 200),
    (0, 22, 34, 43, 51, 57, 60, 61, 59.5, 56, 51, 43, 31, 19, 7, 0),
)


def nose_tip_y(shape: HeadShape) -> float:
    """Return the height of the tip of the nose on the canvas."""
    return 129.0 + shape.nose_length


def eye_corners(shape: HeadShape) -> NDArray[np.float64]:
    """Return (x, y) of the outer and inner corner of the left and of the right eye (4, 2)."""
    middle, half = 26.6 + shape.eye_apart, 10.1 * shape.eye_width
    xs = (-middle - half, -middle + half, middle - half, middle + half)
    return np.array([(x, 94.3) for x in xs])


def surface(x: Floats, y: Floats, shape: HeadShape) -> Floats:
    """Return z of the face, without lips, at canvas positions around its middle."""
    a = np.abs(x)
    scale = 68.0 * shape.face_width
    side = 1 - np.sqrt(np.clip(1 - (a / scale) ** 2, 0.02, 1))
    z = _PROFILE(y - shape.chin * ramp(y, 160, 195)) - 60 * shape.depth * side
    tip = nose_tip_y(shape)
    width = (5.0 + 5.5 * ramp(y, 100, tip)) * shape.nose_width
    ridge = 0.28 * ramp(y, 86, 100) + 0.72 * np.clip((y - 92) / (tip - 92), 0, 1) ** 1.2
    ridge *= 1 - ramp(y, tip + 0.5, tip + 9)
    z += shape.nose_height * ridge * np.exp(-(np.abs(x / width) ** 2.2))
    z += 6.0 * bump(a, y, (10.0 * shape.nose_width, tip + 2), (4.8, 5.5))
    z -= shape.eye_depth * bump(a, y, (26 + shape.eye_apart, 95), (17, 10))
    z += 4.0 * bump(a, y, (26.6 + shape.eye_apart, 95), (10, 7))
    z += shape.brow * bump(a, y, (24, 81), (22, 6))
    z += shape.cheek * bump(a, y, (38, 120), (18, 16))
    z += shape.chin_size * bump(x, y, (0, 184 + shape.chin), (15, 10))
    z += shape.muzzle * bump(x, y, (0, shape.mouth_y + 1), (18, 24))
    z -= 1.2 * bump(x, y, (0, (tip + shape.mouth_y) / 2 + 3), (3.5, 6))
    z -= 2.5 * bump(x, y, (0, shape.mouth_y + 15), (17, 4))
    return np.asarray(z, np.float32)


def lip_lines(shape: HeadShape) -> tuple[Floats, Floats, Floats, Floats]:
    """Return u (-1 .. 1 across the mouth), +1 upper / -1 lower, line and thickness, (angles,)."""
    angle = 2 * np.pi * np.arange(NUM_ANGLES) / NUM_ANGLES
    u, up = np.cos(angle), np.sin(angle)
    half = np.where(up > 1e-6, 1.0, np.where(up < -1e-6, -1.0, 0.0))
    line = shape.mouth_y + shape.corner * u * u
    dip = shape.bow * (
        np.exp(-((u / 0.16) ** 2)) - 0.4 * np.exp(-(((np.abs(u) - 0.3) / 0.14) ** 2))
    )
    upper = shape.upper_lip * ((1 - u * u) ** 0.8 - dip)
    lower = shape.lower_lip * (1 - u * u) ** 0.65
    thick = np.where(half > 0, upper, lower) + 0.5
    return u, half, line, thick


def outline_points(shape: HeadShape) -> Floats:
    """Return the outline of the face (angles, 2) in the directions of the mouth's angles."""
    y = np.concatenate([np.linspace(30, 190, 81), np.linspace(191, 200, 37)])
    half = _OUTLINE(y) * shape.face_width
    half *= 1 + (shape.jaw_width - 1) * ramp(y, 115, 165)
    y = y + shape.chin * ramp(y, 150, 200)
    x, y = np.concatenate([half, -half[::-1]]), np.concatenate([y, y[::-1]])
    direction = np.unwrap(np.arctan2(shape.mouth_y - y, x))
    order = np.argsort(direction)
    wanted = 2 * np.pi * np.arange(NUM_ANGLES) / NUM_ANGLES
    reach = np.hypot(x, y - shape.mouth_y)
    distance = np.interp(wanted, direction[order], reach[order], period=2 * np.pi)
    return np.stack([distance * np.cos(wanted), shape.mouth_y - distance * np.sin(wanted)], axis=-1)


def hair_mask(x: Floats, y: Floats, shape: HeadShape) -> Floats:
    """Return 1 where hair covers the unrolled skin (x from the middle of the face), 0 elsewhere."""
    a = np.abs(x)
    above = ramp(shape.hairline + shape.fringe * (a / 50) ** 2 - y, -3, 4)
    beside = ramp(a - 0.04 * (y - 90).clip(0, None), shape.temple - 6, shape.temple + 2)
    beside *= ramp(118 + 80 * shape.hair_length - y, -14, 6)
    return np.maximum(above, beside)
