"""Lines of text -> white letters with a black edge, as masks over a picture.

FFmpeg's own filter (libass) is not in PyAV's wheels, so the text is drawn with Pillow, in DejaVu
Sans, which comes with matplotlib on every machine and has Latin, Greek, Cyrillic, Hebrew and
Arabic. Joining Arabic letters and laying them out from right to left is the work of raqm and
fribidi within Pillow.
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

LINE_CHARACTERS = 42  # that fit into the picture's width, as subtitles are broken
CHARACTER_WIDTH = 0.58  # of the font's size, on average, with some room
USED_WIDTH = 0.92  # of the picture
USED_HEIGHT = 0.9
SIZE = 0.055  # of the picture's height
SMALLEST = 6  # px
MARGIN = 0.06  # of the picture's height, below the last line
EDGE = 0.08  # of the font's size
LINE_HEIGHT = 1.25  # of the font's size
DESCENT = 0.25  # of the font's size, below the baseline


@dataclass(frozen=True)
class Caption:
    """Text in a picture for a while."""

    start: float
    """Seconds."""
    end: float
    """Seconds; at this time it is gone."""
    lines: tuple[str, ...]
    """In logical order, from the upper one down."""
    right_to_left: bool = False


def check_captions(captions: Sequence[Caption]) -> None:
    """Raise MediaError, in one line, if there is text that cannot be drawn here."""
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
        shown = f"{missing[:10]}{'...' if len(missing) > 10 else ''}"
        raise MediaError(
            f"cannot draw '{shown}' into the picture: DejaVu Sans has no such letters;"
            " write the subtitles to a file"
        )


def draw_caption(caption: Caption, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Two masks (height, width) uint8: how much the text covers, and how white it is there.

    Lines are centred at the bottom. They are as large as 42 characters a line allow, smaller only
    where they would not fit.
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
        place = (width / 2, round(baseline))
        ImageDraw.Draw(masks[0]).text(place, line, stroke_width=edge, **options)
        ImageDraw.Draw(masks[1]).text(place, line, **options)
        baseline -= LINE_HEIGHT * size
    return np.asarray(masks[0]), np.asarray(masks[1])


def _can_shape() -> bool:
    return bool(features.check("raqm") and features.check("fribidi"))


@lru_cache(maxsize=8)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of so many pixels."""
    found = find_spec("matplotlib")  # the package is not loaded, only found
    folder = Path(found.origin).parent if found and found.origin else Path()
    path = folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    engine = ImageFont.Layout.RAQM if _can_shape() else ImageFont.Layout.BASIC
    try:
        return ImageFont.truetype(str(path), size, layout_engine=engine)
    except OSError as error:
        raise MediaError(f"no font to draw with: {path} cannot be read") from error


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    """Whether the font has a letter. Spaces, marks upon letters and controls are not asked for."""
    if letter.isspace() or unicodedata.category(letter)[0] in "MC":
        return True
    mask, nothing = load_font(32).getmask(letter), load_font(32).getmask("\uffff")
    return mask.size != nothing.size or bytes(mask) != bytes(nothing)
