"""How the mouth of a drawn head moves: key shapes of visemes, joined by raised cosines.

This is on purpose another model than ``visemes``, which moves the faces of the training corpus:
every sound has one of 16 key shapes (the visemes of MPEG-4 Face Animation, ISO/IEC 14496-2, and a
neutral vowel), it holds its shape for a part of its duration, and the mouth goes from one to the
next along half a cosine. Rounding looks ahead (Henke, 1966): a sound that leaves it open takes the
one of the next sound that does not.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avsr.rates import FPS
from avsr.synthetic.speech import Phone

Floats = NDArray[np.float64]

MOVE = 0.15  # s, the longest movement from one shape to the next; before it the mouth waits
MIN_CLOSURE = 0.045  # s, longer than a frame, so that one of them shows the closure
FULL_VOWEL = 0.09  # s; shorter vowels fall short of their shape


@dataclass(frozen=True, kw_only=True)
class KeyShape:
    """The mouth of a viseme, in units of the head (the outer corners of the eyes are 76 apart)."""

    top: float  # inner line of the upper lip above the line of the closed lips
    bottom: float  # inner line of the lower lip below it
    jaw: float  # by which the chin is lowered
    thick: float = 1.0  # factor on the thickness of the lips
    tongue: float = 0.2  # 0 low .. 1 its tip behind the upper teeth
    out: float = 0.0  # 0 .. 1 tongue between the teeth
    tuck: float = 0.0  # 0 .. 1 lower lip under the upper teeth
    half: float | None = None  # factor on the width at rest; None: as of the next sound
    pucker: float | None = None  # 0 .. 1 lips pushed forward


CHANNELS = tuple(field.name for field in fields(KeyShape))

SHAPES = {
    "rest": KeyShape(top=0.0, bottom=0.0, jaw=0.0, half=1.0, pucker=0.0),
    "p": KeyShape(top=-0.3, bottom=-0.3, jaw=0.4, thick=0.62),
    "f": KeyShape(top=2.4, bottom=1.2, jaw=1.0, thick=0.8, tuck=1.0),
    "T": KeyShape(top=1.8, bottom=5.0, jaw=3.6, out=1.0, tongue=0.6),
    "t": KeyShape(top=1.8, bottom=4.0, jaw=2.4, tongue=0.9),
    "k": KeyShape(top=1.8, bottom=5.6, jaw=4.6, tongue=0.1),
    "S": KeyShape(top=3.4, bottom=4.6, jaw=1.0, thick=1.12, tongue=0.5, half=0.78, pucker=0.6),
    "s": KeyShape(top=2.4, bottom=3.6, jaw=0.6, tongue=0.6, half=1.08, pucker=0.0),
    "n": KeyShape(top=2.0, bottom=5.2, jaw=4.0, tongue=1.0),
    "r": KeyShape(top=2.0, bottom=4.4, jaw=2.8, tongue=0.6, half=0.88, pucker=0.3),
    "A": KeyShape(top=2.8, bottom=14.0, jaw=12.5, thick=0.94, half=1.0, pucker=0.0),
    "e": KeyShape(top=2.6, bottom=9.0, jaw=7.2, tongue=0.35, half=1.1, pucker=0.0),
    "i": KeyShape(top=2.3, bottom=4.8, jaw=2.4, thick=0.92, tongue=0.5, half=1.18, pucker=0.0),
    "O": KeyShape(top=3.2, bottom=10.5, jaw=8.6, thick=1.06, half=0.78, pucker=0.6),
    "u": KeyShape(top=1.6, bottom=3.8, jaw=3.0, thick=1.14, half=0.60, pucker=1.0),
    "@": KeyShape(top=2.0, bottom=6.0, jaw=4.8, tongue=0.3, half=1.0, pucker=0.1),
}
CLOSURES = ("p", "f", "T")
VOWELS = ("A", "e", "i", "O", "u", "@")

_LETTERS = {
    "p": "pbm",
    "f": "fvɸβʋⱱ",
    "T": "θð",
    "t": "tdʈɖɗ",
    "k": "kɡgqɢxɣχʁŋɴcɟçʝʀ",
    "S": "ʃʒɕʑʂʐ",
    "s": "sz",
    "n": "nlɲɳʎɭɫ",
    "r": "rɹɾɻɽ",
    "A": "aɑʌɐæ",
    "e": "eɛɜɝœ",
    "i": "iɪjɨʲ",
    "O": "oɔɒøɵɤɞ",
    "u": "uʊwyʏʉɯʍɥʷ",
    "@": "əɚɘ",
    "": "hɦħʕʔʰː",  # the mouth is that of the neighbours
}
VISEMES = {letter: viseme for viseme, letters in _LETTERS.items() for letter in letters}


@lru_cache(maxsize=4096)
def phone_visemes(symbol: str, language: str | None = None) -> tuple[str, ...]:
    """Return the visemes of a phone in order: keys of ``SHAPES``; two of a diphthong, none of h.

    Args:
        symbol: IPA as of espeak-ng; "" is a pause.
        language: Language code; it matters for Russian only, whose y is not rounded.
    """
    if not symbol:
        return ("rest",)
    visemes: list[str] = []
    for letter in unicodedata.normalize("NFD", symbol):
        if letter == "y" and language == "ru":
            letter = "ɨ"
        viseme = VISEMES.get(letter, "")
        if viseme and viseme not in visemes[-1:]:
            visemes.append(viseme)
    return tuple(visemes)


def animate_mouth(
    phones: Sequence[Phone],
    num_frames: int,
    rng: np.random.Generator,
    language: str | None = None,
) -> dict[str, Floats]:
    """Move the mouth along phones.

    Args:
        phones: Phones with times.
        num_frames: Number of video frames T.
        rng: Varies how far the speaker opens and rounds the lips, and every shape.
        language: Language code.

    Returns:
        Each channel of ``KeyShape`` (T,); value k is at (k + 0.5) / 25 s.
    """
    keys = list(_place_keys(phones, num_frames / FPS, language))
    opening, rounding = rng.uniform(0.78, 1.15), rng.uniform(0.8, 1.15)
    times = (np.arange(num_frames) + 0.5) / FPS
    curves = {}
    for channel in CHANNELS:
        named = [key for key in keys if getattr(SHAPES[key.viseme], channel) is not None]
        values = np.array([getattr(SHAPES[key.viseme], channel) for key in named], float)
        fullness = np.array([key.fullness for key in named])
        around = np.convolve(np.pad(values, 1, mode="edge"), (0.5, 0.0, 0.5), "valid")
        values = fullness * values + (1 - fullness) * around
        rest = getattr(SHAPES["rest"], channel)
        values = rest + (values - rest) * (1 + 0.06 * rng.standard_normal(len(values)).clip(-2, 2))
        if channel in ("top", "bottom", "jaw"):
            shut = np.array([key.viseme in CLOSURES for key in named])
            values = np.where(shut, values, opening * values)
        elif channel == "half":
            values = 1 + rounding * (values - 1)
        elif channel == "pucker":
            values = np.minimum(1.0, rounding * values)
        curves[channel] = _join(named, values, times)
    return curves


@dataclass(frozen=True)
class _Key:
    """A viseme and the time for which its shape is held."""

    viseme: str
    start: float  # s
    end: float
    fullness: float  # 0 .. 1, how much of the shape is reached


def _place_keys(phones: Sequence[Phone], duration: float, language: str | None) -> Iterator[_Key]:
    """Yield the shapes of a clip, with rest before and after the speech."""
    first = phones[0].start if phones else duration
    last = phones[-1].end if phones else duration
    yield _Key("rest", min(0.0, first) - 1.0, first - 0.06, 1.0)
    for phone in phones:
        visemes = phone_visemes(phone.symbol, language)
        for number, viseme in enumerate(visemes):
            length = (phone.end - phone.start) / len(visemes)
            start = phone.start + number * length
            if viseme in CLOSURES:
                held = max(MIN_CLOSURE, 0.6 * length)
                middle = start + 0.4 * length
                yield _Key(viseme, middle - held / 2, middle + held / 2, 1.0)
            elif viseme == "rest":
                if length > 0.16:
                    yield _Key(viseme, start + 0.08, start + length - 0.06, 1.0)
            else:
                fullness = min(1.0, length / FULL_VOWEL) if viseme in VOWELS else 1.0
                yield _Key(viseme, start + 0.35 * length, start + 0.65 * length, fullness)
    yield _Key("rest", last + 0.08, max(last, duration) + 1.0, 1.0)


def _join(keys: Sequence[_Key], values: Floats, times: Floats) -> Floats:
    """Interpolate values that are held for the time of their keys, at ``times``."""
    starts = np.array([key.start for key in keys])
    ends = np.array([key.end for key in keys])
    curve = np.full(len(times), values[0])
    for n in range(len(keys) - 1):
        arrive = max(starts[n + 1], ends[n] + 0.01)
        leave = max(ends[n], arrive - MOVE)
        phase = ((times - leave) / (arrive - leave)).clip(0, 1)
        curve += (values[n + 1] - values[n]) * (0.5 - 0.5 * np.cos(np.pi * phase))
    return curve
