"""Scores of the flag: shares and AUROC by hand."""

import numpy as np
import pytest

from avsr.evaluation import UtteranceResult
from avsr.evaluation.reliability import auroc, reliability_scores


def utterance(reference, hypothesis, doubt, language="en"):
    return UtteranceResult(
        utterance_id="u",
        language=language,
        reference=reference,
        hypothesis=hypothesis,
        doubt=doubt,
    )


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    high, low = rng.integers(0, 9, 50), rng.integers(0, 7, 60)
    pairs = np.mean((high[:, None] > low) + (high[:, None] == low) / 2)
    assert auroc(high, low) == pytest.approx(pairs)
    assert auroc([1, 2], [0]) == 1
    assert auroc([0], [0]) == 0.5
    assert auroc([1, -1], [0], weights=[3, 1]) == 0.75


def test_shares_and_auroc():
    scores = reliability_scores(
        [
            utterance("a b", "a b", -1.0),
            utterance("a b", "a c", 0.5),  # half of the words are not more than half
            utterance("a b", "c d", 1.0),
            utterance("a b", "c d", 0.0, "de"),
            utterance("a b", "", None, "fr"),  # failed
        ]
    )
    assert scores == {
        "unreliable": 0.5,
        "by_language": {"de": 0.0, "en": pytest.approx(2 / 3)},
        "wrong": 0.5,
        "auroc": 0.75,
    }


def test_without_wrong_clips_or_without_statistics():
    assert reliability_scores([utterance("a", "a", -1.0)])["auroc"] is None
    assert reliability_scores([utterance("a", "a", None)]) is None
