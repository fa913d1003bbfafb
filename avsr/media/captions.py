"""Draw lines of text as white letters with a black edge: masks to lay over a video frame.

PyAV's wheels lack FFmpeg's own filter (libass), so the text is drawn with Pillow in DejaVu Sans.
That font comes with matplotlib on every machine and has Latin, Greek, Cyrillic, Hebrew and Arabic
letters. Pillow's raqm and fribidi join Arabic letters and order them from right to left.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from avsr.errors import MediaError

LINE_CHARACTERS = 42  # that fit into the frame's width, the limit at which subtitles are broken
CHARACTER_WIDTH = 0.58  # of the font's size, on average, with some room
USED_WIDTH = 0.92  # of the frame's width
USED_HEIGHT = 0.9  # of the frame's height
SIZE = 0.055  # of the frame's height
SMALLEST = 6  # px
MARGIN = 0.06  # of the frame's height, below the last line
EDGE = 0.08  # of the font's size
LINE_HEIGHT = 1.25  # of the font's size
DESCENT = 0.25  # of the font's size, below the baseline


@dataclass(frozen=True)
class Caption:
    """A text to show for some time.

    Attributes:
        start: Seconds from time zero.
        end: Seconds from time zero; at this time it is no longer shown.
        lines: Lines from top to bottom, letters in logical order.
        right_to_left: Whether the text is written from right to left.
    """

    start: float
    end: float
    lines: tuple[str, ...]
    right_to_left: bool = False


def check_captions(captions: Sequence[Caption]) -> None:
    """Check that all captions can be drawn on this machine.

    Args:
        captions: The captions.

    Raises:
        MediaError: The font lacks a letter, or Pillow cannot lay out Arabic or Hebrew.
    """
    text = {letter for caption in captions for line in caption.lines for letter in line}
    right_to_left = any(caption.right_to_left for caption in captions) or any(
        unicodedata.bidirectional(letter) in ("R", "AL") for letter in text
    )
    if right_to_left and not _can_shape():
        raise MediaError(
            "cannot draw Arabic or Hebrew into the picture: Pillow finds no raqm and fribidi here"
            " (install the system's libfribidi); subtitles in a file need neither"
        )
    missing = "".join(sorted(letter for letter in text if not _has_glyph(letter)))
    if missing:
        letters = f"{missing[:10]}{'...' if len(missing) > 10 else ''}"
        raise MediaError(
            f"cannot draw '{letters}' into the picture: DejaVu Sans has no such letters;"
            " write the subtitles to a file"
        )


def draw_caption(caption: Caption, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a caption for frames of ``width`` x ``height`` px, centred at the bottom.

    Letters are as large as 42 characters per line allow, and smaller only if a line would not fit.

    Returns:
        Two masks (height, width) uint8: how much the text covers a pixel, and how white it is.
    """
    size = min(SIZE * height, USED_WIDTH * width / (LINE_CHARACTERS * CHARACTER_WIDTH))
    size = max(size, SMALLEST)
    direction = None
    if _can_shape():  # only raqm knows directions
        direction = "rtl" if caption.right_to_left else "ltr"
    longest = (
        max(load_font(100).getlength(line, direction=direction) for line in caption.lines) / 100
    )
    size = min(size, USED_WIDTH * width / longest if longest else size)
    size = min(size, USED_HEIGHT * height / (LINE_HEIGHT * len(caption.lines)))
    font = load_font(max(1, int(size)))
    edge = max(1, round(EDGE * size))
    masks = Image.new("L", (width, height)), Image.new("L", (width, height))
    baseline = height * (1 - MARGIN) - DESCENT * size
    for line in reversed(caption.lines):
        options: Any = {"font": font, "anchor": "ms", "direction": direction, "fill": 255}
        anchor = (width / 2, round(baseline))
        ImageDraw.Draw(masks[0]).text(anchor, line, stroke_width=edge, **options)
        ImageDraw.Draw(masks[1]).text(anchor, line, **options)
        baseline -= LINE_HEIGHT * size
    return np.asarray(masks[0]), np.asarray(masks[1])


def _can_shape() -> bool:
    return bool(features.check("raqm") and features.check("fribidi"))


@lru_cache(maxsize=8)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans in a size of so many px."""
    package = find_spec("matplotlib")  # only located, not imported
    folder = Path(package.origin).parent if package and package.origin else Path()
    path = folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    engine = ImageFont.Layout.RAQM if _can_shape() else ImageFont.Layout.BASIC
    try:
        return ImageFont.truetype(str(path), size, layout_engine=engine)
    except OSError as error:
        raise MediaError(f"no font to draw with: {path} cannot be read") from error


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    """Whether the font has a letter; True for spaces, combining marks and control characters."""
    if letter.isspace() or unicodedata.category(letter)[0] in "MC":
        return True
    mask, no_glyph = load_font(32).getmask(letter), load_font(32).getmask("\uffff")
    return mask.size != no_glyph.size or bytes(mask) != bytes(no_glyph)
