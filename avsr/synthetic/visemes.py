"""Coarticulation: phonemes with times -> movements of jaw, lips, teeth and tongue at 25 Hz.

Every phoneme pulls each articulation parameter towards a target with a weight that decays with
the distance in time (the dominance functions of Cohen and Massaro, 1993), so that neighbours blend
as in speech. Gestures that a sound requires (lips shut for p, lip on teeth for f, tongue between
teeth for th) are then enforced in the frame nearest to the sound. Phonemes with the same place of
articulation differ slightly (p presses harder than b, and b harder than m), more than in reality,
so that a small model can learn them.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from avsr.rates import FPS


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


# Targets by IPA letter.
_VOWELS = {
    "i": _vowel(0.16, 0.95, 0.0, 0.58, 0.95),
    "ɪ": _vowel(0.27, 0.55, 0.0, 0.52, 0.75),
    "e": _vowel(0.38, 0.75, 0.0, 0.52, 0.68),
    "ɛ": _vowel(0.55, 0.50, 0.0, 0.48, 0.48),
    "æ": _vowel(0.74, 0.55, 0.0, 0.48, 0.25),
    "a": _vowel(0.92, 0.25, 0.0, 0.42, 0.12),
    "ɑ": _vowel(1.00, -0.05, 0.0, 0.15, 0.08),
    "ʌ": _vowel(0.70, 0.05, 0.0, 0.28, 0.25),
    "ɐ": _vowel(0.58, 0.12, 0.0, 0.36, 0.32),
    "ɒ": _vowel(0.78, -0.40, 0.25, 0.12, 0.15),
    "ɔ": _vowel(0.64, -0.60, 0.50, 0.12, 0.28),
    "o": _vowel(0.44, -0.78, 0.70, 0.12, 0.45),
    "ʊ": _vowel(0.28, -0.75, 0.75, 0.15, 0.65),
    "u": _vowel(0.17, -1.00, 1.00, 0.12, 0.85),
    "y": _vowel(0.15, -0.88, 0.90, 0.58, 0.92),
    "ʏ": _vowel(0.22, -0.72, 0.75, 0.54, 0.78),
    "ø": _vowel(0.32, -0.68, 0.65, 0.52, 0.68),
    "œ": _vowel(0.52, -0.52, 0.50, 0.48, 0.45),
    "ə": _vowel(0.34, 0.05, 0.0, 0.35, 0.42),
    "ɜ": _vowel(0.40, -0.22, 0.20, 0.35, 0.50),
    "ɨ": _vowel(0.20, 0.60, 0.0, 0.25, 0.90),
}

_CONSONANTS: dict[str, dict[str, float]] = {
    "p": {"closure": 1.00, "jaw": 0.06, "width": 0.05},
    "b": {"closure": 0.88, "jaw": 0.14, "protrusion": 0.15},
    "m": {"closure": 0.76, "jaw": 0.12},
    "f": {"tuck": 1.00, "jaw": 0.12, "upper_raise": 0.50, "width": 0.15},
    "v": {"tuck": 0.84, "jaw": 0.20, "upper_raise": 0.30, "width": 0.05},
    "β": {"tuck": 0.0, "closure": 0.45, "jaw": 0.15, "protrusion": 0.25},
    "w": {"width": -1.05, "protrusion": 1.05, "jaw": 0.08, "tongue_body": 0.85},
    "θ": {"tongue_front": 1.05, "tongue_tip": 0.45, "jaw": 0.26, "lower_drop": 0.25},
    "ð": {"tongue_front": 0.95, "tongue_tip": 0.35, "jaw": 0.34, "lower_drop": 0.15},
    "t": {"tongue_tip": 0.95, "tongue_front": 0.62, "jaw": 0.18, "lower_drop": 0.25},
    "d": {"tongue_tip": 0.88, "tongue_front": 0.62, "jaw": 0.28, "lower_drop": 0.12},
    "n": {"tongue_tip": 0.98, "tongue_front": 0.55, "jaw": 0.30, "upper_raise": 0.25},
    "l": {"tongue_tip": 1.10, "tongue_front": 0.72, "jaw": 0.46, "upper_raise": 0.20},
    "r": {"tongue_tip": 0.72, "tongue_front": 0.42, "jaw": 0.28, "width": -0.20},
    "ɹ": {"tongue_tip": 0.60, "tongue_front": 0.22, "jaw": 0.22, "width": -0.50, "protrusion": 0.5},
    "s": {"jaw": 0.06, "width": 0.45, "upper_raise": 0.60, "lower_drop": 0.85, "tongue_tip": 0.55},
    "z": {"jaw": 0.10, "width": 0.35, "upper_raise": 0.42, "lower_drop": 0.60, "tongue_tip": 0.55},
    "ʃ": {"jaw": 0.10, "width": -0.55, "protrusion": 0.85, "upper_raise": 0.70, "lower_drop": 0.75},
    "ʒ": {"jaw": 0.16, "width": -0.45, "protrusion": 0.70, "upper_raise": 0.50, "lower_drop": 0.55},
    "j": {"jaw": 0.15, "width": 0.65, "tongue_body": 1.0, "tongue_front": 0.58},
    "ç": {"jaw": 0.20, "width": 0.60, "tongue_body": 0.95, "upper_raise": 0.25, "lower_drop": 0.3},
    "k": {"jaw": 0.26, "tongue_body": 0.95, "tongue_front": 0.15, "tongue_tip": 0.0},
    "ɡ": {"jaw": 0.34, "tongue_body": 0.88, "tongue_front": 0.18, "tongue_tip": 0.0},
    "ŋ": {"jaw": 0.38, "tongue_body": 0.90, "tongue_front": 0.15, "tongue_tip": 0.0},
    "x": {"jaw": 0.40, "tongue_body": 0.70, "tongue_front": 0.05, "tongue_tip": 0.0},
    "ʁ": {"jaw": 0.44, "tongue_body": 0.60, "tongue_front": 0.05, "tongue_tip": 0.0},
    "ħ": {"jaw": 0.55, "tongue_body": 0.10, "tongue_front": 0.05, "width": 0.1},
    "h": {"jaw": 0.40},
    "ʔ": {"jaw": 0.30},
    "ʲ": {"width": 0.55, "tongue_body": 0.9},  # on its own: a glide
}
_PALATAL = {"width": 0.45, "tongue_body": 0.9, "tongue_front": 0.5}
_CONSONANTS |= {
    "c": _CONSONANTS["k"] | _PALATAL,
    "ɟ": _CONSONANTS["ɡ"] | _PALATAL,
    "ʝ": _CONSONANTS["j"] | {"jaw": 0.22},
    "ɲ": _CONSONANTS["n"] | _PALATAL,
    "ʎ": _CONSONANTS["l"] | _PALATAL,
    "ɕ": _CONSONANTS["ʃ"] | {"width": 0.25, "protrusion": 0.25},
    "ʑ": _CONSONANTS["ʒ"] | {"width": 0.25, "protrusion": 0.20},
    "ɭ": _CONSONANTS["l"] | {"tongue_front": 0.55, "jaw": 0.38},
    "ɾ": _CONSONANTS["r"] | {"tongue_tip": 0.88, "jaw": 0.32},
    "q": _CONSONANTS["k"] | {"tongue_body": 0.75, "tongue_front": 0.0, "jaw": 0.38},
    "ɣ": _CONSONANTS["x"] | {"jaw": 0.36},
    "χ": _CONSONANTS["x"] | {"jaw": 0.48, "tongue_body": 0.60},
    "ʕ": _CONSONANTS["ħ"] | {"jaw": 0.62, "width": -0.05},
}
# Other symbols for the same sounds: ASCII mnemonics of espeak-ng and variants of IPA.
_ALIASES = dict(
    zip(
        "TDSZN0@EIOUVA&3YWCRHQX?BJ*gLPGFMʀɫɻɥɯɘɵɤɚɝɸʋʈɖɳʂʐɦ;",
        "θðʃʒŋɒəɛɪɔʊʌɑɐɜøœçʁħɣχʔβɟɾɡlpɡfmʁlɹjɨəøʌəɜfvtdnszhʲ",
        strict=True,
    )
)
# Consonants must not take on the tuck or closure of their neighbours.
_OPEN = {k: {"tuck": 0.0, "closure": 0.0, **v} for k, v in _CONSONANTS.items()}
_LABIAL = frozenset("pbmfvβ")

# Marks that follow a letter and change its mouth shape; length, stress and nasality do not.
_MARKS: dict[str, dict[str, float]] = {
    "ʲ": {"width": 0.45, "tongue_body": 0.75},
    "^": {"width": 0.45, "tongue_body": 0.75},
    "\u032a": {"tongue_body": 0.60, "width": -0.20, "protrusion": 0.15},  # dental: Arabic emphatics
    "ˤ": {"tongue_body": 0.60, "width": -0.20, "protrusion": 0.15},
    "ʷ": {"width": -0.70, "protrusion": 0.60},
}
_VOWEL_WEIGHT = 1.0
_CONSONANT_WEIGHT = 1.6  # a consonant's own gestures beat the vowels around it
_TENDENCY_WEIGHT = 0.15  # parameters that a consonant leaves open are determined by its neighbours

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
    if letter in _VOWELS:
        return True, dict(_VOWELS[letter])
    if letter in _CONSONANTS:
        return False, dict((_CONSONANTS if letter in _LABIAL else _OPEN)[letter])
    plain = unicodedata.normalize("NFD", letter)[0].lower()
    if plain != letter and plain.isascii() and plain.isalpha():
        return _letter(plain, language)
    category = unicodedata.category(letter)
    return (True, dict(_VOWELS["ə"])) if category in ("Ll", "Lu", "Lo") else None


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
        if parts and letter in _MARKS:
            parts[-1][1].update(_MARKS[letter])
            continue
        if parts and letter in "0123456789":  # digits distinguish variants: "I2"
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
) -> np.ndarray:
    """Compute the articulation of a sequence of phonemes.

    Args:
        phones: Phonemes with times.
        num_frames: Number of video frames T.
        rng: Varies the effort of the speaker and every target.
        language: Language code; it matters for Russian only, whose y is not rounded.

    Returns:
        Parameters (T, P) float32 in the order of ``PARAMETERS``; row k is at (k + 0.5) / 25 s.
    """
    values, weights, starts, ends = _segments(phones, num_frames / FPS, language)
    effort = rng.normal(1.0, 0.07, NUM_PARAMETERS).clip(0.82, 1.18)
    effort[[_INDEX["tuck"], _INDEX["closure"]]] = 1.0
    noise = rng.normal(0.0, 0.04, values.shape)
    noise[:, _INDEX["closure"]] *= 0.4
    times = (np.arange(num_frames) + 0.5) / FPS
    sounding = values * effort + noise * (weights > _TENDENCY_WEIGHT)

    middle, half = (starts + ends) / 2, (ends - starts) / 2
    distance = np.maximum(np.abs(times[:, None] - middle) - 0.75 * half, 0.0)  # (T, N)
    total = np.full((num_frames, NUM_PARAMETERS), 1e-9)
    blended = total * REST
    for reach in np.unique(_REACH):
        columns = np.flatnonzero(reach == _REACH)
        dominance = np.exp(-distance / reach)
        total[:, columns] += dominance @ weights[:, columns]
        blended[:, columns] += dominance @ (weights * sounding)[:, columns]
    trajectory = blended / total
    _reach_gestures(trajectory, sounding, weights, middle)
    trajectory += _slow_noise(num_frames, rng) * 0.015
    return trajectory.clip(_LOWER, _UPPER).astype(np.float32)


def _segments(
    phones: Sequence[TimedPhone], duration: float, language: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return targets (N, P), weights (N, P), starts and ends (N,), with rest around the speech."""
    rows: list[tuple[np.ndarray, np.ndarray, float, float]] = []
    for phone in phones:
        start = phone.start
        for values, weights, share in phone_targets(phone.symbol, language):
            end = start + share * (phone.end - phone.start)
            rows.append((values, weights, start, end))
            start = end
    first = min((row[2] for row in rows), default=duration)
    last = max((row[3] for row in rows), default=duration)
    rows.append((SILENCE[0], SILENCE[1], min(first, 0.0) - 0.2, first))
    rows.append((SILENCE[0], SILENCE[1], last, max(last, duration) + 0.2))
    columns = list(zip(*rows, strict=True))
    return np.stack(columns[0]), np.stack(columns[1]), np.array(columns[2]), np.array(columns[3])


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
