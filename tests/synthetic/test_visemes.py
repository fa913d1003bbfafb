"""Trajectories of the mouth: gestures are reached, neighbours blend, times are kept."""

from dataclasses import dataclass

import numpy as np
import pytest

from avsr.synthetic.visemes import NUM_PARAMETERS, PARAMETERS, REST, mouth_trajectory, phone_targets

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


def trajectory(*symbols: str, seed: int = 0, **options: float) -> np.ndarray:
    return mouth_trajectory(speak(*symbols, **options), 25, np.random.default_rng(seed))


def frame_of(index: int, length: float = 0.08, lead: float = 0.2) -> int:
    return int((lead + (index + 0.5) * length) * 25)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("symbol", "parameter", "least"),
    [
        ("p", "closure", 0.9),
        ("b", "closure", 0.8),
        ("m", "closure", 0.7),
        ("f", "tuck", 0.85),
        ("v", "tuck", 0.7),
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
    )
    closure = track[6:16, COLUMN["closure"]]
    assert closure.argmax() + 6 == 10
    assert np.allclose(closure[3], closure[5], atol=0.15)  # frames 9 and 11


def test_silence_is_rest() -> None:
    track = mouth_trajectory([], 10, np.random.default_rng(0))
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
