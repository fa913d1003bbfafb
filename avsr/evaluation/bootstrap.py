"""How far scores would move with other utterances: percentile bootstrap (Efron 1979).

Utterances are drawn with replacement within each language, so that the average over languages
keeps their number; a paired comparison draws the same utterances for both sides (Bisani and Ney
2004).
"""

from collections.abc import Mapping, Sequence

import numpy as np

DRAWS = 1000
LEVEL = 0.95
SEED = 20_230_604  # of every bootstrap, so that a second person gets the same interval

Counts = Mapping[str, Sequence[tuple[float, float]]]
"""By language: (errors, length of the reference) of each utterance."""


def rate_draws(counts: Counts, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """(draws,) error rates of each language; NaN where no reference has words."""
    rates = {}
    for number, (language, rows) in enumerate(sorted(counts.items())):
        table = np.array(rows, np.float64).reshape(-1, 2)
        chosen = drawn(number, len(table), draws)
        sums = np.stack([table[rows_].sum(0) for rows_ in chosen])
        with np.errstate(invalid="ignore", divide="ignore"):
            rates[language] = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
    return rates


def drawn(number: int, utterances: int, draws: int = DRAWS) -> np.ndarray:
    """(draws, utterances) indices, the same for every system that is scored."""
    return np.random.default_rng([SEED, number]).integers(utterances, size=(draws, utterances))


def interval(draws: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of ``draws`` (N,); None if one of them is no number."""
    if not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def rate_intervals(counts: Counts) -> dict[str | None, tuple[float, float] | None]:
    """Interval of each language's error rate and, under None, of their average."""
    rates = rate_draws(counts)
    found: dict[str | None, tuple[float, float] | None] = {
        language: interval(values) for language, values in rates.items()
    }
    found[None] = interval(np.mean(list(rates.values()), 0)) if rates else None
    return found
