"""Compute the mouth crop from landmarks: a similarity transform to a mean face, then a 96x96 cut.

A similarity transform moves five stable points (base of the nose, corners of the eyes) to their
positions in a mean face on a canvas of 256x256 px. The transform is smoothed over time; the
position of the cut is not, it follows the mouth of each frame. This is the geometry of AV-HuBERT's
training data, so its weights get crops like those they were trained on.

Matrices are 2x3 and map (x, y) pixel positions; pixel centres are at whole numbers.
``crop_matrices`` has the whole convention in one call, for code that draws in crop coordinates.
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

# Positions of the stable points on the canvas, px, in the order of STABLE_IDS.
MEAN_FACE = np.array(
    [
        (128.8702, 137.3025),
        (92.5225, 94.3688),
        (112.7724, 94.9436),
        (145.5251, 94.5350),
        (166.6771, 93.5656),
    ]
)
# A head that looks ahead: the same points in 3-D, x to its left, y down, z to the camera, in
# distances between the outer eye corners. Mean of mediapipe's mesh over a real speaker (GRID) and
# twenty synthetic ones, made symmetric.
HEAD = np.array(
    [
        (0.000, -0.118, 0.128),
        *((-0.500, -0.665, -0.155), (-0.192, -0.644, -0.098)),
        *((0.192, -0.644, -0.098), (0.500, -0.665, -0.155)),
        *((-0.288, 0.122, -0.099), (-0.224, 0.081, 0.019), (-0.085, 0.040, 0.115)),
        *((0.000, 0.053, 0.123), (0.085, 0.040, 0.115), (0.224, 0.081, 0.019)),
        *((0.288, 0.122, -0.099), (0.220, 0.190, -0.012), (0.086, 0.261, 0.056)),
        *((0.000, 0.268, 0.062), (-0.086, 0.261, 0.056), (-0.220, 0.190, -0.012)),
        *((-0.249, 0.115, -0.078), (-0.121, 0.113, 0.024), (0.000, 0.122, 0.059)),
        *((0.121, 0.113, 0.024), (0.249, 0.115, -0.078), (0.131, 0.146, 0.016)),
        *((0.000, 0.157, 0.052), (-0.131, 0.146, 0.016)),
    ]
)
_FIT_HEAD = np.linalg.pinv(HEAD - HEAD.mean(axis=0))  # (3, K)
MAX_TURN = 36.0  # degrees, of measure_turns: a head at about 40; beyond, half the mouth is hidden
SMOOTHING_WINDOW = 12  # frames, i to i + 11

FloatArray = NDArray[np.float64]


def interpolate_landmarks(landmarks: ArrayLike, detected: ArrayLike) -> FloatArray:
    """Fill the frames without landmarks: linear between neighbours, copies at both ends.

    Args:
        landmarks: Landmarks (T, K, 2); values where ``detected`` is False are ignored.
        detected: (T,) bool, whether a frame has landmarks.

    Returns:
        Landmarks (T, K, 2).

    Raises:
        ValueError: No frame has landmarks.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    sources = np.flatnonzero(np.asarray(detected))
    if len(sources) == 0:
        raise ValueError("no frame has landmarks: nothing to interpolate from")
    frames = np.arange(len(points))
    flat = points.reshape(len(points), -1)
    columns = [np.interp(frames, sources, column[sources]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(points.shape)


def estimate_similarity(source: ArrayLike, target: ArrayLike) -> FloatArray:
    """Fit the similarity (rotation, one scale, shift) between two sets of points by least squares.

    The solution is closed: with points as complex numbers, rotation and scale are one complex
    factor.

    Args:
        source: Points (N, 2).
        target: Their images (N, 2).

    Returns:
        The matrix (2, 3) from ``source`` to ``target``.

    Raises:
        ValueError: All points of ``source`` are the same.
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
    """View points (N, 2) as complex numbers (N,)."""
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]


def measure_turns(landmarks: ArrayLike) -> FloatArray:
    """Measure by how much a face is turned to a side.

    The affine map from ``HEAD`` to the landmarks is fitted by least squares. Seen from far away it
    is a rotation, scaled and without its third row, which is the cross product of the other two:
    the direction of the camera, seen from the head. The mesh of mediapipe follows a head only in
    part: heads that were rendered at 30, 45 and 60 degrees measure 30, 41 and 47 in the median.

    Args:
        landmarks: Landmarks (T, K, 2).

    Returns:
        (T,) degrees, without sign; 0 is a face that looks ahead. nan where landmarks are.
    """
    points = np.asarray(landmarks, np.float64)
    across, down = np.moveaxis(_FIT_HEAD @ (points - points.mean(axis=1, keepdims=True)), 2, 0)
    camera = np.cross(across, down)
    aside, ahead = camera[:, 0], camera[:, 2]
    return np.asarray(np.degrees(np.abs(np.arctan2(aside, ahead))), np.float64)


def measure_opening(landmarks: ArrayLike) -> FloatArray:
    """Measure how far the mouth is open: the mean gap between the inner lips.

    Args:
        landmarks: Landmarks (T, K, 2).

    Returns:
        (T,) in distances between the outer eye corners, of which the median over all frames is
        taken, so that a nod does not open the mouth.
    """
    points = np.asarray(landmarks, np.float64)
    eyes = np.median(np.linalg.norm(points[:, 4] - points[:, 1], axis=1))
    upper, lower = points[:, 18:21], points[:, 24:21:-1]  # 61 to 63 and, below them, 67 to 65
    gaps = np.linalg.norm(lower - upper, axis=2).mean(axis=1)
    return np.asarray(gaps / eyes, np.float64)


def smooth_transforms(landmarks: ArrayLike) -> FloatArray:
    """Compute the similarity transform to the canvas for each frame, smoothed over time.

    Frame i uses the mean of frames i to i + 11; the last 11 frames use the last full window. A clip
    shorter than the window has one transform, that of its mean.

    Args:
        landmarks: Landmarks (T, K, 2).

    Returns:
        Matrices (T, 2, 3) from the frame to the canvas.
    """
    stable = np.asarray(landmarks, np.float64)[:, STABLE]
    window = min(len(stable), SMOOTHING_WINDOW)
    last = len(stable) - window
    transforms = [
        estimate_similarity(stable[i : i + window].mean(axis=0), MEAN_FACE) for i in range(last + 1)
    ]
    return np.stack(transforms + transforms[-1:] * (window - 1))


def cut_corner(center: ArrayLike) -> FloatArray:
    """Return the top left (x, y) of the 96x96 cut around ``center``; whole px, halves to even.

    The cut may reach outside of the canvas, which is only a frame of reference here. (The reference
    implementation keeps it inside, and so cuts beside the mouth when a face moves fast against the
    smoothed transform.)
    """
    return np.round(np.asarray(center, np.float64)) - MOUTH_SIZE // 2


def crop_matrix(landmarks: ArrayLike, transform: ArrayLike) -> FloatArray:
    """Compute the matrix (2, 3) from one frame to its mouth crop.

    ``landmarks`` (K, 2) are those of this frame, ``transform`` (2, 3) leads to the canvas.
    """
    matrix = np.array(transform, np.float64)
    mouth = np.asarray(landmarks, np.float64)[MOUTH].mean(axis=0)
    matrix[:, 2] -= cut_corner(matrix[:, :2] @ mouth + matrix[:, 2])
    return matrix


def crop_matrices(landmarks: ArrayLike) -> FloatArray:
    """Compute the matrices from the frames of a clip to their mouth crops.

    Args:
        landmarks: Landmarks (T, K, 2) of all frames, px.

    Returns:
        Matrices (T, 2, 3).
    """
    points = np.asarray(landmarks, np.float64)
    pairs = zip(points, smooth_transforms(points), strict=True)
    return np.stack([crop_matrix(frame, transform) for frame, transform in pairs])


def warp(image: NDArray[np.uint8], matrix: ArrayLike, size: int = MOUTH_SIZE) -> NDArray[np.uint8]:
    """Transform the grey ``image`` (H, W) by ``matrix`` (2, 3) to (size, size), 0 outside of it.

    Bilinear in full precision (cv2's own warp rounds positions to 1/32 px), cut to whole levels. It
    does not blur: shrink the image first if the matrix shrinks it (``reduce_image``).
    """
    inverse = invert(matrix)
    grid = np.arange(size)
    x = inverse[0, 0] * grid[None, :] + (inverse[0, 1] * grid[:, None] + inverse[0, 2])
    y = inverse[1, 0] * grid[None, :] + (inverse[1, 1] * grid[:, None] + inverse[1, 2])
    height, width = image.shape
    # One pixel of zeros around: positions outside of the image fade to black within a pixel.
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
    """Shrink an image by a whole factor, each pixel the mean of its block.

    Returns:
        The small image and the matrix (2, 3) from old to new positions.
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
    """Return the matrix (2, 3) that applies ``inner`` first and then ``outer``."""
    outer, inner = np.asarray(outer, np.float64), np.asarray(inner, np.float64)
    product = outer[:, :2] @ inner
    product[:, 2] += outer[:, 2]
    return product


def invert(matrix: ArrayLike) -> FloatArray:
    """Return the inverse (2, 3) of ``matrix``."""
    return np.asarray(cv2.invertAffineTransform(np.asarray(matrix, np.float64)), np.float64)


def reduction_for(matrix: ArrayLike) -> int:
    """Return the whole factor to shrink an image by before ``matrix`` (2, 3) transforms it."""
    scale = float(np.hypot(*np.asarray(matrix, np.float64)[:, 0]))
    return max(1, round(1 / scale))


def crop_mouth(image: NDArray[np.uint8], matrix: ArrayLike) -> NDArray[np.uint8]:
    """Crop the mouth out of one frame.

    Args:
        image: The frame in grey (H, W) uint8.
        matrix: Its matrix (2, 3) from ``crop_matrices``.

    Returns:
        The mouth crop (96, 96) uint8.
    """
    small, shrink = reduce_image(image, reduction_for(matrix))
    return warp(small, compose(matrix, invert(shrink)))
