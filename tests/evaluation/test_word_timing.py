import pytest

from avsr.evaluation.word_timing import boundary_errors, time_scores
from avsr.transcript import Word

SAID = [
    {"word": "One", "start": 0.1, "end": 0.4},
    {"word": "two", "start": 0.4, "end": 0.9},
    {"word": "three", "start": 1.0, "end": 1.5},
]


def test_words_that_were_understood_count_with_both_ends():
    words = (
        Word("one", 0.12, 0.36, 1.0),
        Word("too", 0.5, 0.8, 1.0),
        Word("and", 0.8, 0.9, 1.0),
        Word("three", 1.05, 1.5, 1.0),
    )
    assert boundary_errors(SAID, words, "en") == pytest.approx((20, 40, 50, 0))


def test_nothing_understood_has_no_times():
    assert boundary_errors(SAID, (), "en") == ()
    assert time_scores([(), ()]) is None


def test_scores_by_hand():
    assert time_scores([(20.0, 40.0), (), (50.0, 150.0)]) == {
        "boundaries": 4,
        "median_ms": 45.0,
        "near": 0.75,
    }
