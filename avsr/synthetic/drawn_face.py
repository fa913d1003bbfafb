"""Identities of drawn heads, and the painting of what does not move: skin, hair, neck, clothes.

A face is a relief z(x, y), a sum of smooth bumps that is lit from one side. Positions are units of
the head: x to the right of the picture, y down, 0 between the eyes, whose outer corners are 76
apart.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from avsr.errors import CorpusError
from avsr.synthetic.drawn_mouth import MOUTH_Y, Color, MouthPaint

Floats = NDArray[Any]  # float32

SPLIT_SEEDS = {"train": 11, "valid": 12, "test": 13}
SCALE = 2  # px of the painting per unit
CANVAS = (-170, -160, 340, 350)  # left, top, width, height of the painting, units
HAIR_STYLES = ("short", "long", "bald", "cropped")
BEARDS = ("none", "none", "none", "stubble", "moustache", "full")
PALE, DARK = np.array([238.0, 202.0, 180.0]), np.array([98.0, 66.0, 50.0])  # skin
HAIR_COLORS = ((36, 28, 26), (70, 48, 34), (120, 82, 48), (186, 150, 98), (150, 146, 142))


@dataclass(frozen=True, kw_only=True)
class DrawnIdentity:
    """A drawn head; ``draw_drawn_identity`` draws one."""

    split: str
    seed: int  # of its textures
    width: float  # factors on the size of parts
    jaw: float
    chin: float  # y of the chin
    nose: float
    nose_width: float
    eye: float
    eye_color: Color  # colours are R, G, B, 0-255
    skin: Color
    hair_color: Color
    hair: str  # one of HAIR_STYLES
    beard: str  # one of BEARDS
    brow: float  # thickness, units
    clothes: Color
    background: tuple[Color, Color]  # at the top and at the bottom
    light: tuple[float, float, float]  # direction to the light: x, y, z
    contrast: float  # 0 .. 1, share of the light that comes from there
    noise: float  # grey levels
    mouth: MouthPaint


def draw_drawn_identity(split: str, rng: np.random.Generator) -> DrawnIdentity:
    """Draw a head at random.

    Args:
        split: train, valid or test: of the clip; the heads of two splits never share a texture.
        rng: Used for one draw, from which everything else follows.

    Raises:
        CorpusError: For an unknown split.
    """
    if split not in SPLIT_SEEDS:
        raise CorpusError(f"unknown split '{split}': use one of {', '.join(SPLIT_SEEDS)}")
    seed = int(rng.integers(2**31))
    rng = np.random.default_rng((SPLIT_SEEDS[split], seed))

    def vary(middle: float, spread: float) -> float:
        return middle + spread * float(rng.standard_normal(()).clip(-2, 2))

    def color(values: NDArray[np.float64] | tuple[float, ...]) -> Color:
        red, green, blue = (float(v) for v in np.clip(values, 0, 255))
        return red, green, blue

    tone = float(rng.uniform(0, 1) ** 1.4)
    skin = (PALE + (DARK - PALE) * tone) * (1 + 0.03 * rng.standard_normal(3))
    hair = np.array(HAIR_COLORS[int(rng.integers(2 if tone > 0.6 else len(HAIR_COLORS)))])
    has_beard = rng.random() < 0.5
    tint = rng.uniform(0.52, 0.74)
    wall = rng.uniform(50, 220, 3) * 0.4 + rng.uniform(50, 220) * 0.6
    return DrawnIdentity(
        split=split,
        seed=seed,
        width=vary(1.0, 0.035),
        jaw=vary(1.0, 0.06),
        chin=vary(99.0, 3.0),
        nose=vary(1.0, 0.15),
        nose_width=vary(1.0, 0.12),
        eye=vary(1.0, 0.06),
        eye_color=color(
            rng.uniform(0.6, 1.4)
            * np.array([[92, 62, 40], [84, 104, 118]])[int(rng.random() < 0.35)]
        ),
        skin=color(skin),
        hair_color=color(hair * rng.uniform(0.8, 1.2)),
        hair=HAIR_STYLES[int(rng.integers(4))]
        if has_beard
        else ("short", "long")[int(rng.integers(2))],
        beard=BEARDS[int(rng.integers(len(BEARDS)))] if has_beard else "none",
        brow=vary(3.6, 0.8),
        clothes=color(rng.uniform(20, 230, 3)),
        background=(color(wall), color(wall * rng.uniform(0.5, 0.9))),
        light=(float(rng.uniform(-0.65, 0.65)), float(rng.uniform(-0.8, -0.15)), 0.8),
        contrast=float(rng.uniform(0.4, 0.7)),
        noise=float(rng.uniform(0.5, 3.0)),
        mouth=MouthPaint(
            half=vary(23.5, 1.2),
            upper=vary(6.2, 0.9),
            lower=vary(8.6, 1.0),
            smile=vary(0.6, 0.8),
            lip=color(skin * np.array([0.88, tint, tint * 1.02])),
            teeth=color(np.array([236.0, 230.0, 214.0]) * rng.uniform(0.86, 1.03)),
            gaps=float(rng.uniform(0.12, 0.4)),
            wrinkles=seed,
        ),
    )


@dataclass(frozen=True)
class Painting:
    """What does not move of a head."""

    person: NDArray[np.uint8]  # (H, W, 4) R, G, B (times the cover) and cover
    depth: Floats  # (H, W) units towards the camera, smooth


def _raster() -> tuple[Floats, Floats]:
    """Return x (1, W) and y (H, 1) of the pixels of the painting, units."""
    left, top, width, height = CANVAS
    x = left + (np.arange(width * SCALE, dtype=np.float32) + 0.5) / SCALE
    y = top + (np.arange(height * SCALE, dtype=np.float32) + 0.5) / SCALE
    return x[None], y[:, None]


def _bump(x: Floats, y: Floats, at: tuple[float, float], size: tuple[float, float]) -> Floats:
    return np.exp(-(((x - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2)


def _pair(x: Floats, y: Floats, at: tuple[float, float], size: tuple[float, float]) -> Floats:
    """Return the same bump on both sides of the face."""
    return _bump(np.abs(x), y, at, size)


def _half_width(identity: DrawnIdentity, y: Floats) -> Floats:
    """Return half the width of the head at y, 0 above and below it."""
    chin, jaw = identity.chin, identity.jaw
    rows = (-107, -106, -103, -95, -80, -50, -15, 15, 40, 62, 80, chin - 8, chin - 2, chin)
    jaws = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0.5 + 0.5 * jaw, jaw, jaw, jaw, jaw, 1])
    widths = np.array([0, 13, 26, 41, 55, 66, 69.5, 68.5, 64, 56, 44, 28, 14, 0]) * jaws
    curve = PchipInterpolator(rows, widths * identity.width, extrapolate=False)
    return np.nan_to_num(curve(y)).astype(np.float32)


def _relief(identity: DrawnIdentity, x: Floats, y: Floats) -> Floats:
    """Return the height of the face (H, W), units; 0 outside of it."""
    width = np.maximum(_half_width(identity, y), 0.1)
    across = np.clip(1 - np.abs(x / width) ** 2.2, 0, 1)
    z = 60 * np.sqrt(across) * np.clip(1 - ((y - 8) / 128) ** 2, 0.05, 1) ** 0.5
    nose, wide = identity.nose, identity.nose_width
    ridge = np.clip((y + 14) / 46, 0, 1) ** 1.3 * np.clip((44 - y) / 8, 0, 1)
    z += 15 * nose * ridge * np.exp(-((x / (5.0 + 3.2 * ridge * wide)) ** 2))
    z += 4.0 * nose * _pair(x, y, (8.5 * wide, 38), (4.2, 4.5))
    z += 3.0 * _pair(x, y, (26, -17), (16, 6)) - 6.5 * _pair(x, y, (26, -3), (13, 9))
    z += 3.6 * _pair(x, y, (27, 0), (9, 6.5)) + 4.5 * _pair(x, y, (40, 28), (15, 15))
    z += 4.0 * _bump(x, y, (0, MOUTH_Y - 2), (22, 15)) - 0.9 * _bump(x, y, (0, 49), (2.6, 5))
    z += 4.5 * _bump(x, y, (0, identity.chin - 10), (13, 8)) - 2.4 * _bump(x, y, (0, 76), (15, 4))
    z -= (
        1.6
        * np.exp(-(((np.abs(x) - 17 - 0.5 * (y - 38)) / 2.6) ** 2))
        * np.exp(-(((y - 48) / 12) ** 2))
    )
    return np.where(across > 0, z, 0).astype(np.float32)


def _light_up(identity: DrawnIdentity, z: Floats) -> tuple[Floats, Floats]:
    """Return how bright a relief is lit (H, W), about 1, and how much it shines."""
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(z, (0, 0), 0.9 * SCALE), 1 / SCALE)
    steep = np.sqrt(slope_x**2 + slope_y**2)
    limit = np.minimum(1, 1.8 / np.maximum(steep, 1e-3))
    normal = np.dstack([-slope_x * limit, -slope_y * limit, np.ones_like(z)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    light = np.array(identity.light) / np.linalg.norm(identity.light)
    half = light + np.array([0, 0, 1])  # between the light and the viewer
    half /= np.linalg.norm(half)
    lit = np.clip(normal @ light, 0, 1)
    shade = (1 - identity.contrast) * (0.7 + 0.3 * normal[..., 2]) + 1.3 * identity.contrast * lit
    return shade.astype(np.float32), (np.clip(normal @ half, 0, 1) ** 24).astype(np.float32)


class _Layers:
    """Layers that are painted over each other."""

    def __init__(self) -> None:
        _, _, width, height = CANVAS
        self.color = np.zeros((height * SCALE, width * SCALE, 3), np.float32)
        self.cover = np.zeros((height * SCALE, width * SCALE, 1), np.float32)

    def paint(self, cover: Floats, color: Floats) -> None:
        cover = cover.clip(0, 1)[..., None]
        self.color += cover * (color - self.color)
        self.cover += cover * (1 - self.cover)


def _soft(distance: Floats, width: float = 1.0) -> Floats:
    """Return 0 outside of an edge to 1 inside, over ``width`` units."""
    return (distance / width + 0.5).clip(0, 1)


def _noise(rng: np.random.Generator, across: float, down: float) -> Floats:
    """Return noise over the painting, smooth over ``across`` and ``down`` units, of unit size."""
    _, _, width, height = CANVAS
    white = rng.standard_normal((height * SCALE, width * SCALE), np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), sigmaX=across * SCALE, sigmaY=down * SCALE)
    return smooth / smooth.std()


@lru_cache(maxsize=4)
def paint_head(identity: DrawnIdentity) -> Painting:
    """Paint a head with the mouth left out, closed eyes and no brows."""
    rng = np.random.default_rng(identity.seed)
    x, y = _raster()
    width = _half_width(identity, y)
    z = _relief(identity, x, y)
    strands = _noise(rng, 0.5, 7.0)
    tone = np.array(identity.hair_color, np.float32)
    hair = tone * (1 + 0.22 * strands - 0.25 * np.clip((y + 60) / 120, 0, 1))[..., None]
    layers = _Layers()
    outline = 1 - (x / (77 * identity.width)) ** 2 - ((y + 30) / 86) ** 2
    if identity.hair == "long":
        locks = 90 + 6 * np.sin(y / 17) - np.clip((y - 60) / 10, 0, 9) ** 1.5
        fall = np.clip((y + 60) / 70, 0, 1)  # from the crown outwards to the locks
        locks = 70 + (locks - 70) * fall**2 * (3 - 2 * fall)
        back = np.maximum(_soft(outline * 40), _soft(locks - np.abs(x), 3) * (y > -30))
        layers.paint(back * _soft(128 - y, 30), hair * 0.62)
    _paint_body(layers, identity, x, y, rng)
    skin = np.array(identity.skin, np.float32)
    _paint_ears(layers, identity, x, y, skin)
    face = _soft(width - np.abs(x)) * (width > 0)
    layers.paint(face, _paint_skin(identity, x, y, z, rng))
    if identity.hair != "bald":
        front = _front_hair(identity, x, y, outline, strands)
        layers.paint(front, hair * (0.8 + 0.5 * np.clip(outline, 0, 1))[..., None])
    body = 25 * np.clip((y - 80) / 40, 0, 1) * np.exp(-((x / 90) ** 2))
    depth = cv2.GaussianBlur(np.maximum(z, body).astype(np.float32), (0, 0), 4.0 * SCALE)
    person = np.dstack([layers.color * layers.cover, layers.cover * 255])
    return Painting(person.clip(0, 255).astype(np.uint8), depth)


def _paint_body(
    layers: _Layers, identity: DrawnIdentity, x: Floats, y: Floats, rng: np.random.Generator
) -> None:
    """Paint neck and clothes."""
    half = 38 * identity.width + 46 * np.clip((y - 90) / 60, 0, 1) ** 3
    neck = _soft(half - np.abs(x)) * _soft(y - 40, 8)
    lit = 0.9 + 0.25 * identity.light[0] * x / 40 - 0.35 * (np.abs(x) / half) ** 3
    lit = lit * (1 - 0.5 * np.clip(1 - (y - identity.chin) / 22, 0, 1) * _soft(52 - np.abs(x), 30))
    layers.paint(neck, np.array(identity.skin, np.float32) * lit.clip(0.2, 1.2)[..., None])
    shoulder = 128 + 34 * (np.abs(x) / 120) ** 2.4
    collar = 1 - (x / 44) ** 2 - ((y - 118) / 28) ** 2
    cloth = _soft(y - shoulder, 1.5) * _soft(-collar * 20, 2)
    folds = 1 + 0.05 * _noise(rng, 6.0, 14.0) - 0.2 * np.clip((y - 150) / 60, 0, 1)
    layers.paint(cloth, np.array(identity.clothes, np.float32) * folds[..., None])


def _paint_ears(
    layers: _Layers, identity: DrawnIdentity, x: Floats, y: Floats, skin: Floats
) -> None:
    across = (np.abs(x) - 69 * identity.width) / 9
    round_ = 1 - across**2 - ((y - 8) / 17) ** 2
    lit = (
        0.78
        + 0.3 * identity.light[0] * np.sign(x)
        + 0.2 * round_
        - 0.3 * np.exp(-(((across - 0.2) / 0.3) ** 2))
    )
    layers.paint(_soft(round_ * 8, 1.5), skin * lit.clip(0.3, 1.1)[..., None])


def _paint_skin(
    identity: DrawnIdentity, x: Floats, y: Floats, z: Floats, rng: np.random.Generator
) -> Floats:
    """Return the colour of the lit face (H, W, 3)."""
    shade, shine = _light_up(identity, z)
    wide = identity.nose_width
    shade *= 1 - 0.30 * _pair(x, y, (24, -7), (12, 5)) - 0.22 * _pair(x, y, (17, 0), (4, 6))
    shade *= 1 - 0.35 * _bump(x, y, (0, 45.5), (11, 2.6))  # under the nose
    shade *= 1 - 0.75 * _pair(x, y, (5.2 * wide, 41.5), (3.0, 1.7))  # nostrils
    shade *= 1 - 0.20 * _pair(x, y, (10.5 * wide, 38), (1.3, 4))
    crease = -8.2 * identity.eye * np.sqrt(np.clip(1 - ((np.abs(x) - 27) / 14) ** 2, 0, 1))
    shade *= 1 - 0.28 * np.exp(-(((y - crease) / 0.9) ** 2)) * (np.abs(np.abs(x) - 27) < 13)
    shade *= 1 + 0.025 * _noise(rng, 7.0, 7.0) + 0.014 * _noise(rng, 0.5, 0.5)
    color = np.array(identity.skin, np.float32) * shade[..., None]
    flush = 0.10 * _pair(x, y, (40, 30), (16, 14)) + 0.08 * _bump(x, y, (0, 34), (10, 8))
    color *= 1 - flush[..., None] * np.array([0.0, 0.8, 0.7], np.float32)
    color += 26 * shine[..., None]
    beard = _beard(identity, x, y, rng)[..., None]
    dark = np.array(identity.hair_color, np.float32) * (0.5 + 0.5 * shade[..., None])
    return color + beard * (dark - color)


def _beard(identity: DrawnIdentity, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Return how much of the skin is covered by a beard (H, W)."""
    if identity.beard == "none":
        return np.zeros((y.size, x.size), np.float32)
    grain = 0.75 + 0.3 * _noise(rng, 0.45, 1.4)
    lip = MOUTH_Y - 4 - identity.mouth.upper
    droop = 0.10 * np.clip(np.abs(x) - 12, 0, 20) ** 1.6
    moustache = (
        _soft(lip + 1 + droop - y, 3) * _soft(y - 46 - 0.6 * droop, 4) * _soft(27 - np.abs(x), 6)
    )
    edge = 30 + 26 * np.exp(-((x / 34) ** 4))
    cheeks = _soft(y - edge, 12) * _soft(np.abs(x) - 16 - 0.9 * np.clip(64 - y, 0, 40) ** 0.8, 9)
    full = np.maximum(cheeks, _soft(y - 76 - 0.004 * x * x, 5))
    cover = moustache if identity.beard == "moustache" else np.maximum(moustache, full)
    strength: float = 0.28 if identity.beard == "stubble" else 0.86
    return (strength * cover * grain.clip(0.2, 1.1)).astype(np.float32)


def _front_hair(
    identity: DrawnIdentity, x: Floats, y: Floats, outline: Floats, strands: Floats
) -> Floats:
    """Return the hair in front of the forehead and beside the face (H, W)."""
    high = {"short": -60.0, "long": -56.0, "cropped": -68.0}[identity.hair]
    line = high + 0.0085 * np.abs(x) ** 2 + 1.6 * strands
    cap = _soft(line - y, 3.0)
    side = _soft(np.abs(x) - 60 * identity.width - 0.12 * np.abs(y), 4) * _soft(6 - y, 14)
    if identity.hair == "long":
        side = np.maximum(
            side, _soft(np.abs(x) - 62 * identity.width + 0.05 * y, 4) * _soft(70 - y, 30)
        )
    grown = 0.25 if identity.hair == "cropped" else 0.0
    return np.maximum(cap, side) * _soft((outline - grown) * 36 + strands, 2.5)
