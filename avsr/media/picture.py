"""A video frame of which only the parts in use are converted to grey or RGB.

Most videos store brightness in full size and two colour differences in half of it. Reduced frames
and parts of frames are made from these planes, without converting the whole frame to RGB.
"""

import copy
import functools
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from avsr.media.orientation import Orientation

Image = np.ndarray[Any, np.dtype[np.uint8]]
Matrix = np.ndarray[Any, np.dtype[np.float64]]

PLANES = ("yuv420p", "yuvj420p")
"""FFmpeg's names of the pixel formats whose planes are used as they are stored."""
GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue: BT.601, as OpenCV's grey
RED_BLUE = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # weights of BT.709 and BT.2020 by H.273
OTHER_RED_BLUE = (0.299, 0.114)  # BT.601, also for files that name no colour space


class Picture:
    """A frame (H, W, 3) uint8 RGB. The arrays that it returns must not be written to.

    Args:
        rgb: The frame (H, W, 3) uint8.

    Attributes:
        height: Height, px.
        width: Width, px.
        is_frozen: Whether it has been on screen for seconds: nothing moves in it.
    """

    is_frozen = False

    def __init__(self, rgb: Image) -> None:
        self._rgb = rgb
        self.height, self.width = rgb.shape[:2]

    def freeze(self) -> Self:
        """Return the same picture with ``is_frozen`` set."""
        frozen = copy.copy(self)
        frozen.is_frozen = True
        return frozen

    def rgb(self) -> Image:
        """Return the whole frame (H, W, 3)."""
        return self._rgb

    def grey(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return the part from (x0, y0) to (x1, y1), px, exclusive, in grey (y1 - y0, x1 - x0)."""
        return np.asarray(cv2.cvtColor(self._rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY), np.uint8)

    def resized(self, x0: int, y0: int, x1: int, y1: int, width: int, height: int) -> Image:
        """Resize the part from (x0, y0) to (x1, y1), px, exclusive, to RGB (height, width, 3)."""
        return resize(self._rgb[y0:y1, x0:x1], width, height)

    def sampled(self, step: int) -> Image:
        """Return every ``step``-th pixel of every ``step``-th row in grey."""
        return np.asarray(cv2.cvtColor(self._rgb[::step, ::step], cv2.COLOR_RGB2GRAY), np.uint8)


@dataclass(frozen=True, eq=False)
class _ToRgb:
    """Conversion of (luma, blue, red, 1), as a video stores them, to RGB and grey."""

    matrix: Matrix
    """(3, 4) to RGB."""
    grey: Matrix
    """(4,) to grey."""
    levels: Image
    """(256,) the grey level of each luma value without colour."""
    luma_alone: bool
    """Whether the colour differences have no effect on the grey level."""


@dataclass(frozen=True, eq=False)
class _Planes:
    """Luma (H, W) and both colour differences (H / 2, W / 2), halves rounded up, uint8."""

    luma: Image
    blue: Image
    red: Image
    to_rgb: _ToRgb


def as_picture(frame: "Picture | Image") -> Picture:
    """Wrap a frame as a picture.

    Args:
        frame: RGB (H, W, 3) uint8, or a picture.

    Returns:
        The picture; one that is given is returned as it is.
    """
    return frame if isinstance(frame, Picture) else Picture(frame)


class StoredPicture(Picture):
    """A picture that has the planes of a decoded frame, in one of the formats ``PLANES``."""

    def __init__(self, frame: VideoFrame, orientation: Orientation) -> None:
        self._planes = _planes_of(frame, orientation)
        self.height, self.width = self._planes.luma.shape

    def rgb(self) -> Image:
        """Return the whole frame (H, W, 3)."""
        return self.resized(0, 0, self.width, self.height, self.width, self.height)

    def grey(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return the part from (x0, y0) to (x1, y1), px, exclusive, in grey (y1 - y0, x1 - x0)."""
        to_rgb = self._planes.to_rgb
        if to_rgb.luma_alone:
            return np.asarray(cv2.LUT(self._planes.luma[y0:y1, x0:x1], to_rgb.levels), np.uint8)
        merged = self._merged(x0, y0, x1, y1, x1 - x0, y1 - y0)
        return np.asarray(cv2.transform(merged, to_rgb.grey[None]), np.uint8)

    def resized(self, x0: int, y0: int, x1: int, y1: int, width: int, height: int) -> Image:
        """Resize the part from (x0, y0) to (x1, y1), px, exclusive, to RGB (height, width, 3)."""
        merged = self._merged(x0, y0, x1, y1, width, height)
        return np.asarray(cv2.transform(merged, self._planes.to_rgb.matrix), np.uint8)

    def sampled(self, step: int) -> Image:
        """Return every ``step``-th pixel of every ``step``-th row in grey, without the colours."""
        luma = np.ascontiguousarray(self._planes.luma[::step, ::step])
        return np.asarray(cv2.LUT(luma, self._planes.to_rgb.levels), np.uint8)

    def _merged(self, x0: int, y0: int, x1: int, y1: int, width: int, height: int) -> Image:
        """Resize luma and colour differences of a part to (height, width, 3)."""
        planes = self._planes
        half = slice(y0 // 2, -(-y1 // 2)), slice(x0 // 2, -(-x1 // 2))
        parts = planes.luma[y0:y1, x0:x1], planes.blue[half], planes.red[half]
        return np.asarray(cv2.merge([resize(part, width, height) for part in parts]), np.uint8)


def resize(image: Image, width: int, height: int) -> Image:
    """Resize an image (H, W) or (H, W, 3); when it shrinks, every pixel contributes."""
    # Halving, then bilinear, is five times as fast as OpenCV's mean over fractions of pixels.
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        halved = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        image = np.asarray(halved, np.uint8)
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _planes_of(frame: VideoFrame, orientation: Orientation) -> _Planes:
    stored: list[Any] = list(frame.planes)
    luma, blue, red = (
        orientation.apply(
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[
                : plane.height, : plane.width
            ]
        )
        for plane in stored
    )
    full = frame.format.name == "yuvj420p" or frame.color_range == ColorRange.JPEG
    return _Planes(luma, blue, red, _to_rgb(*RED_BLUE.get(frame.colorspace, OTHER_RED_BLUE), full))


@functools.cache
def _to_rgb(red: float, blue: float, full: bool) -> _ToRgb:
    """Compute the conversion to RGB and grey: ITU-T H.273, 8.3, solved for RGB.

    ``red`` and ``blue`` are their weights in the luma. With ``full`` values are stored as 0 to 255,
    else luma as 16 to 235 and differences as 16 to 240.
    """
    green = 1 - red - blue
    matrix = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    black = np.array([0 if full else 16, 128, 128])
    if not full:
        matrix = matrix * [255 / 219, 255 / 224, 255 / 224]
    matrix = np.column_stack([matrix, -matrix @ black])
    grey = GREY @ matrix
    exact = np.arange(256) * grey[0] + grey[1:3].sum() * 128 + grey[3]
    levels = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    return _ToRgb(matrix, grey, levels, luma_alone=bool(np.abs(grey[1:3]).max() < 1e-3))
