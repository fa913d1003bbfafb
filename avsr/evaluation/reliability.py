"""Scores of the reliability flag: how often it is raised, and whether over wrong transcripts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avsr.corpus.normalization import normalize_text
from avsr.evaluation.scores import UtteranceResult, word_errors

WRONG_WER = 0.5  # a transcript with more word errors than half of the reference's words is wrong


def reliability_scores(utterances: Sequence[UtteranceResult]) -> dict[str, Any] | None:
    """Score the flag of one condition: plain values for JSON.

    Returns:
        Share of clips that are not reliable, in all and by language; share of wrong transcripts;
        and the area under the ROC curve of the doubt over wrong against right ones, None if all are
        right or all wrong. None if no clip was judged.
    """
    judged = [utterance for utterance in utterances if utterance.doubt is not None]
    if not judged:
        return None
    by_language: dict[str, list[bool]] = {}
    doubts: dict[bool, list[float]] = {True: [], False: []}
    for utterance in judged:
        assert utterance.doubt is not None
        by_language.setdefault(utterance.language, []).append(utterance.doubt > 0)
        doubts[_is_wrong(utterance)].append(utterance.doubt)
    return {
        "unreliable": sum(map(sum, by_language.values())) / len(judged),
        "by_language": {
            code: sum(flags) / len(flags) for code, flags in sorted(by_language.items())
        },
        "wrong": len(doubts[True]) / len(judged),
        "auroc": auroc(doubts[True], doubts[False]) if all(doubts.values()) else None,
    }


def _is_wrong(utterance: UtteranceResult) -> bool:
    reference = normalize_text(utterance.reference, utterance.language)
    hypothesis = normalize_text(utterance.hypothesis, utterance.language)
    return word_errors(reference, hypothesis).rate > WRONG_WER


def auroc(
    positives: Sequence[float], negatives: Sequence[float], weights: Sequence[float] | None = None
) -> float:
    """Compute the area under the ROC curve: P(positive > negative) + P(equal) / 2.

    Args:
        positives: Scores that should be high.
        negatives: Scores that should be low.
        weights: Weight of each positive; default: equal.
    """
    ordered = np.sort(negatives)
    ranks = np.searchsorted(ordered, positives) + np.searchsorted(ordered, positives, "right")
    return float(np.average(ranks / (2 * len(ordered)), weights=weights))
