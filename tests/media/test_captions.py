"""Text drawn into masks: where it is, how large, and what is refused."""

import numpy as np
import pytest
from PIL import features

from avsr.errors import MediaError
from avsr.media import Caption, check_captions
from avsr.media.captions import draw_caption

WIDTH, HEIGHT = 640, 360
ALPHABETS = "Straße, ça va? ñ ¿¡ œ Ελληνικά ώ Русский ё مرحبا؟ 123 …—«»“”"
SHAPES = features.check("raqm") and features.check("fribidi")
needs_raqm = pytest.mark.skipif(not SHAPES, reason="Pillow has no raqm or fribidi here")


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not zero; the last two are behind it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_text_is_centred_at_the_bottom_with_a_black_edge() -> None:
    cover, white = draw_caption(Caption(0, 1, ("HH", "HHHHHHHH")), WIDTH, HEIGHT)
    assert cover.shape == white.shape == (HEIGHT, WIDTH)
    left, top, right, bottom = box(cover)
    assert abs((left + right) - WIDTH) <= 3
    assert top > 0.8 * HEIGHT
    assert bottom < 0.95 * HEIGHT
    inner = box(white)
    assert left < inner[0] < inner[2] < right
    assert (cover.astype(int) >= white - 2.0).all()
    assert white.max() == 255


def test_lines_stand_one_below_the_other() -> None:
    one, _ = draw_caption(Caption(0, 1, ("HHHH",)), WIDTH, HEIGHT)
    two, _ = draw_caption(Caption(0, 1, ("HH", "HHHH")), WIDTH, HEIGHT)
    assert box(one)[3] == box(two)[3]
    middle = (box(one)[1] + box(two)[1]) // 2  # the upper line is above the lower one
    assert two[: box(one)[1] - 1].any()
    assert two[middle].sum() < two[box(one)[1] + 5].sum()


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (96, 96), (160, 120), (1920, 800)])
@pytest.mark.parametrize("lines", [("m" * 42, "i" * 42), ("W" * 60,), tuple("abcdefghijkl")])
def test_all_of_it_fits(size: tuple[int, int], lines: tuple[str, ...]) -> None:
    width, height = size
    cover, _ = draw_caption(Caption(0, 1, lines), width, height)
    left, top, right, bottom = box(cover)
    assert left > 0
    assert top > 0
    assert right < width
    assert bottom < height


def test_an_ordinary_line_is_as_large_in_every_caption() -> None:
    """44 characters of common width need no shrinking: captions do not jump in size."""
    heights = [
        box(draw_caption(Caption(0, 1, (line,)), WIDTH, HEIGHT)[0])
        for line in ("Hdg", "He had made the harbour by the old grey road")
    ]
    assert heights[0][3] - heights[0][1] == heights[1][3] - heights[1][1]


@needs_raqm
def test_arabic_runs_from_right_to_left() -> None:
    """A full stop in the end is at the left; laid out from left to right it is at the right."""

    def middle_of_letters(right_to_left: bool) -> float:
        """Pixels right of the picture's middle. The stop is the lowest ink: the top has letters."""
        _, white = draw_caption(Caption(0, 1, ("ا ا ا.",), right_to_left), WIDTH, HEIGHT)
        top = box(white)[1]
        return np.flatnonzero((white[top : top + 4] > 128).any(0)).mean() - WIDTH / 2

    assert middle_of_letters(True) > 0 > middle_of_letters(False)


@needs_raqm
def test_arabic_letters_join() -> None:
    """Three joined letters have no gap between; the same three apart have two."""

    def gaps(text: str) -> int:
        _, white = draw_caption(Caption(0, 1, (text,), True), WIDTH, HEIGHT)
        ink = white.any(0).astype(int)
        return int((np.diff(ink) == 1).sum()) - 1

    assert gaps("سسس") == 0
    assert gaps("س\u200cس\u200cس") == 2


@needs_raqm
def test_the_font_has_the_nine_languages() -> None:
    check_captions([Caption(0, 1, (ALPHABETS,))])


def test_letters_that_the_font_lacks_are_named() -> None:
    with pytest.raises(MediaError, match="你好") as error:
        check_captions([Caption(0, 1, ("hello", "你好"))])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lacking", ["raqm", "fribidi"])
def test_arabic_is_refused_where_it_cannot_be_shaped(
    monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setattr(features, "check", lambda name: name != lacking)
    for caption in (Caption(0, 1, ("مرحبا",)), Caption(0, 1, ("IBM",), right_to_left=True)):
        with pytest.raises(MediaError, match="cannot draw Arabic") as error:
            check_captions([caption])
        assert "\n" not in str(error.value)
    check_captions([Caption(0, 1, ("Ελληνικά",))])
