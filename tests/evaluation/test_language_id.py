import pytest

from avsr.evaluation.language_id import calibration_error, identification


def guess(spoken, seconds, **probs):
    return spoken, probs, seconds


def test_by_hand():
    scores = identification(
        [
            guess("de", 1.0, de=0.9, el=0.1, fr=0.0),
            guess("de", 3.0, de=0.2, el=0.7, fr=0.1),
            guess("el", 6.0, de=0.05, el=0.95, fr=0.0),
            guess("fr", 2.0, de=0.5, el=0.3, fr=0.2),
        ]
    )
    assert scores["accuracy"] == 0.5
    assert scores["nbest_accuracy"] == {"1": 0.5, "2": 0.75, "3": 1.0}
    assert scores["confusion"] == {"de": {"de": 1, "el": 1}, "el": {"el": 1}, "fr": {"de": 1}}
    assert scores["by_length"] == {
        "0-2 s": {"utterances": 1, "accuracy": 1.0},
        "2-5 s": {"utterances": 2, "accuracy": 0.0},
        "over 5 s": {"utterances": 1, "accuracy": 1.0},
    }
    # bins: 0.9 and 0.95 right (gap 0.1 and 0.05), 0.7 wrong, 0.5 wrong
    assert scores["calibration_error"] == pytest.approx((0.15 + 0.7 + 0.5) / 4)


def test_calibration_is_over_bins_not_utterances():
    assert calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False]) == 0.0
    assert calibration_error([1.0], [True]) == 0.0


def test_nothing_was_guessed():
    assert identification([]) is None
