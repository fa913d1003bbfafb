"""Draw triangles with numpy: scan lines, painter's order (back to front).

Pixel centres are at whole numbers. Triangles are small and many, so the order of their middles
decides what hides what.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

MIN_AREA = 0.02  # px^2, of a parallelogram; smaller ones are seen from the edge or from behind
SLACK = np.float32(1e-3)  # px by which spans overlap, so that no pixel between triangles is empty


@dataclass(frozen=True)
class Fragments:
    """The triangle that each pixel of an image shows; D triangles are drawn."""

    size: tuple[int, int]  # width, height
    shown: Indices  # (height, width) number of the triangle, D where there is none
    corners: Indices  # (3, D) its vertices
    slopes: Floats  # (6, D) x, y of the first corner; weights of the others per px across, down

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether a pixel shows a triangle, (height, width)."""
        return self.shown < self.corners.shape[1]

    def interpolate(self, values: Floats) -> Floats:
        """Interpolate one value per vertex (V,) to the pixels, (height, width); 0 elsewhere."""
        first, second, third = values.take(self.corners)
        second, third = second - first, third - first
        x, y, second_x, second_y, third_x, third_y = self.slopes
        plane = np.zeros((3, len(first) + 1), np.float32)
        plane[1, :-1] = second * second_x + third * third_x
        plane[2, :-1] = second * second_y + third * third_y
        plane[0, :-1] = first - plane[1, :-1] * x - plane[2, :-1] * y
        width, height = self.size
        total = plane[1].take(self.shown)
        total *= np.arange(width, dtype=np.float32)
        total += plane[0].take(self.shown)
        down = plane[2].take(self.shown)
        down *= np.arange(height, dtype=np.float32)[:, None]
        total += down
        return total


def rasterize(
    points: Floats,
    nearness: Floats,
    triangles: Indices,
    size: tuple[int, int],
    bias: Floats,
) -> Fragments:
    """Find the triangle that each pixel shows.

    Args:
        points: Positions (2, V) of the vertices, px.
        nearness: (V,) larger is closer to the camera.
        triangles: Vertices (3, M), clockwise as seen by the viewer; others are not drawn.
        size: (width, height) of the image.
        bias: (M,) added to the mean nearness of each triangle.
    """
    width, height = size
    x, y = points[0].take(triangles), points[1].take(triangles)  # (3, M)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    top = np.maximum(np.ceil(np.minimum(np.minimum(y[0], y[1]), y[2])), 0)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(y[0], y[1]), y[2])), height - 1)
    inside = (area > MIN_AREA) & (bottom >= top)
    inside &= np.maximum(np.maximum(x[0], x[1]), x[2]) >= 0
    inside &= np.minimum(np.minimum(x[0], x[1]), x[2]) <= width - 1
    near = nearness.take(triangles)
    drawn = np.flatnonzero(inside)
    drawn = drawn.take(_order((near[0] + near[1] + near[2]).take(drawn) / 3 + bias[drawn]))
    x, y, area = x.take(drawn, axis=1), y.take(drawn, axis=1), area.take(drawn)

    owner, row, left, right = _spans(x, y, top.take(drawn), bottom.take(drawn))
    first = np.maximum(np.ceil(left - SLACK), 0)
    count = np.minimum(np.floor(right + SLACK), width - 1) - first + 1
    lines = np.flatnonzero(count > 0)
    count = count.take(lines).astype(np.intp)
    line, start = _repeat(count)
    start -= (row.take(lines) * width + first.take(lines)).astype(np.intp)
    pixels = np.arange(len(line))
    pixels -= start.take(line)
    shown = np.full(width * height, len(drawn), np.intp)
    # Of several values for a pixel numpy keeps the last.
    shown[pixels] = owner.take(lines).take(line)
    slopes = np.stack([x[0], y[0], y[2] - y[0], x[0] - x[2], y[0] - y[1], x[1] - x[0]])
    slopes[2:] /= area
    return Fragments(size, shown.reshape(height, width), triangles.take(drawn, axis=1), slopes)


def _order(nearness: Floats) -> Indices:
    """Sort by nearness, in 65,536 steps, which numpy sorts by radix."""
    if len(nearness) == 0:
        return np.zeros(0, np.intp)
    low = nearness.min()
    steps = (nearness - low) * (65535 / max(float(nearness.max() - low), 1e-6))
    return np.argsort(steps.astype(np.uint16), kind="stable")


def _repeat(count: Indices) -> tuple[Indices, Indices]:
    """Return each index ``count`` > 0 times, and where each index starts; as np.repeat, faster."""
    end = np.cumsum(count)
    index = np.zeros(int(end[-1]) if len(end) else 0, np.intp)
    index[end[:-1]] = 1
    return np.cumsum(index, out=index), end - count


def _spans(
    x: Floats, y: Floats, top: Floats, bottom: Floats
) -> tuple[Indices, Floats, Floats, Floats]:
    """Return triangle, row, left end and right end of each line of each triangle."""
    (xa, xb, xc), (ya, yb, yc) = x, y  # sorted from here on: a above b above c
    xa, ya, xb, yb = _sort(xa, ya, xb, yb)
    xb, yb, xc, yc = _sort(xb, yb, xc, yc)
    xa, ya, xb, yb = _sort(xa, ya, xb, yb)
    tiny = np.float32(1e-6)
    long = (xc - xa) / np.maximum(yc - ya, tiny)
    upper = (xb - xa) / np.maximum(yb - ya, tiny)
    lower = (xc - xb) / np.maximum(yc - yb, tiny)
    # A triangle has a part above b and one below: one side of each is the long side.
    middle = np.clip(np.ceil(yb), top, bottom + 1)
    begin = np.stack([top, middle], axis=1)
    count = np.stack([middle - top, bottom + 1 - middle], axis=1).astype(np.intp).ravel()
    long_x = xa[:, None] + (begin - ya[:, None]) * long[:, None]
    short_x = np.stack([xa + (top - ya) * upper, xb + (middle - yb) * lower], axis=1)
    short = np.stack([upper, lower], axis=1)
    long = np.stack([long, long], axis=1)
    b_left = (xb < xa + (yb - ya) * long[:, 0])[:, None]
    lines = [
        np.where(b_left, short_x, long_x),
        np.where(b_left, short, long),
        np.where(b_left, long_x, short_x),
        np.where(b_left, long, short),
        begin,
    ]
    parts = np.flatnonzero(count)
    part, start = _repeat(count.take(parts))
    down = (np.arange(len(part)) - start.take(part)).astype(np.float32)
    left, left_slope, right, right_slope, row = (v.take(parts).take(part) for v in lines)
    left += left_slope * down
    right += right_slope * down
    row += down
    return (parts >> 1).take(part), row, left, right


def _sort(x: Floats, y: Floats, other_x: Floats, other_y: Floats) -> tuple[Floats, ...]:
    """Return the two points with the upper one first."""
    swap = y > other_y
    return (
        np.where(swap, other_x, x),
        np.where(swap, other_y, y),
        np.where(swap, x, other_x),
        np.where(swap, y, other_y),
    )
