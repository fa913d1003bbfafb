"""The rule between sound, lips and both: fitted to planted errors, written and read."""

import json

import numpy as np
import pytest

from avsr.errors import ModelError
from avsr.model.reliability import FILE, Norm, Reliability, read_reliability
from avsr.model.sense_rule import (
    LETTERS,
    SenseRule,
    SenseWeights,
    choose_by_letters,
    fit_sense_weights,
)

NOTHING = dict.fromkeys(LETTERS, 0.0)
WEIGHTS = SenseWeights(
    audio={"bias": -1.0, "agreement": -2.0}, video={"bias": -1.0, "sound_letters": -1.0}
)
SCORES = SenseWeights(audio={"bias": -1.0, "sound_score": 1.0}, video={"bias": -2.0})


def planted(number=400):
    """Clips whose lips are wrong where the agreement is negative, and whose sound is noisy where
    its letters are unsure: statistics (list of dicts) and errors per word (N, 3)."""
    rng = np.random.default_rng(0)
    wrong, noisy = rng.random((2, number)) < 0.4
    agreement = np.where(wrong, -0.5, 0.7) + rng.normal(0, 0.15, number)
    letters = np.where(noisy, -1.2, -0.1) + rng.normal(0, 0.15, number)
    rows = [
        {"agreement": float(a), "sound_letters": float(s)}
        for a, s in zip(agreement, letters, strict=True)
    ]
    sound = np.where(noisy, 0.9, 0.3)
    both = np.where(wrong, 0.95, np.where(noisy, 0.4, 0.2))
    lips = np.where(wrong, 1.1, 0.6)
    return rows, np.stack([both, sound, lips], axis=1)


def test_planted_choices_are_found():
    rows, errors = planted()
    fitted = fit_sense_weights(rows, errors, np.ones(len(rows)), LETTERS, 0.01)
    order = ("av", "audio", "video")
    chosen = [errors[i, order.index(fitted.choose(row))] for i, row in enumerate(rows)]
    assert np.mean(chosen) < errors.min(1).mean() + 0.01
    assert np.mean(chosen) < errors.mean(0).min() - 0.1


def test_what_makes_no_difference_is_read_from_both():
    rows, errors = planted()
    fitted = fit_sense_weights(rows, np.full_like(errors, 0.5), np.ones(len(rows)), LETTERS, 0.01)
    assert {fitted.choose(row) for row in rows} == {"av"}


@pytest.mark.parametrize(("clear", "choice"), [(-0.3, "audio"), (-1.5, "audio"), (-1.7, "av")])
def test_what_is_not_clear_in_itself_does_not_decide_alone(clear, choice):
    statistics = {**NOTHING, "agreement": -0.6, "sound_clarity": clear, "lips_clarity": 0.0}
    assert choose_by_letters(WEIGHTS, statistics) == choice


def test_if_lips_are_not_clear_the_next_best_decides():
    statistics = {"agreement": -0.6, "sound_letters": -1.5, "sound_clarity": -0.4}
    assert choose_by_letters(WEIGHTS, {**statistics, "lips_clarity": -0.4}) == "video"
    assert choose_by_letters(WEIGHTS, {**statistics, "lips_clarity": -1.7}) == "audio"


def test_the_highest_score_decides_and_ties_are_for_both():
    assert WEIGHTS.choose({**NOTHING, "agreement": -0.4}) == "av"
    assert WEIGHTS.choose({**NOTHING, "agreement": -0.5}) == "av", "a tie"
    assert WEIGHTS.choose({**NOTHING, "agreement": -0.6}) == "audio"
    assert WEIGHTS.choose({**NOTHING, "agreement": -0.6, "sound_letters": -1.5}) == "video"


@pytest.fixture
def reliability():
    norm = Norm(median=0.0, spread=1.0, limit=-2.0)
    return Reliability(clips=50, statistics={"token_score": norm}, threshold=2.0)


def write(folder, reliability, **changes):
    values = json.loads(reliability.to_json())
    if "senses" in values:
        values["senses"] |= changes
    (folder / FILE).write_text(json.dumps(values))


def test_the_file_keeps_the_rule_and_old_files_have_none(reliability, tmp_path):
    assert "senses" not in json.loads(reliability.to_json())
    write(tmp_path, reliability)
    assert read_reliability(tmp_path).senses is None
    rule = SenseRule(letters=WEIGHTS, scores=SCORES, report={"clips": 40})
    with_rule = Reliability(**{**vars(reliability), "senses": rule})
    write(tmp_path, with_rule)
    assert read_reliability(tmp_path) == with_rule


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"letters": 3}, "not subscriptable"),
        ({"scores": {"audio": {"bias": 0}}}, "it has no 'video'"),
        ({"letters": {"audio": {}, "video": {}}}, "no bias for audio"),
        ({"letters": {"audio": {"bias": 0, "x": 1}, "video": {"bias": 0}}}, "statistic 'x'"),
        ({"letters": {"audio": {"bias": "0"}, "video": {"bias": 0}}}, "bias is 0, not a finite"),
        ({"letters": {"audio": {"bias": 1e999}, "video": {"bias": 0}}}, "bias is inf, not"),
        ({"report": []}, "the report of senses is no mapping"),
    ],
)
def test_a_broken_rule_is_one_line(reliability, tmp_path, changes, problem):
    rule = SenseRule(letters=WEIGHTS, scores=SCORES, report={})
    write(tmp_path, Reliability(**{**vars(reliability), "senses": rule}), **changes)
    with pytest.raises(ModelError, match=problem) as caught:
        read_reliability(tmp_path)
    assert "\n" not in str(caught.value)
    assert "avsr calibrate" in str(caught.value)
