"""Turn stored frames upright, by display matrix (rotation, mirror) and pixel shape."""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avsr.media.safe_open import MAX_PIXELS

MAX_PIXEL_ASPECT = 4
"""Pixels of real video are at most twice as wide as high, or the reverse; a file may say 100."""


@dataclass(frozen=True)
class Orientation:
    """How to turn a stored frame upright: scale to square pixels, then transpose, then mirror."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False
    pixel_aspect: Fraction = Fraction(1)
    """Width of a stored pixel over its height."""

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise, without the mirror."""
        if self.transposed:
            return 90 if self.flip_y else 270
        return 180 if self.flip_y else 0

    def square_size(self, size: tuple[int, int], max_side: int | None = None) -> tuple[int, int]:
        """Convert (width, height) as stored to square pixels, the longer one at most ``max_side``.

        Never more than ``MAX_PIXELS`` in all. Frames are turned afterwards.
        """
        width, height = size[0] * self.pixel_aspect, Fraction(size[1])
        scale = Fraction(1)
        if width * height > MAX_PIXELS:
            scale = Fraction(math.sqrt(MAX_PIXELS / (width * height)))
        if max_side is not None:
            scale = min(scale, max_side / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def displayed_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Convert (width, height) as stored to those of the upright frame, square pixels."""
        width, height = self.square_size(size)
        return (height, width) if self.transposed else (width, height)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn one image (H, W, ...) upright; the result is contiguous."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)

    def revert(self, image: np.ndarray) -> np.ndarray:
        """Turn an upright image (H, W, ...) like the stored frames: the inverse of ``apply``."""
        if self.flip_y:
            image = image[::-1]
        if self.flip_x:
            image = image[:, ::-1]
        if self.transposed:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image)


UPRIGHT = Orientation()


def orientation_of(frame: VideoFrame, stream: VideoStream | None) -> Orientation:
    """Read a decoded frame's display matrix and its stream's pixel shape."""
    aspect = read_pixel_aspect(stream)
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation(pixel_aspect=aspect)
    # Row-vector convention: x' = a x + c y, y' = b x + d y; 16.16 fixed point.
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, flip_x=c < 0, flip_y=b < 0, pixel_aspect=aspect)
    return Orientation(flip_x=a < 0, flip_y=d < 0, pixel_aspect=aspect)


def read_pixel_aspect(stream: VideoStream | None) -> Fraction:
    """Return width over height of a stream's pixels: 1 if none, or a nonsensical one, is stated."""
    aspect = stream.sample_aspect_ratio if stream is not None else None
    if not aspect or not 1 <= max(aspect, 1 / aspect) <= MAX_PIXEL_ASPECT:
        return Fraction(1)
    return Fraction(aspect)
