"""Paint the mouth of a drawn head: lips between splines, teeth, tongue and the dark behind them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Floats = NDArray[Any]  # float32
Color = tuple[float, float, float]  # R, G, B, 0-255

MOUTH_Y = 60  # line of the closed lips, units of the head below the eyes
LEFT, TOP, WIDTH, HEIGHT = -36, 43, 72, 48  # window that is painted, units
FINE = 4  # px per unit while it is painted
CAVITY: Color = (44.0, 16.0, 18.0)
TONGUE: Color = (176.0, 88.0, 92.0)
TOOTH = 5.4  # units, width of an upper incisor
INSIDE = (  # rows and columns of the window in which an open mouth lies
    slice((MOUTH_Y - 8 - TOP) * FINE, (MOUTH_Y + 21 - TOP) * FINE),
    slice((-28 - LEFT) * FINE, (28 - LEFT) * FINE),
)
SHIFT = 4  # bits of a fraction of a pixel in polygons of OpenCV

_ACROSS = np.linspace(-1, 1, 65)  # from corner to corner
# Thickness of the lips from corner to corner: the upper one with its bow.
_BOW = CubicSpline((-1, -0.62, -0.24, 0, 0.24, 0.62, 1), (0, 0.64, 1, 0.80, 1, 0.64, 0))(_ACROSS)
_FULL = CubicSpline((-1, -0.6, 0, 0.6, 1), (0, 0.76, 1, 0.76, 0))(_ACROSS)


@dataclass(frozen=True, kw_only=True)
class MouthPaint:
    """Size and colours of a mouth."""

    half: float = 23.0  # units from the middle to a corner, at rest
    upper: float = 6.0  # thickness of the lips
    lower: float = 8.5
    smile: float = 0.0  # units by which the corners are higher than the middle
    lip: Color = (178.0, 98.0, 92.0)
    teeth: Color = (232.0, 226.0, 210.0)
    gaps: float = 0.3  # darkness of the lines between teeth
    wrinkles: int = 0  # seed of the texture of the lips


@dataclass(frozen=True)
class _Lines:
    """Lines of the lips, each (65, 2) in units around the middle of the mouth."""

    outer_top: NDArray[np.float64]
    inner_top: NDArray[np.float64]
    inner_bottom: NDArray[np.float64]
    outer_bottom: NDArray[np.float64]


def _draw_lines(shape: dict[str, float], paint: MouthPaint) -> _Lines:
    u = _ACROSS
    half, pucker, tuck = paint.half * shape["half"], shape["pucker"], shape["tuck"]
    inner = 0.90 - 0.20 * pucker
    reach = (np.abs(u) / inner).clip(0, 1)
    oval = np.sqrt(1 - reach**2)
    flat = 1 - reach**2.4
    opening = oval * (0.45 + 0.55 * pucker) + flat * (0.55 - 0.55 * pucker)
    seam = 0.5 * np.exp(-((u / 0.25) ** 2)) - (paint.smile - 0.12 * shape["bottom"]) * u * u
    inner_top = seam - shape["top"] * opening
    inner_bottom = np.maximum(seam + shape["bottom"] * opening, inner_top)
    thick = shape["thick"]
    outer_top = inner_top - paint.upper * thick * _BOW
    outer_bottom = inner_bottom + paint.lower * thick * (1 - 0.35 * tuck) * _FULL
    x = half * u
    return _Lines(
        *(np.stack([x, y], 1) for y in (outer_top, inner_top, inner_bottom, outer_bottom))
    )


@cache
def _pixels() -> tuple[Floats, Floats]:
    """Return x (W,) and y (H, 1) of the pixels of the window, units around the mouth."""
    x = LEFT + (np.arange(WIDTH * FINE, dtype=np.float32) + 0.5) / FINE
    y = TOP - MOUTH_Y + (np.arange(HEIGHT * FINE, dtype=np.float32) + 0.5) / FINE
    return x, y[:, None]


@cache
def _wrinkles(seed: int) -> Floats:
    """Return fine lines across a lip (257,), about 0."""
    noise = np.random.default_rng(seed).standard_normal(257).astype(np.float32)
    return cv2.GaussianBlur(noise[None], (0, 0), 1.5)[0]


def _fill(*lines: NDArray[np.float64]) -> Floats:
    """Return the cover (H, W) 0-1 of the polygon along lines, with smooth edges."""
    points = np.concatenate(lines)
    pixels = (points - (LEFT, TOP - MOUTH_Y)) * FINE - 0.5
    mask = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    corners = np.round(pixels * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(mask, [corners], (255.0,), cv2.LINE_AA, SHIFT)
    return mask.astype(np.float32) / 255


def _lay(image: Floats, cover: Floats, color: Floats) -> None:
    """Paint over ``image`` (H, W, 3) in place."""
    image += cover[..., None] * (color - image)


def paint_mouth(skin: Floats, shape: dict[str, float], paint: MouthPaint) -> Floats:
    """Paint a mouth on skin.

    Args:
        skin: Window of the face (HEIGHT * FINE, WIDTH * FINE, 3) float32, 0-255.
        shape: Value of each channel of ``KeyShape``.
        paint: Size and colours.

    Returns:
        The window with the mouth, float32.
    """
    lines = _draw_lines(shape, paint)
    x, y = _pixels()
    half = paint.half * shape["half"]
    top, inner_top, inner_bottom, bottom = (
        np.interp(x, line[:, 0], line[:, 1]).astype(np.float32)
        for line in (lines.outer_top, lines.inner_top, lines.inner_bottom, lines.outer_bottom)
    )
    image = skin * _shade_skin(shape, half, bottom)[..., None]
    lips = _fill(lines.outer_top, lines.outer_bottom[::-1])
    color = _color_lips(paint, shape, (top, inner_top, inner_bottom, bottom), half)
    _lay(image, cv2.GaussianBlur(lips, (0, 0), 0.28 * FINE), color * _light_of(skin))
    inside = _fill(lines.inner_top, lines.inner_bottom[::-1])[INSIDE]
    _lay(image[INSIDE], inside, _paint_inside(shape, paint, lines))
    # Lips touch in a dark line, which goes on to the corners of an open mouth.
    middle = (inner_top + inner_bottom) / 2
    gap = (inner_bottom - inner_top).clip(0, None)
    width = 0.55 - 0.12 * shape["thick"]
    line = np.exp(-(((y - middle) / width) ** 2)) * np.exp(-((gap / 1.2) ** 2))
    line *= 0.75 * np.clip((half - np.abs(x)) / 2 + 0.6, 0, 1)
    _lay(image, line.astype(np.float32), np.array(paint.lip, np.float32) * 0.28)
    return image


def _light_of(skin: Floats) -> Floats:
    """Return the light on the mouth relative to its mean, from the skin around it (1, W, 1)."""
    grey = cv2.blur(skin[..., 1], (1, 2 * FINE + 1))[len(skin) // 2]
    grey = cv2.GaussianBlur(grey[None], (0, 0), 8.0 * FINE)
    return (grey / max(float(grey.mean()), 1.0))[..., None]


def _shade_skin(shape: dict[str, float], half: float, bottom: Floats) -> Floats:
    """Return the factor (H, W) of the shadows under the lower lip and beside the corners."""
    x, y = _pixels()
    under = np.exp(-(((y - bottom - 3.0) / 2.6) ** 2)) * np.clip(1 - (x / half) ** 2, 0, 1)
    corner = np.exp(-(((np.abs(x) - half - 0.8) / 2.2) ** 2) - ((y - 1) / 3.0) ** 2)
    factor = 1 - (0.20 + 0.14 * shape["pucker"]) * under - 0.22 * corner
    return factor.astype(np.float32)


def _color_lips(
    paint: MouthPaint, shape: dict[str, float], lines: tuple[Floats, ...], half: float
) -> Floats:
    """Return the colour of the lips (H, W, 3): the lower one shines, the upper one is in shade."""
    x, y = _pixels()
    top, inner_top, inner_bottom, bottom = lines
    up = ((inner_top - y) / np.maximum(inner_top - top, 0.2)).clip(0, 1)
    down = ((y - inner_bottom) / np.maximum(bottom - inner_bottom, 0.2)).clip(0, 1)
    is_upper = y < (inner_top + inner_bottom) / 2
    shine = np.exp(-(((down - 0.42) / 0.24) ** 2)) * np.exp(-((x / (0.55 * half)) ** 2))
    light = np.where(
        is_upper, 0.74 + 0.16 * up, 0.86 + (0.22 + 0.1 * shape["pucker"]) * shine - 0.16 * down**4
    )
    inner = np.where(is_upper, up, down)
    light -= 0.18 * np.exp(-((inner / 0.14) ** 2))
    index = ((x / half).clip(-1, 1) + 1) * 128
    light += (0.035 + 0.05 * shape["pucker"]) * _wrinkles(paint.wrinkles)[index.astype(int)]
    return (light[..., None] * np.array(paint.lip, np.float32)).astype(np.float32)


def _paint_inside(shape: dict[str, float], paint: MouthPaint, lines: _Lines) -> Floats:
    """Paint what is seen between the lips, the part ``INSIDE`` of the window."""
    x, y = _pixels()
    x, y = x[INSIDE[1]], y[INSIDE[0]]
    image = np.broadcast_to(np.array(CAVITY, np.float32), (y.size, x.size, 3)).copy()
    jaw, hidden = 0.85 * shape["jaw"], 0.65 * shape["pucker"]
    below = (y - np.interp(x, *lines.inner_top.T)).clip(0, None)  # units under the upper lip
    shade = (0.42 + 0.58 * (1 - np.exp(-below / 2.2))) * (1 - hidden)
    side = np.exp(-((x / 19) ** 4))
    scallop = 0.5 * np.abs(np.sin(np.pi * x / TOOTH))
    gaps = 1 - paint.gaps * np.exp(-((((x / TOOTH + 0.5) % 1 - 0.5) * TOOTH / 0.45) ** 2))

    tongue = shape["tongue"]
    rise = 5.5 + jaw - tongue * (jaw + 3.2)  # y of the top of the tongue
    _lay(
        image,
        _soft(y - rise - (x / 9.5) ** 2 * 1.6, 1.2) * np.exp(-((x / 15) ** 6)),
        np.array(TONGUE, np.float32) * (0.45 + 0.45 * (1 - np.exp(-below / 4)))[..., None],
    )
    teeth = np.array(paint.teeth, np.float32)
    edge = 3.2 + jaw - 0.05 * x * x / 4 + 0.3 * scallop
    lower = _soft(y - edge, 0.35) * side * (1 - 0.9 * shape["out"] * np.exp(-((x / 9) ** 4)))
    lower *= 1 - 0.75 * max(0.0, tongue - 0.7) / 0.3 * np.exp(-((x / 8) ** 4))
    _lay(image, lower.astype(np.float32), teeth * (0.82 * shade * side * gaps)[..., None])
    edge = 1.9 - 0.06 * x * x / 4 - 0.6 * scallop + 0.5
    _lay(
        image,
        (_soft(edge - y, 0.35) * side).astype(np.float32),
        teeth * (shade * (0.55 + 0.45 * side) * gaps)[..., None],
    )
    if shape["out"] > 0.05:
        reach = shape["out"] * np.exp(-((x / 9.5) ** 4))
        cover = _soft(y - 1.2, 0.6) * reach
        light = 0.72 + 0.25 * np.exp(-(((y - 4) / 3) ** 2)) - 0.12 * np.exp(-((x / 0.9) ** 2))
        _lay(image, cover.astype(np.float32), np.array(TONGUE, np.float32) * light[..., None])
    return image


def _soft(distance: Floats, width: float) -> Floats:
    """Return 0 outside of an edge to 1 inside, over ``width`` units."""
    return (distance / width + 0.5).clip(0, 1)
