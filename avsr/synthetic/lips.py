"""Shape of the mouth: articulation parameters -> lip lines, teeth and tongue -> images.

All positions are canvas px (see ``portrait``). The face is deformed column by column: four lip
lines (outer and inner, upper and lower) and the chin move, and the photograph is stretched linearly
between them. The inside of the mouth is painted between the inner lines with soft edges.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from avsr.synthetic import portrait
from avsr.synthetic.portrait import Grid
from avsr.synthetic.visemes import PARAMETERS

Floats = NDArray[np.float32]

NOSE_Y = 131.0  # canvas px; nothing above it moves
STILL_Y = 262.0  # canvas px; nothing below it moves
REACH = 64.0  # canvas px to the left and right of the mouth; nothing beyond moves
JAW_DROP = 16.0  # canvas px by which the lower teeth move down from jaw 0 to 1
CAVITY = np.array([40, 18, 18], np.float32)  # RGB
TEETH = np.array([226, 220, 204], np.float32)
TONGUE = np.array([182, 100, 104], np.float32)
_INDEX = {name: i for i, name in enumerate(PARAMETERS)}


@dataclass(frozen=True)
class MouthBuild:
    """Build of a mouth, constant for a face: canvas px and factors."""

    y: float = 151.0  # line of the closed lips
    half_width: float = 24.0  # at rest
    upper: float = 6.0  # thickness of the upper lip at rest
    lower: float = 8.0
    chin: float = 0.0  # shift of the chin, down = +
    corner: float = 0.0  # corners lower (+) or higher (-) than the middle
    jaw: float = 1.0  # factor on the opening
    teeth: float = 1.0  # brightness
    inside: float = 1.0  # brightness of tongue and cavity
    gap: float = 0.0  # 0 .. 1 darkness of the gaps between teeth
    tooth: float = 5.2  # width
    upper_teeth: float = 2.0  # lower edge, below the line of the closed lips; negative: hidden
    lower_teeth: float = 2.6  # upper edge at rest, below the line of the closed lips
    bow: float = 0.16  # depth of the notch of the upper lip
    tilt: float = 0.0  # right corner lower (+) or higher (-) than the left one
    skew: float = 0.0  # -1 .. 1 the mouth opens more on the left (-) or on the right (+)
    line: float = 0.5  # 0 .. 1 darkness of the line between the lips


@dataclass(frozen=True)
class MouthShape:
    """Positions per frame, every field (T,) float32, y relative to ``MouthBuild.y``, down = +."""

    half: Floats  # half the width of the mouth
    inner: Floats  # share of the width that opens
    top: Floats  # inner upper line in the middle
    bottom: Floats  # inner lower line in the middle
    upper: Floats  # thickness of the lips
    lower: Floats
    corner: Floats
    chin: Floats  # shift of the chin
    square: Floats  # 0 round opening .. 1 flat, wide opening
    protrusion: Floats
    teeth: Floats  # brightness of the teeth, 1 where the lips do not shade them
    lower_teeth: Floats  # upper edge of the lower teeth
    tongue_y: Floats  # top of the tongue's body
    tongue_light: Floats
    tip_y: Floats  # top of the tongue's tip
    tip_on: Floats  # 0 invisible .. 1 visible
    between: Floats  # 0 .. 1 tongue over the lower teeth

    def slice(self, start: int, stop: int) -> "MouthShape":
        """Return the frames ``start`` up to ``stop``."""
        return MouthShape(*(getattr(self, f.name)[start:stop] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.half)


def _ramp(x: Floats, low: float, high: float) -> Floats:
    """Return 0 below ``low``, 1 above ``high``, linear between."""
    return ((x - low) / (high - low)).clip(0, 1)


def shape_mouth(trajectory: NDArray[np.floating], build: MouthBuild) -> MouthShape:
    """Convert articulation parameters (T, P) of ``visemes.PARAMETERS`` to positions."""
    p = {name: np.asarray(trajectory[:, i], np.float32) for name, i in _INDEX.items()}
    spread, rounding = p["width"].clip(0, None), (-p["width"]).clip(0, None)
    protrusion, tuck = p["protrusion"], p["tuck"].clip(0, 1)
    press = _ramp(p["closure"], 0.7, 1.0)
    open_ = 1 - _ramp(p["closure"], 0.15, 0.62)
    drop = JAW_DROP * build.jaw * p["jaw"]
    raised, dropped = p["upper_raise"], p["lower_drop"]
    between = _ramp(p["tongue_front"], 0.66, 0.92)
    hood = rounding * (1 - raised)  # rounded lips cover the teeth and shade them
    top = -open_ * (0.9 + 1.6 * p["jaw"] + 4.2 * raised - 0.8 * hood)
    bottom = open_ * (1.2 + drop + 3.8 * dropped + 2.6 * protrusion + 1.5 * between)
    bottom = bottom * (1 - tuck) + tuck * (0.9 - 0.9 * tuck)
    top = top - 2.2 * tuck
    lip_scale = 1 - 0.45 * press + 0.28 * protrusion - 0.16 * spread
    lower_teeth = build.lower_teeth + drop
    floor = lower_teeth + 1.5
    tip = _ramp(p["tongue_tip"], 0.30, 1.0)
    body = p["tongue_body"].clip(0, 1)
    front = p["tongue_front"].clip(0, 1)
    return MouthShape(
        half=build.half_width * (1 + 0.17 * spread - 0.36 * rounding - 0.04 * p["jaw"]),
        inner=0.95 - 0.24 * rounding - 0.10 * protrusion,
        top=top,
        bottom=bottom,
        upper=build.upper * lip_scale * (1 - 0.10 * raised),
        lower=build.lower * lip_scale * (1 - 0.45 * tuck),
        corner=build.corner + 0.30 * bottom - 1.0 * spread,
        chin=0.9 * drop - 1.5 * tuck - 1.2 * press,
        square=(0.25 + 0.75 * p["width"]).clip(0, 1),
        protrusion=protrusion,
        teeth=1 - 0.75 * hood,
        lower_teeth=lower_teeth,
        tongue_y=lower_teeth - 2.0 - body * (0.5 * drop + 1.5) - 4.0 * front * (1 - body),
        tongue_light=(0.40 + 0.65 * front) * (1 - 0.6 * hood),
        tip_y=floor - tip * (floor - 0.6),
        tip_on=_ramp(p["tongue_tip"], 0.40, 0.75),
        between=between,
    )


def _lip_lines(shape: MouthShape, build: MouthBuild, u: Floats) -> tuple[Floats, ...]:
    """Return y (T, N) of outer upper, inner upper, inner lower, outer lower line at u (T, N)."""
    u = u.clip(-1, 1)
    a = np.abs(u)
    v = (a / shape.inner[:, None]).clip(0, 1)
    v2 = v * v
    square = shape.square[:, None]
    round_profile = np.sqrt(1 - v2)
    flat_profile = 1 - v2 * v2
    opening = (round_profile + (flat_profile - round_profile) * square) * (1 + build.skew * u)
    closed_line = shape.corner[:, None] * (a * a) + build.tilt * u + build.y
    inner_upper = closed_line + shape.top[:, None] * opening
    inner_lower = closed_line + shape.bottom[:, None] * opening * (1 - 0.3 * (a * a))
    full = 1 - a**2.2
    bow = full - build.bow * np.exp(-((u / 0.13) ** 2))
    outer_upper = inner_upper - shape.upper[:, None] * bow
    outer_lower = inner_lower + shape.lower[:, None] * np.sqrt(1 - a * a) * (0.75 + 0.25 * full)
    return outer_upper, inner_upper, inner_lower, outer_lower


def lip_mean(shape: MouthShape, build: MouthBuild) -> Floats:
    """Return the mean y (T,) of the 20 lip landmarks of the 68-point scheme."""
    num = len(shape)
    outer = np.array([-1, -0.7, -0.28, 0, 0.28, 0.7, 1], np.float32)
    inner = np.array([-0.93, -0.38, 0, 0.38, 0.93], np.float32)
    top, *_, bottom = _lip_lines(shape, build, np.tile(outer, (num, 1)))
    _, inner_top, inner_bottom, _ = _lip_lines(shape, build, np.tile(inner, (num, 1)))
    ends = (top[:, 0] + top[:, -1] + inner_top[:, 0] + inner_top[:, -1]) / 20
    between = top[:, 1:-1].sum(1) + bottom[:, 1:-1].sum(1)
    between += inner_top[:, 1:-1].sum(1) + inner_bottom[:, 1:-1].sum(1)
    return (ends + between / 20).astype(np.float32)


def deformation(shape: MouthShape, build: MouthBuild, grid: Grid) -> tuple[Floats, Floats]:
    """Compute which position of the photograph each pixel shows.

    Every other column is computed, the ones between them are interpolated.

    Args:
        shape: Positions of T frames.
        build: Build of the mouth.
        grid: Raster over the canvas; its width must be even.

    Returns:
        x and y on the canvas of the photograph, (T, H, W) each.
    """
    x = (grid.left + np.arange(0, grid.width + 2, 2) / grid.scale).astype(np.float32)
    y = grid.y
    half = shape.half[:, None]
    u = (x[None] - np.float32(portrait.MOUTH_X)) / half  # (T, N)
    outside = (np.abs(u) - 1).clip(0, None) * half  # canvas px past the corner
    fade = np.clip((REACH - np.abs(x - np.float32(portrait.MOUTH_X))) / 16, 0, 1)
    fall = fade / (1 + (outside / 14) ** 2)
    pull = u.clip(-1, 1) * (np.float32(portrait.MOUTH_HALF) - half) * fall  # (T, N)
    chin_y = portrait.CHIN_Y + build.chin
    rows = np.minimum(_ramp(y, NOSE_Y - 14, build.y - 4), 1 - 0.8 * _ramp(y, build.y + 12, chin_y))
    map_x = x + rows[:, None] * pull[:, None, :]

    inside = u.clip(-1, 1)
    source = [
        np.interp(inside, portrait.CURVE_U, line).astype(np.float32) for line in portrait.LIP_CURVES
    ]
    # Past the corners the lines coincide; their movement fades with the distance.
    target = [source[0] + (t - source[0]) * fall for t in _lip_lines(shape, build, u)]
    bulge = fade * np.exp(-(((x - portrait.MOUTH_X) / 44) ** 2))
    chin = portrait.CHIN_Y + (build.chin + shape.chin[:, None]) * bulge
    edges = [np.full_like(u, NOSE_Y), *target, chin, np.full_like(u, STILL_Y)]
    sources = [edges[0], *source, np.full_like(u, portrait.CHIN_Y), edges[-1]]
    # Source y = y of the nose + a sum of ramps, one per strip of skin between two lines.
    map_y = np.repeat(np.broadcast_to(y[:, None], map_x.shape[1:])[None], len(u), axis=0)
    start = int(np.searchsorted(y, NOSE_Y))
    height = y[start:, None]
    source_y = NOSE_Y + np.maximum(height - STILL_Y, 0) + np.zeros_like(map_x[:, start:])
    part = np.empty_like(source_y)
    for i in (0, 1, 3, 4, 5):  # strip 2 is the inside of the mouth
        length = np.maximum(edges[i + 1] - edges[i], 1e-3)
        slope = (sources[i + 1] - sources[i]) / length
        np.subtract(height, edges[i][:, None, :], out=part)
        np.maximum(part, 0, out=part)
        np.minimum(part, length[:, None, :], out=part)
        part *= slope[:, None, :]
        source_y += part
    split = (target[1] + target[2])[:, None, :] / 2
    source_y += (height > split) * (source[2] - source[1])[:, None, :]
    map_y[:, start:] = source_y
    return _between_columns(map_x), _between_columns(map_y)


def _between_columns(values: Floats) -> Floats:
    """Interpolate (T, H, N + 1) at every other column to (T, H, 2 N) at every column."""
    full = np.empty((*values.shape[:2], 2 * values.shape[2] - 2), np.float32)
    full[:, :, 0::2] = values[:, :, :-1]
    full[:, :, 1::2] = (values[:, :, :-1] + values[:, :, 1:]) * np.float32(0.5)
    return full


@dataclass(frozen=True)
class Inside:
    """The inside of the mouth: ``cover`` (T, H, W) and weights of the layers (T, H, W)."""

    cover: Floats
    cavity: Floats
    teeth: Floats
    tongue: Floats
    shadow: Floats  # factor on the skin under the lower lip


def inside_window(grid: Grid, build: MouthBuild) -> Grid:
    """Return the part of ``grid`` that ``paint_inside`` can change."""
    middle = portrait.MOUTH_X
    return grid.window(middle - 31, build.y - 13, middle + 31, build.y + 34)


def inside_colors(skin: tuple[float, float, float]) -> tuple[Floats, Floats, Floats]:
    """Return RGB of cavity, teeth and tongue, tinted like the skin (factors on R, G, B)."""
    tone = np.sqrt(np.array(skin, np.float32))
    return CAVITY * tone, TEETH * tone, TONGUE * tone


def paint_inside(shape: MouthShape, build: MouthBuild, grid: Grid) -> Inside:
    """Paint cavity, teeth and tongue between the lips; edges are one pixel soft.

    Args:
        shape: Positions of T frames.
        build: Build of the mouth.
        grid: Raster over the canvas, see ``inside_window``.
    """
    x, y = grid.x, grid.y - build.y
    u = (x[None] - portrait.MOUTH_X) / shape.half[:, None]
    _, upper_line, lower_line, outer_line = (
        (line - build.y).astype(np.float32)[:, None, :] for line in _lip_lines(shape, build, u)
    )
    rows = y[None, :, None]
    dx = (x - portrait.MOUTH_X)[None]
    below_upper = rows - upper_line  # canvas px under the upper lip
    # A tongue between the teeth lies on the lower lip.
    lip_edge = lower_line + 3.0 * _column(
        shape.between[:, None] * np.clip(1 - (dx / 11) ** 2, 0, 1)
    )
    cover = _soft(below_upper.copy(), grid.scale) * _soft(lip_edge - rows, grid.scale)
    cover *= _soft((1 - np.abs(u)) * shape.half[:, None], grid.scale)[:, None, :]
    teeth, tongue = _paint_teeth_and_tongue(shape, build, rows, dx, grid.scale)
    shade = 0.55 + 0.45 * np.clip(below_upper * 0.28, 0, 1)
    teeth *= shade * _column(build.teeth * shape.teeth[:, None] + 0 * u)
    tongue *= (0.35 + 0.65 * shade) * build.inside
    cavity = np.clip(1 - teeth - tongue, 0, 1)
    under = (rows - outer_line - 3.5) * 0.28
    shadow = 1 - _column(0.30 * shape.protrusion[:, None] * np.clip(1 - u * u, 0, 1)) * np.exp(
        -under * under
    )
    # Lips darken towards the line where they meet or open.
    away = np.maximum(upper_line - rows, rows - lower_line)
    np.maximum(away, 0, out=away)
    away *= 0.8
    shadow *= 1 - _column(build.line * np.clip((1 - np.abs(u)) * 6, 0, 1)) * np.exp(-away * away)
    return Inside(cover, cavity, teeth, tongue, shadow)


def _paint_teeth_and_tongue(
    shape: MouthShape, build: MouthBuild, rows: Floats, dx: Floats, scale: float
) -> tuple[Floats, Floats]:
    """Return the brightness of teeth and tongue (T, H, W), unshaded by the lips.

    ``rows`` (1, H, 1) is y below the line of the closed lips, ``dx`` (1, W) is x from the middle.
    """
    zeros = 0 * dx / shape.half[:, None]  # (T, W)
    arc = (dx / 24.0) ** 2
    gaps = 1 - build.gap * np.exp(-(((((dx / build.tooth + 0.5) % 1.0) - 0.5) / 0.11) ** 2))
    sides = np.clip(1.15 - 0.75 * arc, 0, 1) * gaps
    upper_teeth = _soft(_column(build.upper_teeth - 2.6 * arc) - rows, scale) * _column(sides)
    low_edge = shape.lower_teeth[:, None] - 1.6 * arc
    lower_teeth = _soft(rows - _column(low_edge), scale)
    lower_teeth = lower_teeth * _soft(_column(low_edge + 7.5) - rows, scale)
    lower_teeth *= _column(0.86 * np.clip(1.1 - 1.3 * arc, 0, 1) * gaps)

    body_top = shape.tongue_y[:, None] + 5.0 * arc
    body = _soft((rows - _column(body_top)) * 0.5, scale)
    tip_top = shape.tip_y[:, None] + 0.09 * dx**2 * (1 - 0.6 * shape.between[:, None])
    tip = _soft(rows - _column(tip_top), scale) * _column(
        shape.tip_on[:, None] * np.clip(2.2 - arc * 5, 0, 1)
    )
    over_top = 1.6 + 1.2 * arc
    over = _soft(rows - _column(over_top + zeros), scale) * _column(
        shape.between[:, None] * np.clip(1.7 - 2.0 * arc, 0, 1)
    )
    tongue = body * _column(shape.tongue_light[:, None] + zeros)
    teeth = np.maximum(lower_teeth * (1 - tip), 0)
    tongue *= 1 - lower_teeth
    tongue += (1.0 - tongue) * tip
    teeth *= 1 - over
    tongue += (1.15 - tongue) * over
    tongue *= 1 - upper_teeth
    teeth *= 1 - upper_teeth
    teeth += upper_teeth
    return teeth, tongue


def _soft(distance: Floats, scale: float) -> Floats:
    """Return the cover of pixels ``distance`` canvas px inside of an edge (in place)."""
    distance *= scale
    distance += 0.5
    return np.clip(distance, 0, 1, out=distance)


def _column(values: Floats) -> Floats:
    """Turn values per column (T, W) into values per pixel (T, 1, W)."""
    return values.astype(np.float32)[:, None, :]
