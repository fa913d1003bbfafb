"""Coarticulation: phonemes with times -> movements of jaw, lips, teeth and tongue at 25 Hz.

Every phoneme pulls each articulation parameter towards a target with a weight that decays with
the distance in time (the dominance functions of Cohen and Massaro, 1993), so that neighbours blend
as in speech. Gestures that a sound requires (lips shut for p, lip on teeth for f, tongue between
teeth for th) are then enforced in the frame nearest to the sound.

Phonemes of one viseme have one target, as in life: voicing, nasality and the tongue behind the
teeth cannot be seen. Only the habits of the speaker and chance make two of them differ.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from avsr.rates import FPS
from avsr.synthetic.speaking_style import SpeakingStyle, draw_style


class TimedPhone(Protocol):
    """A phoneme: its symbol and its times in seconds."""

    @property
    def symbol(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


# The articulation parameters, in the order of the trajectory's columns.
PARAMETERS = (
    "jaw",  # 0 shut .. 1 wide open
    "width",  # -1 rounded .. 0 rest .. 1 spread
    "protrusion",  # 0 .. 1 lips pushed forward
    "upper_raise",  # 0 .. 1 upper lip raised, upper teeth shown
    "lower_drop",  # 0 .. 1 lower lip drawn down, lower teeth shown
    "tuck",  # 0 .. 1 lower lip against the upper teeth (f, v)
    "closure",  # 0 .. 1 lips shut (from 0.7 on) and pressed together (1)
    "tongue_tip",  # 0 down .. 1 at the ridge behind the upper teeth
    "tongue_front",  # 0 drawn back .. 0.6 behind the teeth .. 1 between the teeth
    "tongue_body",  # 0 low .. 1 high
)
NUM_PARAMETERS = len(PARAMETERS)
_INDEX = {name: i for i, name in enumerate(PARAMETERS)}
REST = np.array([0.04, 0, 0, 0, 0, 0, 0.72, 0.3, 0.5, 0.3], np.float32)
_LOWER = np.array([0, -1.1, 0, 0, 0, 0, 0, 0, 0, 0], np.float32)
_UPPER = np.full(NUM_PARAMETERS, 1.1, np.float32)

# Time (s) by which a target extends past its segment: the jaw is slow, tongue and lips are fast.
_REACH = np.array([0.035, 0.035, 0.040, 0.028, 0.028, 0.016, 0.014, 0.020, 0.022, 0.028])

# Parameters of required gestures, which reach their target regardless of the neighbours.
_CRITICAL = tuple(_INDEX[p] for p in ("tuck", "closure", "tongue_tip", "tongue_front"))
_CRITICAL_FROM = 0.6  # targets from here on are required gestures, smaller ones are tendencies


def _vowel(jaw: float, width: float, protrusion: float, front: float, body: float) -> dict:
    """Return the targets of a vowel; those of lips and teeth follow from jaw and width."""
    spread = max(width, 0.0)
    return {
        "jaw": jaw,
        "width": width,
        "protrusion": protrusion,
        "upper_raise": 0.10 + 0.25 * spread + 0.10 * jaw,
        "lower_drop": 0.05 + 0.35 * spread,
        "tuck": 0.0,
        "closure": 0.0,
        "tongue_tip": 0.05,
        "tongue_front": front,
        "tongue_body": body,
    }


# Phonemes that look alike, as IPA letters. Consonants after the groups of Jeffers and Barley,
# "Speechreading" (1971), but w and ɹ apart, and the trilled r an alveolar; vowels after MPEG-4
# (ISO/IEC 14496-2: A e I Q U), with a neutral and a second rounded class between them.
VISEMES = {
    "bilabial": "pbm",
    "bilabial approximant": "β",
    "labiodental": "fv",
    "dental": "θð",
    "alveolar": "tdnlrɾɭ",
    "sibilant": "sz",
    "postalveolar": "ʃʒ",
    "alveolo-palatal": "ɕʑ",
    "palatal": "jʝçcɟɲʎʲ",  # ʲ on its own is a glide
    "back": "kɡŋxɣqχʁħʕhʔ",
    "rounded": "w",
    "puckered": "ɹ",
    "close spread": "iɪɨ",
    "mid spread": "eɛ",
    "open": "æaɑʌɐ",
    "neutral": "əɜ",
    "open round": "ɔɒœ",
    "mid round": "oø",
    "close round": "uʊyʏ",
}
_VOWELS = {
    "close spread": _vowel(0.20, 0.75, 0.0, 0.54, 0.85),
    "mid spread": _vowel(0.46, 0.60, 0.0, 0.50, 0.58),
    "open": _vowel(0.84, 0.15, 0.0, 0.36, 0.18),
    "neutral": _vowel(0.36, 0.0, 0.05, 0.35, 0.45),
    "open round": _vowel(0.64, -0.50, 0.42, 0.20, 0.30),
    "mid round": _vowel(0.44, -0.72, 0.66, 0.25, 0.45),
    "close round": _vowel(0.18, -0.92, 0.92, 0.30, 0.85),
}
_CONSONANTS: dict[str, dict[str, float]] = {
    "bilabial": {"closure": 0.90, "jaw": 0.11},
    "bilabial approximant": {"tuck": 0.0, "closure": 0.45, "jaw": 0.15, "protrusion": 0.25},
    "labiodental": {"tuck": 0.92, "jaw": 0.16, "upper_raise": 0.40, "width": 0.10},
    "dental": {"tongue_front": 1.0, "tongue_tip": 0.40, "jaw": 0.30, "lower_drop": 0.20},
    "alveolar": {"tongue_tip": 0.95, "tongue_front": 0.62, "jaw": 0.26, "lower_drop": 0.12},
    "sibilant": {
        **{"jaw": 0.08, "width": 0.38, "upper_raise": 0.50, "lower_drop": 0.70},
        "tongue_tip": 0.55,
    },
    "postalveolar": {
        **{"jaw": 0.13, "width": -0.50, "protrusion": 0.78, "upper_raise": 0.60},
        "lower_drop": 0.65,
    },
    "alveolo-palatal": {
        **{"jaw": 0.13, "width": 0.25, "protrusion": 0.22, "upper_raise": 0.60},
        "lower_drop": 0.65,
    },
    "palatal": {"jaw": 0.18, "width": 0.55, "tongue_body": 0.95, "tongue_front": 0.55},
    "back": {"jaw": 0.38},  # what happens behind the teeth does not show
    "rounded": {"width": -1.05, "protrusion": 1.05, "jaw": 0.08},
    "puckered": {"tongue_tip": 0.60, "jaw": 0.22, "width": -0.50, "protrusion": 0.5},
}
_VISEME_OF = {letter: name for name, letters in VISEMES.items() for letter in letters}
# Other symbols for the same sounds: ASCII mnemonics of espeak-ng and variants of IPA.
_ALIASES = dict(
    zip(
        "TDSZN0@EIOUVA&3YWCRHQX?BJ*gLPGFMʀɫɻɥɯɘɵɤɚɝɸʋʈɖɳʂʐɦ;",
        "θðʃʒŋɒəɛɪɔʊʌɑɐɜøœçʁħɣχʔβɟɾɡlpɡfmʁlɹwɨəøʌəɜfvtdnʃʒhʲ",
        strict=True,
    )
)
# Consonants must not take on the tuck or closure of their neighbours.
_LABIAL = ("bilabial", "bilabial approximant", "labiodental")
_CONSONANTS = {
    name: values if name in _LABIAL else {"tuck": 0.0, "closure": 0.0, **values}
    for name, values in _CONSONANTS.items()
}
_ROUNDED_MARK = "ʷ"  # the only mark whose effect shows; palatalization and length do not
_ROUNDED = {"width": -0.70, "protrusion": 0.60}
_VOWEL_WEIGHT = 1.0
_CONSONANT_WEIGHT = 1.6  # a consonant's own gestures beat the vowels around it
_TENDENCY_WEIGHT = 0.15  # parameters that a consonant leaves open are determined by its neighbours

_MOVED = [_INDEX[p] for p in ("jaw", "width", "protrusion", "upper_raise", "lower_drop")]
NEUTRAL = np.array([0.25, 0, 0.05, 0.10, 0.08, 0, 0, 0.3, 0.5, 0.3])  # from which effort counts
IDLE = 0.06  # size of movements in pauses

_SWITCH = re.compile(r"^\(.*\)$")  # "(en)": a language switch, silent

Target = tuple[np.ndarray, np.ndarray, float]  # values (P,), weights (P,), share of the duration


def _target(values: dict[str, float], weight: float, share: float) -> Target:
    """Return a target from the parameters that a sound determines."""
    target = REST.copy()
    target[_INDEX["closure"]] = 0.0
    weights = np.full(NUM_PARAMETERS, _TENDENCY_WEIGHT, np.float32)
    for name, value in values.items():
        target[_INDEX[name]] = value
        weights[_INDEX[name]] = weight
    # Rounding spreads to neighbours; consonants that are not rounded yield to it.
    rounded = values.get("protrusion", 0.0) >= 0.5
    for name in ("width", "protrusion"):
        if name in values:
            weights[_INDEX[name]] = _CONSONANT_WEIGHT if rounded else min(weight, 0.8)
    return target, weights, share


SILENCE: Target = (REST, np.full(NUM_PARAMETERS, 0.8, np.float32), 1.0)


def _letter(letter: str, language: str | None) -> tuple[bool, dict[str, float]] | None:
    """Return (is a vowel, values) of one letter; None for marks."""
    if letter == "y" and language == "ru":
        letter = "ɨ"  # espeak-ng writes the Russian vowel as y, which is French u elsewhere
    letter = _ALIASES.get(letter, letter)
    if letter in _VISEME_OF:
        viseme = _VISEME_OF[letter]
        is_vowel = viseme in _VOWELS
        return is_vowel, dict((_VOWELS if is_vowel else _CONSONANTS)[viseme])
    plain = unicodedata.normalize("NFD", letter)[0].lower()
    if plain != letter and plain.isascii() and plain.isalpha():
        return _letter(plain, language)
    category = unicodedata.category(letter)
    return (True, dict(_VOWELS["neutral"])) if category in ("Ll", "Lu", "Lo") else None


@lru_cache(maxsize=4096)
def phone_targets(symbol: str, language: str | None = None) -> tuple[Target, ...]:
    """Return the articulation targets of a phoneme in order.

    Diphthongs and affricates have two targets, silent symbols none; a pause ("", "_:") has the rest
    position. A letter that is not in the tables counts as its plain Latin letter or as a neutral
    vowel.

    Args:
        symbol: IPA, or espeak-ng's ASCII mnemonic.
        language: Language code; it matters for Russian only.
    """
    if _SWITCH.match(symbol):
        return ()
    letters = symbol.lstrip("',%=|ˈˌ")
    if not letters or letters.startswith("_"):
        return (SILENCE,)
    parts: list[tuple[bool, dict[str, float]]] = []
    for letter in letters:
        if parts and letter == _ROUNDED_MARK:
            parts[-1][1].update(_ROUNDED)
            continue
        if parts and letter in "ʲ;0123456789":  # soft consonants; digits distinguish variants: "I2"
            continue
        part = _letter(letter, language)
        if part and (not parts or part != parts[-1]):  # "ss" is one long gesture
            parts.append(part)
    if not parts:
        return (SILENCE,)
    shares = [1.0] if len(parts) == 1 else [0.55] + [0.45 / (len(parts) - 1)] * (len(parts) - 1)
    return tuple(
        _target(values, _VOWEL_WEIGHT if vowel else _CONSONANT_WEIGHT, share)
        for (vowel, values), share in zip(parts, shares, strict=True)
    )


def mouth_trajectory(
    phones: Sequence[TimedPhone],
    num_frames: int,
    rng: np.random.Generator,
    *,
    language: str | None = None,
    style: SpeakingStyle | None = None,
) -> np.ndarray:
    """Compute the articulation of a sequence of phonemes.

    Args:
        phones: Phonemes with times.
        num_frames: Number of video frames T.
        rng: Varies every target, and draws the style.
        language: Language code; it matters for Russian only, whose y is not rounded.
        style: Habits of the speaker; default: drawn from ``rng``.

    Returns:
        Parameters (T, P) float32 in the order of ``PARAMETERS``; row k is at (k + 0.5) / 25 s.
    """
    style = style or draw_style(rng)
    segments = _segments(phones, num_frames / FPS, language)
    weights, pauses = segments.weights, segments.pauses
    values = _personal_targets(segments, style, rng)
    times = (np.arange(num_frames) + 0.5) / FPS - style.lag
    middle, half = (segments.starts + segments.ends) / 2, (segments.ends - segments.starts) / 2
    distance = np.maximum(np.abs(times[:, None] - middle) - 0.75 * half, 0.0)  # (T, N)
    total = np.full((num_frames, NUM_PARAMETERS), 1e-9)
    blended = total * REST
    for reach in np.unique(_REACH):
        columns = np.flatnonzero(reach == _REACH)
        dominance = np.exp(-distance / (reach * style.reach))
        total[:, columns] += dominance @ weights[:, columns]
        blended[:, columns] += dominance @ (weights * values)[:, columns]
    trajectory = blended / total
    _reach_gestures(trajectory, values, weights, middle + style.lag)
    in_pause = (np.abs(times[:, None] - middle[pauses]) < half[pauses]).any(axis=1)
    drift = 0.015 + IDLE * style.idle * in_pause
    trajectory += _slow_noise(num_frames, rng) * drift[:, None]
    return trajectory.clip(_LOWER, _UPPER).astype(np.float32)


@dataclass(frozen=True)
class _Segments:
    """Targets in time, with rest before and after the speech."""

    values: np.ndarray  # (N, P)
    weights: np.ndarray  # (N, P)
    starts: np.ndarray  # (N,) s
    ends: np.ndarray  # (N,) s
    pauses: np.ndarray  # (N,) bool


def _segments(phones: Sequence[TimedPhone], duration: float, language: str | None) -> _Segments:
    """Return the targets of phonemes in a clip of ``duration`` seconds."""
    rows: list[tuple[Target, float, float]] = []
    for phone in phones:
        start = phone.start
        for target in phone_targets(phone.symbol, language):
            end = start + target[2] * (phone.end - phone.start)
            rows.append((target, start, end))
            start = end
    first = min((start for _, start, _ in rows), default=duration)
    last = max((end for _, _, end in rows), default=duration)
    rows.append((SILENCE, min(first, 0.0) - 0.2, first))
    rows.append((SILENCE, last, max(last, duration) + 0.2))
    targets, starts, ends = zip(*rows, strict=True)
    return _Segments(
        values=np.stack([values for values, _, _ in targets]),
        weights=np.stack([weights for _, weights, _ in targets]),
        starts=np.array(starts),
        ends=np.array(ends),
        pauses=np.array([target is SILENCE for target in targets]),
    )


def _personal_targets(
    segments: _Segments, style: SpeakingStyle, rng: np.random.Generator
) -> np.ndarray:
    """Return the targets (N, P) as one speaker reaches them.

    They depend on the viseme, never on which of its phonemes is meant.
    """
    effort = np.ones(NUM_PARAMETERS)
    effort[_MOVED] = style.effort * rng.normal(1.0, 0.05, len(_MOVED)).clip(0.85, 1.15)
    values = NEUTRAL + effort * (segments.values - NEUTRAL)
    _, viseme = np.unique(segments.values, axis=0, return_inverse=True)
    versions = rng.normal(0.0, 1.0, (int(viseme.max()) + 1, NUM_PARAMETERS))
    deviation = style.individuality * versions[viseme.ravel()]
    deviation += rng.normal(0.0, style.spread, values.shape)
    deviation[:, _INDEX["closure"]] *= 0.4
    values = values + deviation * (segments.weights > _TENDENCY_WEIGHT)

    jaw, width, protrusion, upper, lower = (values[:, column] for column in _MOVED)
    lips = (1 - style.jaw_use) * 0.4 * jaw.clip(0)
    upper += 0.6 * lips + 0.12 * style.smile
    lower += lips
    jaw *= style.jaw_use
    width[width < 0] *= style.rounding
    width += 0.35 * style.smile * (1 - protrusion.clip(0, 1))
    protrusion *= style.rounding

    parted = (style.parted + 0.3 * style.idle * rng.standard_normal(len(values))).clip(0, 1)
    parted = parted * segments.pauses
    values[:, _INDEX["closure"]] *= 1 - parted
    jaw += 0.12 * parted
    return values


def _reach_gestures(
    trajectory: np.ndarray, values: np.ndarray, weights: np.ndarray, middle: np.ndarray
) -> None:
    """Raise required gestures to their target in the frame nearest to the sound (in place)."""
    nearest = np.floor(middle * FPS).astype(int)
    for column in _CRITICAL:
        required = (values[:, column] >= _CRITICAL_FROM) & (weights[:, column] > 1.0)
        for n in np.flatnonzero(required & (nearest >= 0) & (nearest < len(trajectory))):
            frame = nearest[n]
            trajectory[frame, column] = max(trajectory[frame, column], values[n, column])


def _slow_noise(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (T, P) of unit size that drifts over about a quarter of a second."""
    white = rng.standard_normal((num_frames + 6, NUM_PARAMETERS))
    sums = np.cumsum(np.vstack([np.zeros((1, NUM_PARAMETERS)), white]), axis=0)
    return (sums[7:] - sums[:-7]) / np.sqrt(7.0)
