"""Talking heads painted from curves: a renderer that no model of this project is trained on.

It shares neither the photograph, the mouth nor the articulation of the training corpus, so results
on its heads say how a model fares on faces that it has not met. Mouth, eyes and brows are painted
on the face (``drawn_face``) in every frame, and its relief turns with the head.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.rates import FPS
from avsr.synthetic.drawn_articulation import animate_mouth, phone_visemes
from avsr.synthetic.drawn_face import (
    CANVAS,
    SCALE,
    DrawnIdentity,
    Painting,
    draw_drawn_identity,
    paint_head,
)
from avsr.synthetic.drawn_mouth import FINE, HEIGHT, LEFT, TOP, WIDTH, paint_mouth
from avsr.synthetic.motion import draw_blinks, draw_light, smooth_noise
from avsr.synthetic.speech import Phone

__all__ = ["DrawnIdentity", "draw_drawn_identity", "render_drawn_frames"]

Floats = NDArray[Any]  # float32

VIEW = 305.0  # units from top to bottom of a frame at average zoom
VIEW_Y = 28.0  # y in the middle of the frame, units
STEP = 8  # px of the frame between computed positions
PIVOT = 22.0  # depth of the axis around which the head turns, units
EYE = (10, -14, 36, 24)  # left, top, width, height of the window of the eye on the right, units
BROW = (10, -34, 36, 24)
STILL_Y = 128.0  # below, nothing moves with the jaw
GAZE = 1.6  # units by which the eyes look around


@dataclass(frozen=True)
class _Motion:
    """How a head moves, every field (T,)."""

    yaw: Floats  # radians
    pitch: Floats
    roll: Floats
    x: Floats  # units
    y: Floats
    zoom: Floats
    brows: Floats  # units by which the brows are raised
    lids: Floats  # share of the eyes that is closed
    gaze: Floats  # (T, 2) units


def _draw_motion(phones: Sequence[Phone], num: int, rng: np.random.Generator) -> _Motion:
    """Draw a motion that belongs to what is said: nods with long vowels, brows at its start."""
    slow, quick = smooth_noise(num, 34, 6, rng), smooth_noise(num, 13, 6, rng)
    drift = 0.8 * slow + 0.25 * quick
    fixed = rng.standard_normal(3)
    times = (np.arange(num) + 0.5) / FPS
    nods, brows = np.zeros(num), np.zeros(num)
    for before, phone in zip([None, *phones], phones, strict=False):
        middle, length = (phone.start + phone.end) / 2, phone.end - phone.start
        vowel = any(v in ("A", "e", "i", "O", "u") for v in phone_visemes(phone.symbol))
        if vowel and length > 0.1 and rng.random() < 0.5:
            nods += rng.uniform(0.5, 1.6) * _bell(times, middle, 0.20)
        if phone.symbol and (before is None or not before.symbol):
            brows += rng.uniform(0, 3.0) * _bell(times, middle + 0.15, 0.35)
    look = np.repeat(rng.standard_normal((num // 18 + 2, 2)), 18, axis=0)[:num] * GAZE / 2
    return _Motion(
        yaw=np.radians(2.6 * drift[:, 0] + 6.5 * fixed[0]).astype(np.float32),
        pitch=np.radians(1.8 * drift[:, 1] + 3.0 * fixed[1] + 1.8 * nods).astype(np.float32),
        roll=np.radians(1.4 * drift[:, 2] + 2.0 * fixed[2]).astype(np.float32),
        x=2.5 * drift[:, 3],
        y=2.0 * drift[:, 4],
        zoom=1 + 0.012 * drift[:, 5],
        brows=(brows + 0.5 * quick[:, 5]).astype(np.float32),
        lids=draw_blinks(num, rng),
        gaze=look.clip(-GAZE, GAZE).astype(np.float32),
    )


def _bell(times: NDArray[np.float64], middle: float, reach: float) -> NDArray[np.float64]:
    """Return a raised cosine of height 1 within ``reach`` s around ``middle``."""
    return 0.5 + 0.5 * np.cos(np.pi * ((times - middle) / reach).clip(-1, 1))


def render_drawn_frames(
    identity: DrawnIdentity,
    phones: Sequence[Phone],
    num_frames: int,
    rng: np.random.Generator,
    language: str | None = None,
    size: tuple[int, int] = (320, 320),
) -> Iterator[NDArray[np.uint8]]:
    """Render a drawn talking head.

    Args:
        identity: The head.
        phones: Phones with times, which its mouth follows.
        num_frames: Number of frames T, at 25 Hz.
        rng: Varies articulation, motion, framing, light and noise.
        language: Language code of the phones.
        size: (width, height) of the frames in px.

    Yields:
        T frames (H, W, 3) uint8 RGB.
    """
    width, height = size
    mouth = animate_mouth(phones, num_frames, rng, language)
    motion = _draw_motion(phones, num_frames, rng)
    light = draw_light(num_frames, rng)
    painting = paint_head(identity)
    zoom = min(size) / VIEW * float(rng.uniform(0.88, 1.12))
    shift = rng.normal(0, 7, 2).clip(-14, 14)
    background = _paint_background(identity, rng, size)
    bank = rng.standard_normal((height + 64, width + 64, 3), np.float32) * identity.noise
    for t in range(num_frames):
        shape = {channel: float(curve[t]) for channel, curve in mouth.items()}
        painted = _animate_face(painting, identity, shape, motion, t)
        person = _turn(painted, painting.depth, motion, t, zoom, shift, size)
        person *= np.float32(light.gain[t])
        frame = person[..., :3] + background * (1 - person[..., 3:] / (255 * light.gain[t]))
        i, j = rng.integers(0, 64, 2)
        frame += light.bias[t] + bank[i : i + height, j : j + width]
        yield frame.clip(0, 255).astype(np.uint8)


def _paint_background(
    identity: DrawnIdentity, rng: np.random.Generator, size: tuple[int, int]
) -> Floats:
    """Paint a wall with a gradient and a few blurred upright shapes (H, W, 3)."""
    width, height = size
    top, bottom = (np.array(color, np.float32) for color in identity.background)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = np.broadcast_to(top + (bottom - top) * down, (height, width, 3)).copy()
    for _ in range(int(rng.integers(0, 4))):
        left, wide = rng.uniform(0, width), rng.uniform(0.08, 0.35) * width
        high = rng.uniform(0, 0.5) * height
        color = wall[height // 2, 0] * rng.uniform(0.6, 1.3)
        corners = ((int(left), int(high)), (int(left + wide), height))
        cv2.rectangle(wall, *corners, color.tolist(), -1)
    return cv2.GaussianBlur(wall, (0, 0), float(rng.uniform(2, 9)))


def _animate_face(
    painting: Painting, identity: DrawnIdentity, shape: dict[str, float], motion: _Motion, t: int
) -> NDArray[np.uint8]:
    """Paint jaw, mouth, eyes and brows of frame ``t``, (H, W, 4)."""
    person = painting.person.copy()
    _lower_jaw(person, identity, shape["jaw"])
    with _magnify(person, (LEFT, TOP, WIDTH, HEIGHT)) as image:
        image[:] = paint_mouth(image, shape, identity.mouth)
    for side in (-1, 1):
        with _magnify(person, EYE, side) as image:
            _paint_eye(image, identity, side, float(motion.lids[t]), motion.gaze[t])
        with _magnify(person, BROW, side) as image:
            _paint_brow(image, identity, side, float(motion.brows[t]))
    return person


@contextmanager
def _magnify(
    person: NDArray[np.uint8], window: tuple[float, float, float, float], side: int = 1
) -> Iterator[Floats]:
    """Yield a part of the painting, or its counterpart at the left, at ``FINE`` px per unit.

    Changes are written back at the end.
    """
    left, top, width, height = window
    left = left if side > 0 else -left - width
    i, j = round((top - CANVAS[1]) * SCALE), round((left - CANVAS[0]) * SCALE)
    area = person[i : i + round(height * SCALE), j : j + round(width * SCALE), :3]
    fine = cv2.resize(area, None, fx=FINE / SCALE, fy=FINE / SCALE).astype(np.float32)
    yield fine
    area[:] = cv2.resize(fine, area.shape[1::-1], interpolation=cv2.INTER_AREA).clip(0, 255)


def _lower_jaw(person: NDArray[np.uint8], identity: DrawnIdentity, drop: float) -> None:
    """Move the chin down by ``drop`` units, and the skin between it and the mouth (in place)."""
    top, half = 44.0, 80.0
    y = np.arange(top, STILL_Y + 1, 1 / SCALE, dtype=np.float32)
    chin = identity.chin
    moved = y + drop * np.interp(y, (56, 76, chin + 2, STILL_Y), (0, 0.85, 1.0, 0))
    source = np.interp(y, moved, y).astype(np.float32)
    x = np.arange(-half, half, 1 / SCALE, dtype=np.float32)
    share = np.clip(1.25 - np.abs(x) / 75, 0, 1)[None]
    map_y = (share * (source - y)[:, None] + y[:, None] - top) * SCALE
    map_x = np.broadcast_to(np.arange(len(x), dtype=np.float32)[None], map_y.shape)
    i, j = round((top - CANVAS[1]) * SCALE), round((-half - CANVAS[0]) * SCALE)
    part = person[i : i + len(y), j : j + len(x)]
    part[:] = cv2.remap(part, map_x.astype(np.float32), map_y, cv2.INTER_LINEAR)


@cache
def _pixels(window: tuple[float, float, float, float]) -> tuple[Floats, Floats]:
    """Return x (1, W) and y (H, 1) of the pixels of a magnified window, units."""
    left, top, width, height = window
    x = left + (np.arange(width * FINE, dtype=np.float32) + 0.5) / FINE
    y = top + (np.arange(height * FINE, dtype=np.float32) + 0.5) / FINE
    return x[None], y[:, None]


def _lay(image: Floats, cover: Floats, color: Floats | float) -> None:
    """Paint over ``image`` (H, W, 3) in place."""
    image += cover.clip(0, 1)[..., None] * (color - image)


def _paint_eye(
    image: Floats, identity: DrawnIdentity, side: int, closed: float, gaze: Floats
) -> None:
    """Paint an eye (in place): white, iris, pupil and lids."""
    x, y = _pixels(EYE)
    x = x if side > 0 else -x[:, ::-1]
    size = identity.eye
    u = side * (x - side * 27.5) / (11.2 * size)  # -1 at the nose, 1 outside
    arch = np.sqrt(np.clip(1 - np.abs(u) ** 2.2, 0, 1))
    tilt = -0.9 * u
    lower = tilt + 3.3 * size * arch
    upper = lower - (3.3 + 5.4) * size * arch * (1 - 0.96 * closed)
    cover = ((y - upper) * 2 + 0.5).clip(0, 1) * ((lower - y) * 2 + 0.5).clip(0, 1)
    cover = cover * (np.abs(u) < 1)
    glow = 0.62 + 0.38 * identity.skin[0] / 238
    white = (
        np.array([226, 220, 214], np.float32)
        * glow
        * (0.80 + 0.06 * (y - upper)).clip(0.5, 1)[..., None]
    )
    away = np.hypot(x - side * 27.0 - gaze[0], y + 1.0 - 0.5 * gaze[1])
    iris = np.array(identity.eye_color, np.float32) * (0.7 + 0.09 * away)[..., None]
    for part, color in (
        (((5.4 - away) * 2 + 0.5).clip(0, 1), iris),
        (((2.3 - away) * 2 + 0.5).clip(0, 1), 14.0),
        (np.exp(-(((x - side * 27.0 - 1.6) / 0.9) ** 2) - ((y + 3.0) / 0.9) ** 2), 250.0),
    ):
        _lay(white, part, color)
    _lay(image, cover, white)
    rim = (np.abs(u) < 1.02) * np.array(0.85, np.float32)
    _lay(image, rim * np.exp(-(((y - upper) / 0.8) ** 2)), 32.0)
    _lay(image, 0.35 * rim * np.exp(-(((y - lower) / 0.6) ** 2)), 70.0)


def _paint_brow(image: Floats, identity: DrawnIdentity, side: int, raised: float) -> None:
    """Paint a brow (in place), ``raised`` units higher than at rest."""
    x, y = _pixels(BROW)
    x = x if side > 0 else -x[:, ::-1]
    u = (side * x - 12) / 31  # 0 at the nose .. 1
    line = -15.5 - 6.0 * np.sin(np.pi * (0.12 + 0.75 * u.clip(0, 1))) - raised
    thick = identity.brow * (1 - 0.65 * u.clip(0, 1))
    cover = ((thick / 2 - np.abs(y - line)) / 1.2 + 0.5).clip(0, 1)
    cover = cover * (u * 8 + 0.5).clip(0, 1) * ((1 - u) * 6).clip(0, 1)
    cover *= 0.72 + 0.2 * np.sin(4.1 * x + 1.3 * y)
    _lay(image, cover, np.array(identity.hair_color, np.float32) * 0.75)


def _turn(
    person: NDArray[np.uint8],
    depth: Floats,
    motion: _Motion,
    t: int,
    zoom: float,
    shift: NDArray[np.float64],
    size: tuple[int, int],
) -> Floats:
    """Put the painting into the pose of frame ``t``, (h, w, 4) float32."""
    width, height = size
    scale = zoom * float(motion.zoom[t])
    x = np.arange(0, width + STEP, STEP, dtype=np.float32)[None]
    y = np.arange(0, height + STEP, STEP, dtype=np.float32)[:, None]
    x, y = (
        (x - width / 2) / scale + shift[0] + 0 * y,
        (y - height / 2) / scale + VIEW_Y + shift[1] + 0 * x,
    )
    follow = 1 - 0.85 * np.clip((y - 95) / 45, 0, 1)  # the body turns little
    roll, yaw, pitch = (angle[t] * follow for angle in (motion.roll, motion.yaw, motion.pitch))
    x, y = x - motion.x[t] * follow, y - motion.y[t] * follow - 100
    x, y = x * np.cos(roll) + y * np.sin(roll), y * np.cos(roll) - x * np.sin(roll) + 100
    from_x, from_y = x, y
    for _ in range(3):
        z = cv2.remap(
            depth, *_to_pixels(from_x, from_y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        z = z - PIVOT
        from_x = (x - z * np.sin(yaw)) / np.cos(yaw)
        from_y = (y - z * np.sin(pitch)) / np.cos(pitch)
    fine = [
        cv2.warpAffine(
            coarse,
            np.array([[1 / STEP, 0, 0], [0, 1 / STEP, 0]]),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for coarse in _to_pixels(from_x, from_y)
    ]
    if scale < 0.75 * SCALE:  # two px of the painting to one of the frame
        person = np.asarray(cv2.blur(person, (2, 2)), np.uint8)
    turned = cv2.remap(person, fine[0], fine[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return turned.astype(np.float32)


def _to_pixels(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Convert units to px of the painting."""
    left, top, _, _ = CANVAS
    return (
        ((x - left) * SCALE - 0.5).astype(np.float32),
        ((y - top) * SCALE - 0.5).astype(np.float32),
    )
