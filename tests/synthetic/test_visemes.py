"""Trajectories of the mouth: gestures are reached, neighbours blend, times are kept."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from avsr.synthetic.speaking_style import SpeakingStyle, draw_style
from avsr.synthetic.visemes import (
    NUM_PARAMETERS,
    PARAMETERS,
    REST,
    VISEMES,
    mouth_trajectory,
    phone_targets,
)

CLEAR = SpeakingStyle()
COLUMN = {name: i for i, name in enumerate(PARAMETERS)}


@dataclass(frozen=True)
class Phone:
    symbol: str
    start: float
    end: float


def speak(*symbols: str, length: float = 0.08, lead: float = 0.2) -> list[Phone]:
    return [
        Phone(symbol, lead + i * length, lead + (i + 1) * length)
        for i, symbol in enumerate(symbols)
    ]


def trajectory(
    *symbols: str, seed: int = 0, style: SpeakingStyle = CLEAR, **options: float
) -> np.ndarray:
    phones = speak(*symbols, **options)
    return mouth_trajectory(phones, 25, np.random.default_rng(seed), style=style)


def frame_of(index: int, length: float = 0.08, lead: float = 0.2) -> int:
    return int((lead + (index + 0.5) * length) * 25)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("symbol", "parameter", "least"),
    [
        ("p", "closure", 0.8),
        ("b", "closure", 0.8),
        ("m", "closure", 0.8),
        ("f", "tuck", 0.75),
        ("v", "tuck", 0.75),
        ("θ", "tongue_front", 0.85),
        ("l", "tongue_tip", 0.85),
    ],
)
def test_gesture_is_reached_between_open_vowels(
    symbol: str, parameter: str, least: float, seed: int
) -> None:
    # 40 ms, one frame: the vowels around must not swallow the consonant.
    track = trajectory("a", symbol, "a", length=0.04, seed=seed)
    assert track[frame_of(1, 0.04), COLUMN[parameter]] >= least


def test_lips_open_between_two_closures() -> None:
    track = trajectory("p", "a", "p")
    assert track[frame_of(1), COLUMN["closure"]] < 0.15
    assert track[frame_of(1), COLUMN["jaw"]] > 0.4


def test_rounding_spreads_to_the_consonant_before() -> None:
    before_u = trajectory("s", "u", length=0.06)[frame_of(0, 0.06), COLUMN["width"]]
    before_i = trajectory("s", "i", length=0.06)[frame_of(0, 0.06), COLUMN["width"]]
    assert before_u < before_i - 0.15


def test_row_k_is_the_middle_of_frame_k() -> None:
    # Lips shut from 0.40 to 0.44 s: frame 10 covers just that.
    track = mouth_trajectory(
        [Phone("a", 0.2, 0.4), Phone("p", 0.4, 0.44), Phone("a", 0.44, 0.64)],
        25,
        np.random.default_rng(0),
        style=SpeakingStyle(),
    )
    closure = track[6:16, COLUMN["closure"]]
    assert closure.argmax() + 6 == 10
    assert np.allclose(closure[3], closure[5], atol=0.15)  # frames 9 and 11


def test_silence_is_rest() -> None:
    track = mouth_trajectory([], 10, np.random.default_rng(0), style=SpeakingStyle())
    assert track.shape == (10, NUM_PARAMETERS)
    assert track.dtype == np.float32
    assert np.abs(track - REST).max() < 0.2
    assert np.abs(track.mean(axis=0) - REST).max() < 0.08


def test_no_frames() -> None:
    assert mouth_trajectory(speak("a"), 0, np.random.default_rng(0)).shape == (0, NUM_PARAMETERS)


def test_same_random_state_same_trajectory_and_another_varies() -> None:
    assert np.array_equal(trajectory("p", "a", seed=3), trajectory("p", "a", seed=3))
    assert not np.array_equal(trajectory("p", "a", seed=3), trajectory("p", "a", seed=4))


def test_sound_classes_are_apart() -> None:
    shapes = {
        s: phone_targets(s)[0][0] for s in ("p", "a", "o", "u", "i", "f", "θ", "s", "ʃ", "l", "k")
    }
    for one, other in ((a, b) for a in shapes for b in shapes if a < b):
        assert np.abs(shapes[one] - shapes[other]).max() > 0.35, (one, other)


@pytest.mark.parametrize(
    ("one", "same"),
    [("iː", "i"), ("ss", "s"), ("ˈa", "a"), ("'aI", "aɪ"), ("tS", "tʃ"), ("I2", "ɪ"), ("ã", "a")],
)
def test_spellings_of_the_same_sound(one: str, same: str) -> None:
    for (values, weights, share), (other, others, part) in zip(
        phone_targets(one), phone_targets(same), strict=True
    ):
        assert np.array_equal(values, other)
        assert np.array_equal(weights, others)
        assert share == part


def test_russian_y_is_not_rounded() -> None:
    width = COLUMN["width"]
    assert phone_targets("y", "ru")[0][0][width] > 0 > phone_targets("y")[0][0][width]


def test_affricates_and_diphthongs_have_two_targets() -> None:
    assert [len(phone_targets(s)) for s in ("tʃʲ", "aɪ", "əl", "a", "")] == [2, 2, 2, 1, 1]


def test_change_of_language_is_no_sound() -> None:
    assert phone_targets("(en)") == ()


@pytest.mark.parametrize("symbol", ["日", "ж", "é", "\ufffd", "#", "_:", "'", "n_", "ʘ", "12", " "])
def test_unknown_symbols_do_no_harm(symbol: str) -> None:
    track = trajectory("a", symbol, "a")
    assert np.isfinite(track).all()
    assert np.abs(track).max() <= 1.1


SOUNDS = 24  # of an utterance that are classified
DECISIONS = 1200


def in_context(symbols: list[str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Movements around sounds (N, 7 frames * P), and which sound it is (N,).

    Sounds stand between drawn neighbours in utterances of drawn speakers; neighbours and durations
    do not depend on the sound.
    """
    neighbours = [letters[0] for letters in VISEMES.values()]
    rows, labels = [], []
    for _ in range(DECISIONS // SOUNDS):
        numbers = rng.permutation(np.arange(SOUNDS) % len(symbols))
        around = [str(letter) for letter in rng.choice(neighbours, 2 * SOUNDS)]
        parts = ((around[2 * i], symbols[n], around[2 * i + 1]) for i, n in enumerate(numbers))
        length = float(rng.uniform(0.05, 0.12))
        phones = speak(*(symbol for part in parts for symbol in part), length=length)
        track = mouth_trajectory(phones, int(phones[-1].end * 25) + 5, rng)
        for i, number in enumerate(numbers):
            middle = frame_of(3 * i + 1, length)
            rows.append(track[middle - 3 : middle + 4].ravel())
            labels.append(number)
    return np.array(rows), np.array(labels, np.int32)


def balanced_accuracy(symbols: list[str], planted: float = 0.0) -> float:
    """Of a support vector machine that sees true movements, on utterances that are new to it.

    ``planted`` moves the jaw of the first sound.
    """
    rng = np.random.default_rng(len(symbols))
    (train, labels), (test, answers) = (in_context(symbols, rng) for _ in range(2))
    for rows, sounds in ((train, labels), (test, answers)):
        rows.reshape(len(rows), -1, NUM_PARAMETERS)[sounds == 0, 3, COLUMN["jaw"]] += planted
    middle, size = train.mean(axis=0), train.std(axis=0) + 1e-6
    classifier = cv2.ml.SVM_create()
    classifier.setKernel(cv2.ml.SVM_LINEAR)
    classifier.setC(0.01)
    classifier.train((train - middle) / size, cv2.ml.ROW_SAMPLE, labels)
    _, decisions = classifier.predict((test - middle) / size)
    return float(np.mean([(decisions[answers == n] == n).mean() for n in range(len(symbols))]))


@pytest.mark.parametrize("viseme", [name for name, letters in VISEMES.items() if len(letters) > 1])
def test_phonemes_of_a_viseme_look_alike(viseme: str) -> None:
    """A classifier that knows the true movements in context is at chance within a viseme."""
    letters = list(VISEMES[viseme])
    accuracy = balanced_accuracy(letters)
    assert accuracy <= 1 / len(letters) + 0.05  # 3.5 standard errors of two classes


def test_visemes_look_different() -> None:
    consonants = ["p", "f", "θ", "t", "s", "ʃ", "j", "k", "w"]
    vowels = ["i", "e", "a", "ɔ", "u"]
    assert balanced_accuracy(consonants) > 0.5  # chance: 0.11
    assert balanced_accuracy(vowels) > 0.6  # chance: 0.2


def test_a_planted_difference_would_be_noticed() -> None:
    assert balanced_accuracy(["p", "b"], planted=0.1) > 0.6


@pytest.mark.parametrize("spelling", ["tʃ", "pʲ", "t̪", "iː"])
def test_voicing_softness_and_length_do_not_show(spelling: str) -> None:
    other = {"tʃ": "dʒ", "pʲ": "m", "t̪": "n", "iː": "ɪ"}[spelling]
    for one, same in zip(phone_targets(spelling), phone_targets(other), strict=True):
        assert np.array_equal(one[0], same[0])


@pytest.mark.parametrize("seed", range(12))
def test_every_speaker_shuts_the_lips_and_opens_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    phones = speak("a", "p", "a", "m", "a", length=0.1)
    track = mouth_trajectory(phones, 25, rng, style=draw_style(rng))
    spoken = track[5:18, COLUMN["closure"]]  # 0.2 to 0.7 s
    assert spoken.max() > 0.7
    assert spoken.min() < 0.3


def test_habits_show() -> None:
    def mean(parameter: str, *symbols: str, **habits: float) -> float:
        track = trajectory(*symbols, style=SpeakingStyle(**habits))
        return float(track[5 : 5 + 2 * len(symbols), COLUMN[parameter]].mean())

    word = ("m", "a", "k", "u", "t", "a")
    assert mean("jaw", *word, effort=0.5) < mean("jaw", *word) < mean("jaw", *word, effort=1.2)
    assert mean("protrusion", "u", rounding=0.6) < mean("protrusion", "u") - 0.1
    assert mean("width", "t", "a", "t", smile=1.0) > mean("width", "t", "a", "t") + 0.2
    assert mean("jaw", *word, jaw_use=0.6) < mean("jaw", *word)
    assert mean("lower_drop", *word, jaw_use=0.6) > mean("lower_drop", *word)
    rest = {parted: mean("closure", "_:", "_:", parted=parted) for parted in (0.0, 1.0)}
    assert rest[0.0] > 0.6
    assert rest[1.0] < 0.2
    changes = [
        np.abs(np.diff(trajectory(*word, style=SpeakingStyle(reach=reach)), axis=0)).mean()
        for reach in (0.6, 1.8)
    ]
    assert changes[0] > 1.2 * changes[1]  # slurred speech moves less


def test_lips_may_lag_behind_the_sound() -> None:
    late = trajectory("a", "p", "a", style=SpeakingStyle(lag=0.04))[:, COLUMN["closure"]]
    assert np.allclose(late[6:14], trajectory("a", "p", "a")[5:13, COLUMN["closure"]], atol=0.1)
