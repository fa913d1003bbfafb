"""Scores of language identification: accuracy, confusions, calibration."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

NBEST = (1, 2, 3)  # ranks of the n-best accuracy
BINS = 10  # for the calibration error
LENGTHS = ((0.0, 2.0), (2.0, 5.0), (5.0, float("inf")))  # seconds

Guess = tuple[str, Mapping[str, float], float]
"""(spoken language, probability of each language, seconds of the clip)."""


def identification(guesses: Iterable[Guess]) -> dict[str, Any] | None:
    """Score guesses of the language: plain values for JSON, or None without guesses."""
    rows = list(guesses)
    if not rows:
        return None
    ranked = [sorted(probs, key=lambda code: (-probs[code], code)) for _, probs, _ in rows]
    right = [spoken == codes[0] for (spoken, _, _), codes in zip(rows, ranked, strict=True)]
    confidence = [max(probs.values()) for _, probs, _ in rows]
    confusion: dict[str, dict[str, int]] = {}
    for (spoken, _, _), codes in zip(rows, ranked, strict=True):
        row = confusion.setdefault(spoken, {})
        row[codes[0]] = row.get(codes[0], 0) + 1
    by_length = {}
    for low, high in LENGTHS:
        hits = [
            hit for hit, (_, _, seconds) in zip(right, rows, strict=True) if low <= seconds < high
        ]
        name = f"{low:g}-{high:g} s" if high < float("inf") else f"over {low:g} s"
        by_length[name] = {"utterances": len(hits), "accuracy": mean(hits)}
    return {
        "accuracy": mean(right),
        "nbest_accuracy": {
            str(n): mean([r[0] in codes[:n] for r, codes in zip(rows, ranked, strict=True)])
            for n in NBEST
        },
        "calibration_error": round(calibration_error(confidence, right), 4),
        "confusion": {
            spoken: dict(sorted(row.items())) for spoken, row in sorted(confusion.items())
        },
        "by_length": by_length,
    }


def calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Compute the expected calibration error (Naeini et al. 2015) over ten bins of equal width.

    It is the mean over utterances of |accuracy - mean confidence| of the utterance's bin.
    """
    confidences, hits = np.array(confidence, np.float64), np.array(right, np.float64)
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, hits - confidences, BINS)
    return float(np.abs(gaps).sum() / len(confidences))


def mean(hits: Sequence[bool]) -> float | None:
    """Share of hits; None for an empty sequence."""
    return sum(hits) / len(hits) if hits else None
