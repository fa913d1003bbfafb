"""Render mouth crops of synthetic faces directly in the geometry of ``avsr.face`` crops."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import invert
from avsr.rates import MOUTH_SIZE
from avsr.synthetic import portrait
from avsr.synthetic.head_turn import align_turned, project, unturn
from avsr.synthetic.identities import GREY, Identity, draw_skin
from avsr.synthetic.lips import (
    MouthBuild,
    MouthShape,
    deformation,
    inside_colors,
    inside_window,
    lip_mean,
    paint_inside,
    shape_mouth,
)
from avsr.synthetic.motion import draw_light, draw_turns, smooth_noise
from avsr.synthetic.portrait import Grid, blurred, sample

Floats = NDArray[np.float32]

# How ``avsr.face`` crops heads of ``heads.render_frames`` (measured): compared with the canvas, the
# mouth is smaller, the crop is higher and follows the jaw further.
MESH_SCALE = 0.955
MESH_SHIFT = -1.0  # canvas px
MESH_FOLLOW = 1.2

CHUNK = 16  # frames rendered at a time: large enough for numpy, small enough for the CPU cache

# The part of the canvas that a crop can show, with a margin for the deformation of the face.
_MOUTH_GRID = Grid(62.0, 92.0, 136, 120)
_TEXTURE = Grid(30.0, 60.0, 200, 204)
STEP = 4  # crop px between computed positions; positions between them are interpolated
# Lip landmarks around their mean, (2, 8): the corners lie deeper than the middle.
_CONTOUR = np.array([24.0, 7.0], np.float32)[:, None] * np.stack(
    [f(np.arange(8, dtype=np.float32) * np.pi / 4) for f in (np.cos, np.sin)]
)
_UPSAMPLE = np.array([[1 / STEP, 0, 0], [0, 1 / STEP, 0]])


@lru_cache(maxsize=1024)
def _mouth_texture(identity: Identity) -> NDArray[np.uint8]:
    """Return the grey skin of an identity over ``_TEXTURE``, (204, 200): 41 kB, drawn in 20 ms."""
    skin = draw_skin(identity, _TEXTURE)
    person = skin[..., 3]
    background = float(np.array(identity.background, np.float32) @ GREY)
    grey = skin[..., :3] @ GREY * person + background * (1 - person)
    return np.round(grey).astype(np.uint8)


def render_mouth(
    identity: Identity,
    trajectory: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    turns: tuple[Floats, Floats] | None = None,
) -> NDArray[np.uint8]:
    """Render mouth crops of a talking face.

    Args:
        identity: The face.
        trajectory: Articulation parameters (T, P) of ``visemes.PARAMETERS`` at 25 Hz.
        rng: Varies head pose, crop position, light, blur and noise.
        turns: Yaw and pitch (T,) of the head in degrees; default: drawn by ``draw_turns``.

    Returns:
        (T, 96, 96) uint8 grey.
    """
    num = len(trajectory)
    texture = _mouth_texture(identity).astype(np.float32)
    build = identity.build
    shape = shape_mouth(trajectory, build)
    yaw, pitch = draw_turns(num, rng)
    if turns is not None:
        yaw, pitch = turns
    placement = _crop_placement(shape, build, yaw, pitch, rng)
    light = draw_light(num, rng)
    ramp = np.linspace(-1, 1, MOUTH_SIZE, dtype=np.float32)
    # Crops of real videos are scaled and compressed, which averages out part of the noise.
    noise = identity.noise * rng.uniform(0.2, 1.0)
    blur = max(0.0, rng.normal(0.5, 0.3))
    if blur > 0.3:
        texture = blurred(texture, blur)
    bank = rng.standard_normal(MOUTH_SIZE * MOUTH_SIZE * 3, np.float32) * noise
    offsets = rng.integers(0, len(bank) - MOUTH_SIZE**2, num)
    cavity, teeth, tongue = (float(c @ GREY) for c in inside_colors(identity.skin))

    place = np.empty((MOUTH_SIZE, MOUTH_SIZE, 2), np.float32)
    crop = np.empty((MOUTH_SIZE, MOUTH_SIZE), np.float32)
    out = np.empty((num, MOUTH_SIZE, MOUTH_SIZE), np.uint8)
    window = inside_window(_MOUTH_GRID, build)
    rows, columns = _MOUTH_GRID.slices(window)
    for start in range(0, num, CHUNK):
        part = shape.slice(start, start + CHUNK)
        map_x, map_y = deformation(part, build, _MOUTH_GRID)
        inside = paint_inside(part, build, window)
        places = _places(placement[start : start + CHUNK], yaw[start:], pitch[start:])
        paint = inside.cavity * cavity + inside.teeth * teeth + inside.tongue * tongue
        for k in range(len(part)):
            t = start + k
            face = sample(texture, _TEXTURE, map_x[k], map_y[k])
            area = face[rows, columns]
            area *= inside.shadow[k]
            area += (paint[k] - area) * inside.cover[k]
            cv2.warpAffine(
                places[k],
                _UPSAMPLE,
                (MOUTH_SIZE, MOUTH_SIZE),
                dst=place,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            cv2.remap(
                face,
                place[..., 0],
                place[..., 1],
                cv2.INTER_LINEAR,
                dst=crop,
                borderMode=cv2.BORDER_REPLICATE,
            )
            slope = light.slope[t]
            crop *= light.gain[t] + slope[0] * ramp[None] + slope[1] * ramp[:, None]
            crop += light.bias[t]
            crop += bank[offsets[t] : offsets[t] + MOUTH_SIZE**2].reshape(crop.shape)
            np.clip(crop, 0, 255, out=crop)
            out[t] = crop
    return np.ascontiguousarray(out[:, :, ::-1]) if identity.flipped else out


def _crop_placement(
    shape: MouthShape, build: MouthBuild, yaw: Floats, pitch: Floats, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return matrices (T, 2, 3) from crop pixels to positions on the canvas of the turned head.

    The crop follows the mean of the lip landmarks in whole pixels. Random offsets stand for errors
    of the landmarks and the lag of the smoothed transform behind the head.
    """
    num = len(shape)
    jitter = smooth_noise(num, 12, 6, rng)
    fixed = rng.standard_normal(6)
    angle = 0.010 * jitter[:, 0] + 0.02 * fixed[0]
    scale = MESH_SCALE + 0.008 * jitter[:, 1] + 0.025 * fixed[1]
    aspect = 1 + 0.008 * jitter[:, 2] + 0.02 * fixed[2]
    wobble = rng.standard_normal((num, 2)) * 0.25
    lips = lip_mean(shape, build)
    lips = lips + (lips - build.y) * np.float32(MESH_FOLLOW - 1 + 0.1 * fixed[3])
    contour = lips[:, None] + np.float32(MESH_SHIFT) + _CONTOUR[1]
    points = project(portrait.MOUTH_X + _CONTOUR[0], contour, yaw[:, None], pitch[:, None])
    turned = np.column_stack([values.mean(axis=1) for values in points])
    align = align_turned(float(yaw.mean()), float(pitch.mean())) if num else np.eye(2, 3)
    unalign = invert(align)
    target = turned @ align[:, :2].T + align[:, 2]
    target += wobble + 0.4 * jitter[:, 3:5] + fixed[4:6] * [0.8, 1.8]
    subpixel = 0.5 * (rng.random(2) - 0.5) + 0.3 * jitter[:, 4:6]
    centre = np.round(target) + subpixel
    half = MOUTH_SIZE // 2
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.empty((num, 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1] = cos * aspect, -sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos / aspect
    matrix[:, :, 2] = centre - half * matrix[:, :, :2].sum(axis=2)
    matrix = unalign[:, :2] @ matrix
    matrix[:, :, 2] += unalign[:, 2]
    return matrix


def _places(placement: NDArray[np.float64], yaw: Floats, pitch: Floats) -> Floats:
    """Return the position in ``_MOUTH_GRID`` of every ``STEP``th pixel of K crops, (K, N, N, 2)."""
    num = len(placement)
    steps = np.arange(0, MOUTH_SIZE + STEP, STEP)
    pixels = np.stack([*np.meshgrid(steps, steps), np.ones((len(steps), len(steps)))])
    x, y = np.einsum("kij,jrc->ikrc", placement, pixels).astype(np.float32)
    x, y = unturn(x, y, yaw[:num, None, None], pitch[:num, None, None])
    return np.stack([x - np.float32(_MOUTH_GRID.left), y - np.float32(_MOUTH_GRID.top)], axis=-1)
