"""Random motion of a talking head (drift, turning, nodding, blinks) and of the light."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsr.rates import FPS
from avsr.synthetic.head_turn import MAX_PITCH, MAX_YAW

Floats = NDArray[np.float32]

BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)  # share of the eye that is closed, over six frames
BLINK_EVERY = 3.0  # s, mean time between blinks


def smooth_noise(num: int, width: int, columns: int, rng: np.random.Generator) -> Floats:
    """Return random curves (num, columns) of about unit size that vary over ``width`` frames."""
    knots = rng.standard_normal((num // width + 3, columns))
    positions = np.arange(num) / width + rng.random()
    left = positions.astype(int)
    f = (positions - left)[:, None]
    f = f * f * (3 - 2 * f)
    return (knots[left] * (1 - f) + knots[left + 1] * f).astype(np.float32)


@dataclass(frozen=True)
class Poses:
    """Pose of the head per frame, every field (T,)."""

    x: Floats  # shift, canvas px
    y: Floats
    angle: Floats  # radians, clockwise in the frame
    scale: Floats
    yaw: Floats  # degrees, see ``head_turn``
    pitch: Floats


def draw_turns(num: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw yaw and pitch (T,) in degrees: most heads look ahead, a few turn as far as is possible.

    Some speakers keep still, others turn and nod while they speak.
    """
    spread = [12.0, 8.0] * rng.standard_normal(2)
    activity = rng.uniform(0.5, 5.0)
    turns = spread + activity * smooth_noise(num, 30, 2, rng)
    turns += 0.4 * activity * smooth_noise(num, 12, 2, rng)
    yaw, pitch = turns.astype(np.float32).T
    return yaw.clip(-MAX_YAW, MAX_YAW), pitch.clip(-MAX_PITCH, MAX_PITCH)


def draw_poses(num: int, rng: np.random.Generator) -> Poses:
    """Draw poses that drift around a random pose."""
    fixed = rng.standard_normal()
    slow = smooth_noise(num, 30, 4, rng)
    quick = smooth_noise(num, 12, 4, rng)
    yaw, pitch = draw_turns(num, rng)
    drift = 0.8 * slow + 0.3 * quick
    return Poses(
        x=4.0 * drift[:, 0],
        y=3.0 * drift[:, 1],
        angle=0.03 * drift[:, 2] + 0.04 * np.float32(fixed),
        scale=1 + 0.012 * drift[:, 3],
        yaw=yaw,
        pitch=pitch,
    )


def draw_blinks(num: int, rng: np.random.Generator) -> Floats:
    """Draw blinks: share of the eyes that is closed (T,), 0 open .. 1 closed."""
    closed = np.zeros(num + len(BLINK), np.float32)
    frame = int(rng.exponential(BLINK_EVERY) * FPS)
    while frame < num:
        part = closed[frame : frame + len(BLINK)]
        np.maximum(part, BLINK[: len(part)], out=part)
        frame += len(BLINK) + int(rng.exponential(BLINK_EVERY) * FPS)
    return closed[:num]


@dataclass(frozen=True)
class Light:
    """Exposure per frame: grey level = level * (gain + slope over x and y) + bias."""

    gain: Floats  # (T,)
    bias: Floats  # (T,) grey levels
    slope: Floats  # (T, 2) change of the gain from the middle to the edge, along x and y


def draw_light(num: int, rng: np.random.Generator) -> Light:
    """Draw the exposure of a clip: nearly constant, drifting a little."""
    drift = smooth_noise(num, 25, 4, rng)
    fixed = rng.standard_normal(4)
    return Light(
        gain=(1 + 0.08 * fixed[0] + 0.02 * drift[:, 0]).astype(np.float32),
        bias=(8 * fixed[1] + 1.5 * drift[:, 1]).astype(np.float32),
        slope=(0.1 * fixed[2:] + 0.02 * drift[:, 2:]).astype(np.float32),
    )
