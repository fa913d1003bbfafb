"""Scores of the language that was recognised: accuracy, confusions, calibration."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

BEST = (1, 2, 3)  # ranks of the n-best accuracy
BINS = 10  # of the calibration error
LENGTHS = ((0.0, 2.0), (2.0, 5.0), (5.0, float("inf")))  # seconds

Guess = tuple[str, Mapping[str, float], float]
"""(spoken language, probability of each language, seconds of the clip)."""


def identification(guesses: Iterable[Guess]) -> dict[str, Any] | None:
    """Plain values for JSON; None without guesses."""
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
        some = [
            hit for hit, (_, _, seconds) in zip(right, rows, strict=True) if low <= seconds < high
        ]
        name = f"{low:g}-{high:g} s" if high < float("inf") else f"over {low:g} s"
        by_length[name] = {"utterances": len(some), "accuracy": mean(some)}
    return {
        "accuracy": mean(right),
        "nbest_accuracy": {
            str(n): mean([r[0] in codes[:n] for r, codes in zip(rows, ranked, strict=True)])
            for n in BEST
        },
        "calibration_error": round(calibration_error(confidence, right), 4),
        "confusion": {
            spoken: dict(sorted(row.items())) for spoken, row in sorted(confusion.items())
        },
        "by_length": by_length,
    }


def calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error (Naeini et al. 2015), ten bins of equal width.

    The mean over utterances of |accuracy - mean confidence| of the bin that each falls in.
    """
    given, hit = np.array(confidence, np.float64), np.array(right, np.float64)
    bins = np.minimum((given * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, hit - given, BINS)
    return float(np.abs(gaps).sum() / len(given))


def mean(hits: Sequence[bool]) -> float | None:
    """Share of hits; None of none."""
    return sum(hits) / len(hits) if hits else None
