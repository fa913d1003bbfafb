"""Drawn heads: their mouths follow the phones, and the face stage finds and reads them."""

import itertools
import unicodedata

import numpy as np
import pytest

from avsr.errors import CorpusError
from avsr.face import track_mouth
from avsr.face.readability import is_readable
from avsr.languages import MUAVIC_LANGUAGES
from avsr.synthetic.drawn_articulation import (
    CHANNELS,
    SHAPES,
    VISEMES,
    animate_mouth,
    phone_visemes,
)
from avsr.synthetic.drawn_head import draw_drawn_identity, render_drawn_frames
from avsr.synthetic.speech import Phone, synthesize_speech
from avsr.synthetic.text import vocabulary
from avsr.synthetic.voices import Voice


def spoken(*symbols: str, seconds: float = 0.12) -> tuple[Phone, ...]:
    """Phones of equal length, with a pause of 0.2 s before and after them."""
    ends = 0.2 + seconds * np.arange(len(symbols) + 1)
    phones = [
        Phone(s, float(a), float(b))
        for s, (a, b) in zip(symbols, itertools.pairwise(ends), strict=True)
    ]
    return (Phone("", 0.0, 0.2), *phones, Phone("", float(ends[-1]), float(ends[-1]) + 0.2))


def animate(phones: tuple[Phone, ...], seed: int = 0) -> dict[str, np.ndarray]:
    return animate_mouth(phones, round(phones[-1].end * 25), np.random.default_rng(seed))


@pytest.mark.parametrize("language", MUAVIC_LANGUAGES)
def test_every_letter_of_every_language_has_a_shape(language):
    pytest.importorskip("espeakng_loader")
    words, _ = vocabulary(language)
    speech = synthesize_speech(" ".join(words[:120]), language, Voice("m3", rate=200))
    symbols = {phone.symbol for phone in speech.phones if phone.symbol}
    letters = {letter for symbol in symbols for letter in unicodedata.normalize("NFD", symbol)}
    unknown = {c for c in letters - VISEMES.keys() if unicodedata.category(c) in ("Ll", "Lu", "Lo")}
    assert unknown == set()


def test_visemes_of_phones():
    assert phone_visemes("") == ("rest",)
    assert phone_visemes("h") == ()
    assert phone_visemes("aɪ") == ("A", "i")
    assert phone_visemes("tʃ") == ("t", "S")
    assert phone_visemes("ɔ̃") == ("O",)
    assert phone_visemes("y", "fr") == ("u",)
    assert phone_visemes("y", "ru") == ("i",)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("seconds", [0.05, 0.06, 0.12])
def test_lips_shut_in_a_frame_of_every_p(seed, seconds):
    phones = spoken("a", "p", "a", "m", "i", "b", "o", seconds=seconds)
    curves = animate(phones, seed)
    opening = curves["top"] + curves["bottom"]
    for phone in phones:
        frames = np.arange(int(phone.start * 25), int(phone.end * 25) + 1)
        if phone.symbol in ("p", "m", "b"):
            assert opening[frames].min() < 0.0
        if phone.symbol == "a" and seconds == 0.12:
            assert opening[frames].max() > 9.0


def test_rounding_looks_ahead_over_sounds_that_leave_it_open():
    rounded, spread = animate(spoken("a", "t", "n", "u")), animate(spoken("a", "t", "n", "i"))
    middle = int((0.2 + 0.12 * 2.5) * 25)  # of the n
    assert rounded["half"][middle] < 0.95 < 1.0 < spread["half"][middle]
    assert rounded["bottom"][middle] == pytest.approx(spread["bottom"][middle])


def test_the_mouth_rests_before_and_after():
    curves = animate(spoken("a", "u"))
    for channel in ("top", "bottom", "jaw", "tuck", "out", "pucker"):
        assert curves[channel][0] == pytest.approx(0.0, abs=1e-9)
        assert curves[channel][-1] == pytest.approx(0.0, abs=0.05)
    assert set(curves) == set(CHANNELS)
    empty = animate_mouth((), 5, np.random.default_rng(0))
    assert np.allclose(empty["half"], SHAPES["rest"].half)


def test_heads_repeat_and_splits_differ():
    def draw(split):
        rng = np.random.default_rng(5)
        identity = draw_drawn_identity(split, rng)
        return identity, list(render_drawn_frames(identity, spoken("a"), 3, rng, size=(96, 64)))

    (one, frames), (again, same), (other, _) = draw("test"), draw("test"), draw("valid")
    assert one == again
    assert one.skin != other.skin
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 3
    assert all(np.array_equal(a, b) for a, b in zip(frames, same, strict=True))
    with pytest.raises(CorpusError, match="unknown split 'tset'"):
        draw("tset")


@pytest.mark.parametrize("seed", range(2))
def test_the_face_stage_reads_a_drawn_head(seed):
    phones = spoken("a", "p", "u", "m")
    rng = np.random.default_rng(seed)
    identity = draw_drawn_identity("test", rng)
    num = round(phones[-1].end * 25)
    track = track_mouth(render_drawn_frames(identity, phones, num, rng))
    assert track.found.all()
    assert is_readable(track).mean() >= 0.9
    # the middle of the mouth is darker when it is open than when it is shut
    darkness = [float(np.percentile(crop[36:64, 36:60], 3)) for crop in track.mouth]
    wide, shut = round(0.26 * 25), round(0.37 * 25)
    assert min(darkness[wide - 1 : wide + 2]) < 0.7 * max(darkness[shut - 1 : shut + 2])
