"""Draw triangles with numpy: scan lines, painter's order (back to front), weights per pixel.

Pixel centres are at whole numbers. Triangles are small and many, so the order of their middles
decides what hides what.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

MIN_AREA = 1e-3  # px^2, of a parallelogram; smaller ones are seen from the edge or from behind
SLACK = np.float32(1e-3)  # px by which spans overlap, so that no pixel between triangles is empty


@dataclass(frozen=True)
class Fragments:
    """What each of the N pixels of an image shows, row by row."""

    covered: NDArray[np.bool_]  # (N,) False: no triangle
    corners: Indices  # (3, N) vertices of the triangle; any where there is none
    weights: Floats  # (3, N) of the corners, sum 1

    def interpolate(self, values: Floats) -> Floats:
        """Interpolate one value per vertex (V,) to the pixels, (N,)."""
        total = values.take(self.corners[0])
        total *= self.weights[0]
        for corner, weight in zip(self.corners[1:], self.weights[1:], strict=True):
            part = values.take(corner)
            part *= weight
            total += part
        return total


def rasterize(
    points: Floats,
    nearness: Floats,
    triangles: Indices,
    size: tuple[int, int],
    bias: Floats | float = 0.0,
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
    order = ((near[0] + near[1] + near[2]) / 3 + bias).take(drawn)
    drawn = drawn.take(np.argsort(order, kind="stable"))
    x, y, area = x.take(drawn, axis=1), y.take(drawn, axis=1), area.take(drawn)

    owner, row, left, right = _spans(x, y, top.take(drawn), bottom.take(drawn))
    first = np.maximum(np.ceil(left - SLACK), 0)
    last = np.minimum(np.floor(right + SLACK), width - 1)
    count = np.maximum(last - first + 1, 0).astype(np.intp)
    end = np.cumsum(count)
    total = int(end[-1]) if len(end) else 0
    shift = (row * width + first).astype(np.intp) - end + count
    shown = np.full(width * height, len(drawn), np.intp)
    pixels = np.repeat(shift, count)
    pixels += np.arange(total)
    shown[pixels] = np.repeat(owner, count)  # of several values for a pixel numpy keeps the last

    # A triangle of no size stands for the background.
    corners = np.zeros((3, len(drawn) + 1), np.intp)
    corners[:, :-1] = triangles.take(drawn, axis=1)
    plane = np.zeros((6, len(drawn) + 1), np.float32)
    plane[:2, :-1] = x[0], y[0]
    plane[2:, :-1] = y[2] - y[0], x[0] - x[2], y[0] - y[1], x[1] - x[0]
    plane[2:, :-1] /= area
    across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    dx = (across - plane[0].take(shown).reshape(height, width)).ravel()
    dy = (down[:, None] - plane[1].take(shown).reshape(height, width)).ravel()
    weights = np.empty((3, len(shown)), np.float32)
    for i in (1, 2):
        np.multiply(plane[2 * i].take(shown), dx, out=weights[i])
        weights[i] += plane[2 * i + 1].take(shown) * dy
    # A span may reach past its triangle by less than a pixel.
    np.clip(weights[1], 0, 1, out=weights[1])
    np.clip(weights[2], 0, 1 - weights[1], out=weights[2])
    np.subtract(1 - weights[1], weights[2], out=weights[0])
    return Fragments(shown < len(drawn), corners.take(shown, axis=1), weights)


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
    count = (bottom - top + 1).astype(np.intp)
    owner = np.repeat(np.arange(len(count)), count)
    row = (np.arange(len(owner)) + (top - np.cumsum(count) + count).take(owner)).astype(np.float32)
    one = xa.take(owner) + (row - ya.take(owner)) * long.take(owner)
    below_b = row - yb.take(owner)
    slope = np.where(below_b < 0, upper.take(owner), lower.take(owner))
    other = xb.take(owner) + below_b * slope
    return owner, row, np.minimum(one, other), np.maximum(one, other)


def _sort(x: Floats, y: Floats, other_x: Floats, other_y: Floats) -> tuple[Floats, ...]:
    """Return the two points with the upper one first."""
    swap = y > other_y
    return (
        np.where(swap, other_x, x),
        np.where(swap, other_y, y),
        np.where(swap, x, other_x),
        np.where(swap, y, other_y),
    )
