"""Paint the textures of a 3-D head: skin, eyes, brows, beard, hair, teeth, tongue and clothes.

Everything is drawn from numbers, without a photograph. Light and shadow are not painted, except
where little light ever gets to (nostrils, folds).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.synthetic.mesh_face import (
    MIDDLE,
    HeadShape,
    bump,
    eye_corners,
    hair_mask,
    nose_tip_y,
    ramp,
)
from avsr.synthetic.mesh_grids import PATCHES, TEXTURE
from avsr.synthetic.portrait import Grid

Floats = NDArray[np.float32]
Color = tuple[float, float, float]  # R, G, B

UPPER_GAPS = (-18.5, -12.5, -7.0, 0.0, 7.0, 12.5, 18.5)  # px between the teeth, from the middle
LOWER_GAPS = (-19.5, -14.5, -9.3, -4.6, 0.0, 4.6, 9.3, 14.5, 19.5)


@dataclass(frozen=True)
class Look:
    """Colours (0-255) and patterns of a head."""

    skin: Color
    lips: Color  # factors on the skin
    gloss: float  # grey levels of the shine on the lips
    hair: Color
    bald: float  # 0 hair .. 1 none
    brows: float  # 0 .. 1 thickness and darkness
    brow_y: float  # px lower
    iris: Color
    eye_open: float  # factor
    redness: float
    patches: float  # unevenness of the skin
    pores: float
    spots: float  # freckles
    folds: float  # 0 young .. 1 old
    beard: float  # 0 shaved .. 1 full
    moustache: float
    shine: float  # grey levels of the shine on the skin
    teeth: float  # brightness
    gaps: float  # 0 .. 1 darkness between the teeth
    tongue: Color
    clothes: Color
    stripes: float  # -1 .. 1, contrast
    collar: float  # px lower


def paint_head(
    look: Look, shape: HeadShape, seed: int, scale: float, top: float = TEXTURE[1]
) -> Floats:
    """Paint the texture of a head, except its eyes (``paint_eyes``).

    Args:
        look: Colours and patterns.
        shape: Build of the head.
        seed: Of the patterns.
        scale: Pixels per canvas px.
        top: Canvas y from which on the skin is painted.

    Returns:
        RGB (H, W, 3) float32 0-255 over ``texture_grid(scale)``.
    """
    grid = texture_grid(scale)
    rng = np.random.default_rng(seed)
    canvas = np.empty((grid.height, grid.width, 3), np.float32)
    skin = grid.window(TEXTURE[0], top, PATCHES["torso"][0] - 2, TEXTURE[3])
    canvas[:] = look.skin
    canvas[grid.slices(skin)] = _paint_face(look, shape, skin, rng)
    for name, (left, top, right, bottom) in PATCHES.items():
        part = grid.window(left - 4, top - 4, right + 4, bottom + 4)
        x, y = np.meshgrid((part.x - left) / (right - left), (part.y - top) / (bottom - top))
        canvas[grid.slices(part)] = _PAINTERS[name](look, x, y, part, rng)
    return canvas.clip(0, 255)


def texture_grid(scale: float) -> Grid:
    """Return the raster of the texture at ``scale`` pixels per canvas px."""
    left, top, right, bottom = TEXTURE
    return Grid(left, top, round((right - left) * scale), round((bottom - top) * scale), scale)


def _noise(grid: Grid, rng: np.random.Generator, x: float, y: float) -> Floats:
    """Return noise of unit size that varies over ``x`` and ``y`` canvas px."""
    step = max(1.0, min(x, y))  # canvas px between the numbers that are drawn
    height, width = (int(n / grid.scale / step) + 3 for n in (grid.height, grid.width))
    noise = rng.standard_normal((height, width), np.float32)
    if x != y:
        sigma = max(0.3, x / step / 2), max(0.3, y / step / 2)
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma[0], None, sigma[1]), np.float32)
        noise /= max(float(noise.std()), 1e-6)
    if step * grid.scale == 1:
        return noise[: grid.height, : grid.width]
    matrix = np.array([[step * grid.scale, 0, 0], [0, step * grid.scale, 0]])
    size = (grid.width, grid.height)
    return np.asarray(
        cv2.warpAffine(noise, matrix, size, borderMode=cv2.BORDER_REFLECT), np.float32
    )


def _color(values: Sequence[float]) -> Floats:
    return np.array(values, np.float32)


def _lay(image: Floats, color: Floats | Color, cover: Floats) -> None:
    """Paint ``color`` over the image where ``cover`` is 1 (in place)."""
    image += (np.asarray(color, np.float32) - image) * cover[..., None].astype(np.float32)


def _paint_face(look: Look, shape: HeadShape, grid: Grid, rng: np.random.Generator) -> Floats:
    """Paint face and hair."""
    level = 1 + 0.045 * look.patches * _noise(grid, rng, 14, 14)
    level += 0.03 * look.patches * _noise(grid, rng, 4, 4)
    level += 0.03 * look.pores * _noise(grid, rng, 1, 1)
    strands = _noise(grid, rng, 1.0, 5)
    front = grid.window(MIDDLE - 68, 30, MIDDLE + 68, 212)
    part = grid.slices(front)
    skin = _color(look.skin) * level[..., None]
    skin[part] *= _face_factor(look, shape, front, rng)
    _paint_beard(skin[part], look, shape, front, strands[part], rng)
    x, y = np.meshgrid(front.x - np.float32(MIDDLE), front.y)
    a = np.abs(x)
    brow_y = 82.5 + look.brow_y - 3.4 * np.sin(np.pi * np.clip((a - 10) / 38, 0, 1))
    brow = np.exp(-(((y - brow_y) / (1.2 + 2.0 * look.brows)) ** 2)) * ramp(a, 9, 15)
    hairs = np.clip(0.75 + 0.35 * strands[part], 0, 1)
    brow *= (1 - ramp(a, 36, 46)) * hairs * (0.35 + 0.6 * look.brows)
    _lay(skin[part], 0.8 * _color(look.hair), brow)
    x, y = np.meshgrid(grid.x - np.float32(MIDDLE), grid.y)
    hair = hair_mask(x, y, shape) * (1 - 0.85 * look.bald)
    tone = 1 + 0.16 * strands + 0.12 * _noise(grid, rng, 3, 12)
    _lay(skin, _color(look.hair) * tone[..., None], hair)
    return skin


def _face_factor(look: Look, shape: HeadShape, grid: Grid, rng: np.random.Generator) -> Floats:
    """Return factors (H, W, 3) on the skin of the face: folds, nostrils, freckles, red cheeks."""
    x, y = np.meshgrid(grid.x - np.float32(MIDDLE), grid.y)
    a, tip, mouth = np.abs(x), nose_tip_y(shape), shape.mouth_y
    eye = 26 + shape.eye_apart
    level = np.ones_like(x)
    freckles = np.clip(_noise(grid, rng, 1.4, 1.4) - 1.6, 0, 1) * ramp(-np.abs(y - 118), -32, -8)
    level -= look.spots * freckles
    nostril = 5.4 * shape.nose_width, 2.9 * shape.nose_width
    level -= 0.65 * bump(a, y, (nostril[0], tip + 4.6), (nostril[1], 1.7))
    level -= 0.08 * bump(x, y, (0, tip + 8.5), (9, 2.6))
    level -= 0.12 * bump(a, y, (eye, 95), (16, 11))
    level -= 0.14 * bump(a, y, (eye - 11.5, 91), (5, 9))
    level -= (0.05 + 0.12 * look.folds) * bump(a, y, (eye - 1, 103), (10, 2.5))
    level -= (0.04 + 0.16 * look.folds) * _line(a, y, (13.5, tip + 3), (28, mouth + 2), 2.2)
    level -= 0.10 * look.folds * _line(a, y, (27, mouth + 5), (26, mouth + 18), 2.0)
    level -= (0.06 + 0.05 * look.folds) * bump(x, y, (0, mouth + 15), (15, 2.6))
    for height in (64, 70, 76):
        level -= 0.07 * look.folds * bump(x, y, (0, height), (26, 0.9))
    lips = bump(x, y, (0, mouth), (shape.mouth_half + 4, 9))
    level *= 1 + 0.07 * _noise(grid, rng, 1.0, 8) * lips
    red = bump(a, y, (34, 122), (15, 13)) + 0.8 * bump(x, y, (0, tip), (10, 8)) + 0.4 * lips
    red = np.clip(red * look.redness, 0, 1)[..., None]
    return np.asarray(level[..., None] * (1 + red * _color((0.07, -0.08, -0.07))), np.float32)


def _line(
    x: Floats, y: Floats, start: tuple[float, float], end: tuple[float, float], width: float
) -> Floats:
    """Return a soft line of height 1 from ``start`` to ``end``."""
    along = np.array(end) - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along)
    share = share.clip(0, 1)
    off_x, off_y = x - start[0] - share * along[0], y - start[1] - share * along[1]
    return np.exp(-(off_x**2 + off_y**2) / width**2) * np.sin(np.pi * (0.15 + 0.7 * share))


def _paint_beard(
    skin: Floats,
    look: Look,
    shape: HeadShape,
    grid: Grid,
    strands: Floats,
    rng: np.random.Generator,
) -> None:
    """Paint stubble, beard and moustache (in place)."""
    if look.beard <= 0 and look.moustache <= 0:
        return
    x, y = np.meshgrid(grid.x - np.float32(MIDDLE), grid.y)
    a, mouth = np.abs(x), shape.mouth_y
    wild = 2.5 * _noise(grid, rng, 3, 3)  # px by which the edge of the hair varies
    # From the jaw up to a line from the ears to the corners of the mouth.
    edge = mouth + 6 - 34 * ramp(a, 26, 58)
    beard = ramp(y - edge + wild, -6, 8) * (1 - ramp(a, 58, 67)) * look.beard
    # From the nose down to the lips and round the corners of the mouth.
    top = nose_tip_y(shape) + 8
    width = 9 + 1.1 * np.clip(y - top, 0, None).clip(None, shape.mouth_half - 6)
    low = mouth + (10 if look.beard > 0 else 2)
    upper = ramp(y - top + 0.5 * wild, -2, 4) * (1 - ramp(y + wild, low - 3, low + 5))
    upper *= 1 - ramp(a - width + wild, -3, 5)
    arch = np.sqrt(np.clip(1 - (x / shape.mouth_half) ** 2, 0, 1))
    thick = np.where(y < mouth, shape.upper_lip, shape.lower_lip) * arch
    lips = (1 - ramp(np.abs(y - mouth) - thick, -0.5, 1.5)) * (arch > 0)
    cover = np.maximum(beard, upper * look.moustache) * (1 - lips)
    dense = max(look.beard, look.moustache)
    grain = _noise(grid, rng, 1.0, 1.0) if dense < 0.5 else _noise(grid, rng, 0.8, 2.0)
    cover = cover * np.clip(0.7 + (0.45 if dense < 0.5 else 0.25) * grain, 0, 1)
    color = _color(look.hair) * (1 + 0.12 * strands[..., None])
    _lay(skin, 0.75 * color, cover.clip(0, 0.93))


def paint_eyes(
    texture: Floats, look: Look, shape: HeadShape, scale: float, closed: float
) -> Floats:
    """Paint the eyes on a copy of a texture.

    Args:
        texture: From ``paint_head``.
        look: Colours and patterns.
        shape: Build of the head.
        scale: Pixels per canvas px.
        closed: 0 eyes open .. 1 shut.
    """
    texture, grid = texture.copy(), texture_grid(scale)
    corners = eye_corners(shape)
    for outer, inner in ((0, 1), (3, 2)):
        middle = MIDDLE + corners[[outer, inner], 0].mean()
        window = grid.window(middle - 15, 80, middle + 15, 104)
        _paint_eye(texture[grid.slices(window)], look, window, corners[[outer, inner]], closed)
    return texture.clip(0, 255)


def _paint_eye(
    skin: Floats, look: Look, grid: Grid, corners: NDArray[np.float64], closed: float
) -> None:
    """Paint an eye, its lids and lashes between its outer and inner corner (2, 2), in place."""
    x, y = np.meshgrid(grid.x - np.float32(MIDDLE), grid.y)
    middle = corners[:, 0].mean()
    half = abs(corners[0, 0] - corners[1, 0]) / 2
    height = corners[0, 1]
    s = (x - middle) / half
    arch = np.clip(1 - s * s, 0, 1) ** 0.8
    lower = height + 2.6 * arch
    upper = height - 5.4 * look.eye_open * arch
    upper = upper + closed * (lower - upper)
    inside = np.clip(y - upper + 0.5, 0, 1) * np.clip(lower - y + 0.5, 0, 1) * (np.abs(s) < 1)
    radius = np.hypot(x - middle, y - height + 1.2)
    white = 1 - 0.28 * np.exp(-np.clip(y - upper, 0, None) / 1.6) - 0.12 * s * s
    eye = _color((216, 208, 202)) * white[..., None].astype(np.float32)
    _lay(eye, _color(look.iris) * 0.6, np.clip(5.6 - radius, 0, 1))
    _lay(eye, look.iris, np.clip(4.6 - radius, 0, 1) * 0.8)
    _lay(eye, (12, 10, 10), np.clip(2.6 - radius, 0, 1))
    glint = np.hypot(x - middle - 1.7, y - height + 3.0)
    _lay(eye, (250, 250, 250), np.clip(1.5 - glint, 0, 1))
    _lay(skin, eye, inside)
    within = (np.abs(s) < 1.08).astype(np.float32)
    lash = np.exp(-(((y - upper + 0.3) / 1.1) ** 2)) * within
    _lay(skin, (30, 22, 20), 0.8 * lash * np.clip(1.2 - np.abs(s) ** 4, 0, 1))
    crease = np.exp(-(((y - upper + 4.0 - 2.5 * s * s) / 1.2) ** 2)) * within * (1 - closed)
    _lay(skin, 0.62 * _color(look.skin), 0.5 * crease)
    _lay(skin, 0.6 * _color(look.skin), 0.4 * np.exp(-(((y - lower - 0.6) / 0.9) ** 2)) * within)


def _paint_teeth(look: Look, x: Floats, y: Floats, gaps: tuple[float, ...]) -> Floats:
    """Paint a row of teeth; y is 0 at the gums and 1 at the edge."""
    across = (x - 0.5) * 50
    dark = sum(np.exp(-(((across - gap) / 0.42) ** 2)) for gap in gaps)
    level = look.teeth * (1 - look.gaps * np.clip(dark, 0, 1) * (0.5 + 0.5 * y))
    teeth = _color((232, 224, 204)) * level[..., None].astype(np.float32)
    _lay(teeth, _color((172, 92, 92)), ramp(-(y - 0.32 - 0.08 * np.clip(dark, 0, 1)), -0.08, 0.08))
    return teeth


def _paint_upper_teeth(
    look: Look, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator
) -> Floats:
    return _paint_teeth(look, x, y, UPPER_GAPS)


def _paint_lower_teeth(
    look: Look, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator
) -> Floats:
    return _paint_teeth(look, x, 1 - y, LOWER_GAPS)


def _paint_tongue(look: Look, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator) -> Floats:
    level = 1 + 0.05 * _noise(grid, rng, 1.2, 1.2) - 0.16 * np.exp(-(((x - 0.5) / 0.06) ** 2))
    return _color(look.tongue) * level[..., None].astype(np.float32)


def _paint_throat(look: Look, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator) -> Floats:
    return np.broadcast_to(_color((130, 58, 54)), (*x.shape, 3))


def _paint_torso(look: Look, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator) -> Floats:
    level = 1 + 0.04 * look.patches * _noise(grid, rng, 10, 10) + 0.02 * _noise(grid, rng, 1, 1)
    torso = _color(look.skin) * level[..., None].astype(np.float32)
    collar = 0.375 + look.collar / 230 - 0.05 * np.clip(1 - ((x - 0.5) / 0.2) ** 2, -1, 1) * -1
    cloth = 1 + 0.05 * _noise(grid, rng, 1, 3) + 0.25 * look.stripes * np.sign(np.sin(x * 60))
    _lay(torso, _color(look.clothes) * cloth[..., None], ramp(y - collar, -0.006, 0.006))
    return torso


def _paint_hair(look: Look, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator) -> Floats:
    level = 1 + 0.16 * _noise(grid, rng, 1, 8) + 0.1 * _noise(grid, rng, 3, 14)
    return _color(look.hair) * level[..., None].astype(np.float32)


_PAINTERS = {
    "upper teeth": _paint_upper_teeth,
    "lower teeth": _paint_lower_teeth,
    "tongue": _paint_tongue,
    "throat": _paint_throat,
    "torso": _paint_torso,
    "hair": _paint_hair,
}
