"""The photograph from which all synthetic faces derive, aligned to the canvas of the mean face.

It is the public-domain portrait of an astronaut (NASA) that scikit-image ships in its wheel. The
positions below were measured once with mediapipe's face mesh, so rendering needs no detector.
Pixel centres are at whole numbers; "canvas" is the 256x256 square of ``avsr.face.geometry``.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.errors import AvsrError
from avsr.face.geometry import MEAN_FACE, compose, estimate_similarity, invert

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """A raster over the canvas: pixel (i, j) is at (left + j / scale, top + i / scale)."""

    left: float
    top: float
    width: int  # pixels
    height: int
    scale: float = 1.0  # pixels per canvas px

    @property
    def x(self) -> Floats:
        """Canvas x of the columns, (width,)."""
        return (self.left + np.arange(self.width) / self.scale).astype(np.float32)

    @property
    def y(self) -> Floats:
        """Canvas y of the rows, (height,)."""
        return (self.top + np.arange(self.height) / self.scale).astype(np.float32)

    def window(self, left: float, top: float, right: float, bottom: float) -> "Grid":
        """Return the part of the raster between these canvas positions."""
        j = max(0, int(np.ceil((left - self.left) * self.scale)))
        i = max(0, int(np.ceil((top - self.top) * self.scale)))
        j_end = min(self.width, int((right - self.left) * self.scale) + 1)
        i_end = min(self.height, int((bottom - self.top) * self.scale) + 1)
        corner = self.left + j / self.scale, self.top + i / self.scale
        return Grid(*corner, j_end - j, i_end - i, self.scale)

    def slices(self, part: "Grid") -> tuple[slice, slice]:
        """Return the rows and columns of ``part`` (from ``window``) in this raster."""
        i = round((part.top - self.top) * self.scale)
        j = round((part.left - self.left) * self.scale)
        return slice(i, i + part.height), slice(j, j + part.width)


# Positions (x, y) in the photograph, px.
STABLE_POINTS = ((223.2, 133.1), (195.2, 100.9), (213.5, 103.8), (236.6, 104.9), (255.5, 104.0))
OUTER_UPPER = (
    *((202.1, 139.5), (204.2, 139.2), (207.1, 139.2), (211.1, 139.2), (216.8, 139.2)),
    *((223.2, 140.4), (229.7, 139.6), (235.9, 139.8), (240.0, 140.1), (243.1, 140.3)),
    (245.3, 140.7),
)
INNER_UPPER = (
    *((203.5, 140.1), (206.1, 140.4), (209.1, 140.9), (212.7, 141.6), (217.4, 142.6)),
    *((223.1, 143.4), (229.1, 142.9), (234.0, 142.3), (237.9, 141.7), (241.2, 141.4)),
    (243.8, 141.2),
)
INNER_LOWER = (
    *((203.5, 140.1), (206.7, 143.5), (209.2, 145.8), (212.8, 147.9), (217.3, 149.5)),
    *((222.8, 150.3), (228.5, 150.0), (233.3, 148.7), (237.2, 146.7), (240.1, 144.5)),
    (243.8, 141.2),
)
OUTER_LOWER = (
    *((202.1, 139.5), (204.3, 143.8), (207.1, 148.0), (211.1, 152.0), (216.2, 154.5)),
    *((222.6, 155.6), (229.1, 155.1), (234.7, 153.0), (239.2, 149.3), (242.6, 145.1)),
    (245.3, 140.7),
)
CHIN = (221.6, 177.0)
FACE_OVAL = (
    *((226.1, 69.8), (249.2, 73.0), (264.4, 82.9), (269.8, 97.5), (270.1, 115.8), (267.7, 135.0)),
    *((260.4, 154.2), (248.9, 166.2), (237.4, 174.1), (221.6, 177.0), (206.1, 172.6)),
    *((195.5, 163.6), (185.3, 150.5), (179.7, 130.7), (178.8, 111.4), (180.3, 93.2)),
    *((186.7, 79.2), (202.7, 70.7)),
)
# Upper and lower lid of each eye, from the viewer's left to right.
UPPER_LIDS = (
    ((195.2, 100.9), (197.2, 99.3), (199.3, 98.2), (202.8, 97.7), (206.3, 98.3), (213.5, 103.8)),
    ((236.6, 104.9), (240.9, 101.7), (244.5, 100.2), (248.1, 99.9), (251.7, 100.7), (255.5, 104.0)),
)
LOWER_LIDS = (
    (
        (195.2, 100.9),
        (197.8, 103.0),
        (203.4, 104.4),
        (206.9, 104.4),
        (210.2, 104.1),
        (213.5, 103.8),
    ),
    (
        (236.6, 104.9),
        (239.8, 105.5),
        (243.0, 106.2),
        (246.4, 106.6),
        (252.3, 106.0),
        (255.5, 104.0),
    ),
)
PERSON = (  # outline against the background, down to the lower edge of the photograph
    *((193, 29), (185, 38), (174, 43), (163, 51), (156, 58), (153, 68), (154, 92), (157, 104)),
    *((167, 115), (172, 125), (181, 134), (182, 149), (158, 151), (139, 161), (127, 178)),
    *((118, 192), (114, 210), (89, 228), (61, 250), (47, 272), (33, 311), (25, 355), (19, 411)),
    *((18, 511), (364, 511), (364, 347), (356, 311), (347, 283), (339, 264), (322, 247)),
    *((304, 236), (294, 214), (278, 192), (257, 175), (256, 163), (264, 149), (267, 137)),
    *((277, 132), (290, 117), (296, 103), (300, 92), (299, 72), (296, 58), (286, 40), (276, 31)),
    *((248, 18), (227, 16), (214, 21), (205, 21)),
)

TO_CANVAS = estimate_similarity(STABLE_POINTS, MEAN_FACE)  # (2, 3), 1.3 canvas px per photo px


def to_canvas(points: object) -> NDArray[np.float64]:
    """Convert positions in the photograph (N, 2) to canvas positions (N, 2)."""
    return np.asarray(points, np.float64) @ TO_CANVAS[:, :2].T + TO_CANVAS[:, 2]


_CORNERS = to_canvas([OUTER_UPPER[0], OUTER_UPPER[-1]])
MOUTH_X = float(_CORNERS[:, 0].mean())  # canvas px, middle of the mouth
MOUTH_HALF = float(_CORNERS[1, 0] - _CORNERS[0, 0]) / 2  # canvas px, half its width
CHIN_Y = float(to_canvas([CHIN])[0, 1])


def _curve(points: object, shift: float) -> NDArray[np.float64]:
    """Return a lip line as canvas y over CURVE_U that ends in the corners of the mouth."""
    line = to_canvas(points)
    u = np.concatenate([[-1], (line[:, 0] - MOUTH_X) / MOUTH_HALF, [1]])
    y = np.concatenate([[_CORNERS[0, 1]], line[:, 1] + shift, [_CORNERS[1, 1]]])
    order = np.argsort(u, kind="stable")
    return np.interp(CURVE_U, u[order], y[order])


CURVE_U = np.linspace(-1.0, 1.0, 129)  # across the mouth, -1 and 1 are its corners
# Outer upper, inner upper, inner lower, outer lower line (4, 129), canvas y. The inner lines are
# shifted slightly into the lips, because teeth reach the edge of the photographed smile.
LIP_CURVES = np.stack(
    [
        _curve(OUTER_UPPER, 0.0),
        _curve(INNER_UPPER, -0.6),
        _curve(INNER_LOWER, 0.9),
        _curve(OUTER_LOWER, 0.0),
    ]
)


@cache
def photograph() -> NDArray[np.uint8]:
    """Load the portrait (512, 512, 3) uint8 RGB; raise AvsrError without scikit-image."""
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise AvsrError(
            "synthetic faces need scikit-image: pip install 'avsr[synthetic]'"
        ) from error
    return np.asarray(astronaut())


@cache
def canvas_photograph(grid: Grid) -> Floats:
    """Return the photograph over ``grid`` with a closed mouth, (H, W, 3) float32 0-255."""
    zoom = np.array([[1 / grid.scale, 0, grid.left], [0, 1 / grid.scale, grid.top]])
    # The photograph is enlarged 1.3 to 3 times; Lanczos avoids blocks.
    drawn = cv2.warpAffine(
        photograph().astype(np.float32),
        compose(invert(TO_CANVAS), zoom),
        (grid.width, grid.height),
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    drawn = _fill_mouth(drawn.clip(0, 255), grid)
    drawn.setflags(write=False)
    return drawn


def blurred(image: Floats, sigma: float) -> Floats:
    """Apply a Gaussian blur of ``sigma`` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _outline_mask(outline: NDArray[np.float64], grid: Grid) -> Floats:
    """Return 1 inside of an outline (N, 2) on the canvas, 0 outside."""
    points = np.round((outline - [grid.left, grid.top]) * grid.scale * 16).astype(np.int32)
    mask = np.zeros((grid.height, grid.width), np.uint8)
    cv2.fillPoly(mask, [points], (255,), cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def region_mask(outline: object, grid: Grid, soft: float) -> Floats:
    """Return 1 inside of an outline of the photograph, 0 outside, blurred by ``soft`` canvas px."""
    mask = _outline_mask(to_canvas(outline), grid)
    return blurred(mask, soft * grid.scale)


def _fill_mouth(image: Floats, grid: Grid) -> Floats:
    """Replace teeth and dark corners between the lips by colours of the surrounding lips."""
    upper, lower = LIP_CURVES[1], LIP_CURVES[2]
    x = MOUTH_X + CURVE_U * MOUTH_HALF * 1.03
    # The corners of the smile have a dark line that extends past the landmarks.
    low = np.where(np.abs(CURVE_U) > 0.8, lower + 1.0, lower)
    high = np.where(np.abs(CURVE_U) > 0.9, upper - 1.2, upper)
    mouth = np.concatenate([np.column_stack([x, high]), np.column_stack([x, low])[::-1]])
    mask = _outline_mask(mouth, grid)
    filled = cv2.inpaint(
        image.astype(np.uint8), (mask > 0).astype(np.uint8), 4 * grid.scale, cv2.INPAINT_TELEA
    ).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.5 * grid.scale)[..., None]
    image = image + (filled - image) * soft
    # Rounding the lips would stretch highlights on them to streaks.
    lips = np.concatenate(
        [
            np.column_stack([x, LIP_CURVES[0]])[8:-8],
            np.column_stack([x, LIP_CURVES[3]])[8:-8][::-1],
        ]
    )
    soft = cv2.GaussianBlur(_outline_mask(lips, grid), (0, 0), 1.0 * grid.scale)[..., None]
    smooth = cv2.GaussianBlur(image, (0, 0), 4.0 * grid.scale, None, 1.2 * grid.scale)
    return image + (smooth - image) * soft


def sample(texture: Floats, grid: Grid, x: Floats, y: Floats) -> Floats:
    """Sample a texture bilinearly at canvas positions.

    Args:
        texture: (H, W) or (H, W, C) over ``grid``.
        grid: Raster of the texture.
        x: Canvas x of the samples, (h, w).
        y: Canvas y of the samples, (h, w).

    Returns:
        (h, w) or (h, w, C) float32.
    """
    x, y = x - np.float32(grid.left), y - np.float32(grid.top)
    if grid.scale != 1:
        x *= np.float32(grid.scale)
        y *= np.float32(grid.scale)
    drawn = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.float32)
