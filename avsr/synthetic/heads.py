"""Render frames of a whole talking head in front of a background."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.synthetic import portrait
from avsr.synthetic.crops import CHUNK
from avsr.synthetic.head_turn import unturn
from avsr.synthetic.identities import HEAD_GRID, Identity, draw_skin
from avsr.synthetic.lips import (
    NOSE_Y,
    REACH,
    STILL_Y,
    deformation,
    inside_colors,
    inside_window,
    paint_inside,
    shape_mouth,
)
from avsr.synthetic.motion import Poses, draw_blinks, draw_light, draw_poses
from avsr.synthetic.portrait import Grid, sample

Floats = NDArray[np.float32]

VIEW_HEIGHT = 310.0  # canvas px from top to bottom of a frame at average zoom
VIEW_MIDDLE = (129.0, 122.0)  # canvas position in the middle of the frame
NECK = (129.0, 195.0)  # canvas position around which the head turns
STEP = 8  # frame px between computed positions; positions between them are interpolated


@dataclass(frozen=True)
class _Stage:
    """What is the same in all frames of a clip."""

    person: Floats  # (H, W, 4) RGB and cover over ``grid``, mouth closed as in the photograph
    grid: Grid
    background: Floats  # (h, w, 3)
    zoom: float  # px of the frame per canvas px
    middle: tuple[float, float]  # canvas position in the middle of the frame


def render_frames(
    identity: Identity,
    trajectory: NDArray[np.floating],
    rng: np.random.Generator,
    size: tuple[int, int] = (320, 320),
    *,
    turns: tuple[Floats, Floats] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Render a talking head.

    Args:
        identity: The face.
        trajectory: Articulation parameters (T, P) of ``visemes.PARAMETERS`` at 25 Hz.
        rng: Varies background, zoom, head movements, blinks, light and noise.
        size: (width, height) of the frames in px.
        turns: Yaw and pitch (T,) of the head in degrees; default: drawn by ``draw_turns``.

    Yields:
        T frames (H, W, 3) uint8 RGB.
    """
    num = len(trajectory)
    stage = _set_stage(identity, rng, size)
    poses, light = draw_poses(num, rng), draw_light(num, rng)
    if turns is not None:
        poses = replace(poses, yaw=turns[0], pitch=turns[1])
    blinks = draw_blinks(num, rng)
    build = identity.build
    shape = shape_mouth(trajectory, build)
    middle = portrait.MOUTH_X
    mouth = stage.grid.window(middle - REACH - 1, NOSE_Y - 16, middle + REACH + 1, STILL_Y + 1)
    mouth = Grid(mouth.left, mouth.top, mouth.width // 2 * 2, mouth.height, mouth.scale)
    window = inside_window(mouth, build)
    colors = inside_colors(identity.skin)
    width, height = size
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    bank = rng.standard_normal((height + 64, width + 64, 3), np.float32) * identity.noise
    for start in range(0, num, CHUNK):
        part = shape.slice(start, start + CHUNK)
        map_x, map_y = deformation(part, build, mouth)
        inside = paint_inside(part, build, window)
        for k in range(len(part)):
            t = start + k
            person = stage.person.copy()
            face = sample(stage.person, stage.grid, map_x[k], map_y[k])
            area = face[mouth.slices(window)][..., :3]
            area *= inside.shadow[k][..., None]
            layers = (inside.cavity[k], inside.teeth[k], inside.tongue[k])
            paint = sum(a[..., None] * c for a, c in zip(layers, colors, strict=True))
            area += (paint - area) * inside.cover[k][..., None]
            person[stage.grid.slices(mouth)] = face
            _close_eyes(person, stage, float(blinks[t]))
            frame = _place(person, stage, poses, t)
            gain = light.gain[t] + light.slope[t, 0] * across + light.slope[t, 1] * down
            frame *= gain[..., None].astype(np.float32)
            i, j = rng.integers(0, 64, 2)
            frame += light.bias[t] + bank[i : i + height, j : j + width]
            pixels = frame.clip(0, 255).astype(np.uint8)
            yield np.ascontiguousarray(pixels[:, ::-1]) if identity.flipped else pixels


def _set_stage(identity: Identity, rng: np.random.Generator, size: tuple[int, int]) -> _Stage:
    """Draw what is the same in all frames: zoom, framing, skin and background."""
    width, height = size
    zoom = min(width, height) / VIEW_HEIGHT * float(rng.uniform(0.88, 1.12))
    scale = 1.0 if zoom <= 1.15 else 2.0
    grid = Grid(
        HEAD_GRID.left,
        HEAD_GRID.top,
        round(HEAD_GRID.width * scale / HEAD_GRID.scale),
        round(HEAD_GRID.height * scale / HEAD_GRID.scale),
        scale,
    )
    shift = rng.normal(0, 6, 2).clip(-12, 12)
    return _Stage(
        person=draw_skin(identity, grid),
        grid=grid,
        background=_draw_background(identity, rng, size),
        zoom=zoom,
        middle=(VIEW_MIDDLE[0] + float(shift[0]), VIEW_MIDDLE[1] + float(shift[1])),
    )


def _draw_background(identity: Identity, rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Draw soft clouds around the background colour of an identity, (h, w, 3) float32."""
    color = np.array(identity.background, np.float32)
    clouds = np.zeros((size[1], size[0], 3), np.float32)
    for cells, strength in ((3, 22.0), (9, 8.0)):
        knots = rng.standard_normal((cells, cells, 1), np.float32) * strength
        knots = knots + rng.standard_normal((cells, cells, 3), np.float32) * strength * 0.2
        clouds += cv2.resize(knots, size, interpolation=cv2.INTER_CUBIC)
    return (color + clouds).clip(0, 255)


def _place(person: Floats, stage: _Stage, poses: Poses, t: int) -> Floats:
    """Compose the person in the pose of frame ``t`` with the background, (h, w, 3) float32."""
    height, width = stage.background.shape[:2]
    x = np.arange(0, width + STEP, STEP, dtype=np.float32)[None]
    y = np.arange(0, height + STEP, STEP, dtype=np.float32)[:, None]
    x = (x - (width - 1) / 2) / stage.zoom + stage.middle[0] + 0 * y
    y = (y - (height - 1) / 2) / stage.zoom + stage.middle[1] + 0 * x
    cos, sin = np.cos(poses.angle[t]) / poses.scale[t], np.sin(poses.angle[t]) / poses.scale[t]
    dx, dy = x - NECK[0] - poses.x[t], y - NECK[1] - poses.y[t]
    # Shoulders follow the head by a fifth.
    follow = 1 - 0.8 * np.clip((y - 205) / 110, 0, 1)
    from_x = x + follow * (cos * dx + sin * dy + NECK[0] - x)
    from_y = y + follow * (cos * dy - sin * dx + NECK[1] - y)
    turned = unturn(
        from_x.astype(np.float32), from_y.astype(np.float32), poses.yaw[t], poses.pitch[t]
    )
    on_head = 1 - np.clip((from_y - 185) / 50, 0, 1)  # the shoulders stay
    from_x, from_y = (
        from_x + on_head * (turned[0] - from_x),
        from_y + on_head * (turned[1] - from_y),
    )
    coarse = np.dstack([from_x, from_y])
    fine = np.empty((height, width, 2), np.float32)
    cv2.warpAffine(
        coarse.astype(np.float32),
        np.array([[1 / STEP, 0, 0], [0, 1 / STEP, 0]]),
        (width, height),
        dst=fine,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    drawn = sample(person, stage.grid, fine[..., 0], fine[..., 1])
    cover = drawn[..., 3:]
    return stage.background + (drawn[..., :3] - stage.background) * cover


def _close_eyes(person: Floats, stage: _Stage, closed: float) -> None:
    """Lower the upper lids by the share ``closed`` of the height of the eye (in place)."""
    if closed < 0.02:
        return
    for upper, lower in zip(portrait.UPPER_LIDS, portrait.LOWER_LIDS, strict=True):
        top, bottom = portrait.to_canvas(upper), portrait.to_canvas(lower)
        eye = stage.grid.window(top[0, 0], top[:, 1].min() - 9, top[-1, 0], bottom[:, 1].max() + 2)
        lid = np.interp(eye.x, top[:, 0], top[:, 1]).astype(np.float32)
        floor = np.interp(eye.x, bottom[:, 0], bottom[:, 1]).astype(np.float32)
        target = lid + closed * np.maximum(floor - lid, 0)
        brow = lid - 7
        stretched = brow + (eye.y[:, None] - brow) * (lid - 0.8 - brow) / (target - brow)
        covered = (eye.y[:, None] > brow) & (eye.y[:, None] < target)
        map_y = np.where(covered, stretched, eye.y[:, None])
        map_x = np.broadcast_to(eye.x[None], map_y.shape)
        drawn = sample(stage.person, stage.grid, map_x, map_y)
        person[stage.grid.slices(eye)] = drawn
