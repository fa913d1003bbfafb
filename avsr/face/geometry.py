"""From landmarks to the mouth crop: a similarity transform to a mean face, then a 96x96 cut.

The face is brought to a 256x256 canvas by the similarity transform that carries five stable points
(base of the nose, corners of the eyes) to their places in a mean face. The transform is smoothed
over time, the place of the cut is not: it follows the mouth of each frame. This is the geometry of
AV-HuBERT's training data, so its weights see what they were trained on.

Matrices are 2x3 and carry (x, y) pixel positions, pixel centres at whole numbers. ``crop_matrices``
is the whole convention in one call: whoever draws a mouth straight in crop coordinates needs only
that.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsr.rates import MOUTH_SIZE

STABLE_IDS = (33, 36, 39, 42, 45)  # 68-point numbers: nose base, outer/inner eye corners
MOUTH_IDS = tuple(range(48, 68))  # 68-point numbers: outer then inner lip contour
POINT_IDS = STABLE_IDS + MOUTH_IDS  # the K = 25 landmarks that this stage works with, in order
NUM_POINTS = len(POINT_IDS)
STABLE = slice(0, len(STABLE_IDS))  # rows of a (K, 2) landmark array
MOUTH = slice(len(STABLE_IDS), NUM_POINTS)

# Places of the stable points on the canvas, px, in the order of STABLE_IDS.
MEAN_FACE = np.array(
    [
        (128.8702, 137.3025),
        (92.5225, 94.3688),
        (112.7724, 94.9436),
        (145.5251, 94.5350),
        (166.6771, 93.5656),
    ]
)
MAX_TURN = 0.5  # of measure_turns: about 48 degrees; beyond, half of the mouth is out of sight
SMOOTHING_WINDOW = 12  # frames, i to i + 11

FloatArray = NDArray[np.float64]


def interpolate_landmarks(landmarks: ArrayLike, found: ArrayLike) -> FloatArray:
    """Fill the frames without landmarks: linear between neighbours, copies at both ends.

    ``landmarks`` (T, K, 2) may hold anything where ``found`` (T,) is False. At least one frame
    must be found.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    seen = np.flatnonzero(np.asarray(found))
    if len(seen) == 0:
        raise ValueError("no frame has landmarks: nothing to interpolate from")
    frames = np.arange(len(points))
    flat = points.reshape(len(points), -1)
    columns = [np.interp(frames, seen, column[seen]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(points.shape)


def estimate_similarity(source: ArrayLike, target: ArrayLike) -> FloatArray:
    """Least-squares similarity (rotation, one scale, shift) from ``source`` to ``target``, (N, 2).

    Returns the (2, 3) matrix. It is closed: with points as complex numbers the rotation and scale
    are one complex factor.
    """
    source, target = _complex(source), _complex(target)
    source_mean, target_mean = source.sum() / len(source), target.sum() / len(target)
    away = source - source_mean
    spread = np.vdot(away, away).real
    if spread == 0:
        raise ValueError("all points coincide: they define no similarity transform")
    factor = np.vdot(away, target - target_mean) / spread
    shift = target_mean - factor * source_mean
    a, b = factor.real, factor.imag
    return np.array([[a, -b, shift.real], [b, a, shift.imag]])


def _complex(points: ArrayLike) -> NDArray[np.complex128]:
    """Points (N, 2) as complex numbers (N,)."""
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]


def measure_turns(landmarks: ArrayLike) -> FloatArray:
    """How far a face is turned to a side, (T,), from landmarks (T, K, 2); 0: it looks ahead.

    The base of the nose beside the middle of the outer eye corners, in distances between these.
    The nose stands out by nearly half of that distance, so it is about 0.45 times the tangent of
    the angle: 0.26 at 30 degrees, 0.45 at 45, 0.8 at 60.
    """
    points = np.asarray(landmarks, np.float64)
    nose, right, left = points[:, 0], points[:, 1], points[:, 4]
    across = left - right
    aside = ((nose - (left + right) / 2) * across).sum(axis=1)
    return np.asarray(np.abs(aside / (across * across).sum(axis=1)), np.float64)


def measure_opening(landmarks: ArrayLike) -> FloatArray:
    """How far the mouth is open, (T,), from landmarks (T, K, 2): the mean gap between the inner
    lips in distances between the outer eye corners (the median one, so that a nod opens nothing).
    """
    points = np.asarray(landmarks, np.float64)
    eyes = np.median(np.linalg.norm(points[:, 4] - points[:, 1], axis=1))
    upper, lower = points[:, 18:21], points[:, 24:21:-1]  # 61 to 63 and, below them, 67 to 65
    gaps = np.linalg.norm(lower - upper, axis=2).mean(axis=1)
    return np.asarray(gaps / eyes, np.float64)


def smooth_transforms(landmarks: ArrayLike) -> FloatArray:
    """Similarity transform to the canvas for each frame, (T, 2, 3), from landmarks (T, K, 2).

    Frame i uses the mean of frames i to i + 11; the last full window serves the last 11 frames
    too. A clip shorter than the window has one transform, of its mean.
    """
    stable = np.asarray(landmarks, np.float64)[:, STABLE]
    window = min(len(stable), SMOOTHING_WINDOW)
    last = len(stable) - window
    transforms = [
        estimate_similarity(stable[i : i + window].mean(axis=0), MEAN_FACE) for i in range(last + 1)
    ]
    return np.stack(transforms + transforms[-1:] * (window - 1))


def cut_corner(center: ArrayLike) -> FloatArray:
    """Top left (x, y) of the 96x96 cut around ``center`` (x, y); whole px, halves to even.

    The cut may leave the canvas, which is only a frame of reference here. (The reference holds it
    inside and so cuts beside the mouth when a face moves fast against the smoothed transform.)
    """
    return np.round(np.asarray(center, np.float64)) - MOUTH_SIZE // 2


def crop_matrix(landmarks: ArrayLike, transform: ArrayLike) -> FloatArray:
    """Matrix (2, 3) from picture to mouth crop for one frame.

    ``landmarks`` (K, 2) are those of this very frame, ``transform`` (2, 3) leads to the canvas.
    """
    matrix = np.array(transform, np.float64)
    mouth = np.asarray(landmarks, np.float64)[MOUTH].mean(axis=0)
    matrix[:, 2] -= cut_corner(matrix[:, :2] @ mouth + matrix[:, 2])
    return matrix


def crop_matrices(landmarks: ArrayLike) -> FloatArray:
    """Matrices (T, 2, 3) from picture to mouth crop, for complete landmarks (T, K, 2) of a clip."""
    points = np.asarray(landmarks, np.float64)
    pairs = zip(points, smooth_transforms(points), strict=True)
    return np.stack([crop_matrix(frame, transform) for frame, transform in pairs])


def warp(image: NDArray[np.uint8], matrix: ArrayLike, size: int = MOUTH_SIZE) -> NDArray[np.uint8]:
    """Draw the grey ``image`` (H, W) through ``matrix`` (2, 3) into (size, size), outside = 0.

    Bilinear with full precision (cv2's own warp rounds positions to 1/32 px), cut to whole levels.
    It does not blur: shrink the image first where the matrix shrinks it (``reduce_image``).
    """
    inverse = invert(matrix)
    grid = np.arange(size)
    x = inverse[0, 0] * grid[None, :] + (inverse[0, 1] * grid[:, None] + inverse[0, 2])
    y = inverse[1, 0] * grid[None, :] + (inverse[1, 1] * grid[:, None] + inverse[1, 2])
    height, width = image.shape
    # One pixel of zeros around: positions outside of the picture fade to black within a pixel.
    padded = np.zeros((height + 2, width + 2), np.float32)
    padded[1:-1, 1:-1] = image
    x, y = np.clip(x, -1, width) + 1, np.clip(y, -1, height) + 1
    left = np.minimum(x.astype(np.intp), width)
    top = np.minimum(y.astype(np.intp), height)
    fx, fy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    corner = top * (width + 2) + left
    flat = padded.ravel()
    upper = flat[corner] * (1 - fx) + flat[corner + 1] * fx
    lower = flat[corner + width + 2] * (1 - fx) + flat[corner + width + 3] * fx
    # The nudge keeps whole numbers whole: 117 must not become 116.99999 and then 116.
    return (upper * (1 - fy) + lower * fy + 1e-3).astype(np.uint8)


def reduce_image(image: NDArray[np.uint8], factor: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """Shrink by a whole factor, each pixel the mean of its block; also the matrix that says so.

    The matrix (2, 3) leads from the old positions to the new ones.
    """
    shift = (1 - factor) / (2 * factor)  # the centre of the first block is the new pixel 0
    matrix = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]])
    if factor == 1:
        return image, matrix
    height, width = max(1, image.shape[0] // factor), max(1, image.shape[1] // factor)
    blocks = image[: height * factor, : width * factor]
    small = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), matrix


def compose(outer: ArrayLike, inner: ArrayLike) -> FloatArray:
    """The (2, 3) matrix that applies ``inner`` first and then ``outer``."""
    outer, inner = np.asarray(outer, np.float64), np.asarray(inner, np.float64)
    product = outer[:, :2] @ inner
    product[:, 2] += outer[:, 2]
    return product


def invert(matrix: ArrayLike) -> FloatArray:
    """The (2, 3) matrix that undoes ``matrix``."""
    return np.asarray(cv2.invertAffineTransform(np.asarray(matrix, np.float64)), np.float64)


def reduction_for(matrix: ArrayLike) -> int:
    """The whole factor to shrink a picture by before it is drawn through ``matrix`` (2, 3)."""
    scale = float(np.hypot(*np.asarray(matrix, np.float64)[:, 0]))
    return max(1, round(1 / scale))


def crop_mouth(image: NDArray[np.uint8], matrix: ArrayLike) -> NDArray[np.uint8]:
    """The mouth crop (96, 96) of the grey ``image`` (H, W); ``matrix`` from ``crop_matrices``."""
    small, shrink = reduce_image(image, reduction_for(matrix))
    return warp(small, compose(matrix, invert(shrink)))
