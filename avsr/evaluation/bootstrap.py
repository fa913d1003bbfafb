"""Confidence intervals of error rates: percentile bootstrap over utterances (Efron 1979).

Utterances are drawn with replacement within each language, so that every draw has the same number
per language. A paired comparison draws the same utterances for both sides (Bisani and Ney 2004).
"""

from collections.abc import Mapping, Sequence

import numpy as np

DRAWS = 1000
LEVEL = 0.95
SEED = 20_230_604  # fixed, so that a second person gets the same intervals

Counts = Mapping[str, Sequence[tuple[float, float]]]
"""By language: (errors, reference length) of each utterance."""


def rate_draws(counts: Counts, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """Draw error rates of each language, (draws,); NaN where no reference has words."""
    rates = {}
    for number, (language, rows) in enumerate(sorted(counts.items())):
        table = np.array(rows, np.float64).reshape(-1, 2)
        indices = draw_indices(number, len(table), draws)
        sums = np.stack([table[row].sum(0) for row in indices])
        with np.errstate(invalid="ignore", divide="ignore"):
            rates[language] = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
    return rates


def draw_indices(number: int, utterances: int, draws: int = DRAWS) -> np.ndarray:
    """Draw indices (draws, utterances), the same ones for every system that is scored."""
    return np.random.default_rng([SEED, number]).integers(utterances, size=(draws, utterances))


def interval(draws: np.ndarray) -> tuple[float, float] | None:
    """Return the middle 95 % of ``draws`` (N,); None if one of them is not a number."""
    if not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def rate_intervals(counts: Counts) -> dict[str | None, tuple[float, float] | None]:
    """Return the interval of each language's error rate and, under None, of their average."""
    rates = rate_draws(counts)
    intervals: dict[str | None, tuple[float, float] | None] = {
        language: interval(values) for language, values in rates.items()
    }
    intervals[None] = interval(average_draws(rates)) if rates else None
    return intervals


def average_draws(rates: Mapping[str, np.ndarray]) -> np.ndarray:
    """Average draws (draws,) over languages, without those that have no words; NaN if none has."""
    with_words = [values for values in rates.values() if not np.isnan(values).all()]
    return np.mean(with_words or list(rates.values()), 0)
