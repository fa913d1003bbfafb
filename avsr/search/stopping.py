"""The stop rule of the beam search: when an utterance needs no further step."""

import heapq
from collections.abc import Sequence

from avsr.search.options import SearchOptions
from avsr.search.scorer import NEG_INF


def should_stop(
    finished_scores: Sequence[float],
    best_score: float,
    best_extension: float,
    step: int,
    limit: int,
    beam: int,
    options: SearchOptions,
) -> bool:
    """Decide whether the search of an utterance stops.

    It stops when ``beam`` hypotheses have finished (a patient search: when none of them can be
    expected to be replaced), when the limit is reached, when nothing is left to extend, or when no
    unfinished hypothesis can still enter the n-best: log-probabilities only fall, so there is an
    upper bound of what the best one can become.

    Args:
        finished_scores: Final scores of the finished hypotheses, see ``SearchOptions``.
        best_score: Weighted sum of the scores of the best unfinished hypothesis.
        best_extension: The same of the best candidate of this step, finished or not.
        step: Number of the step just made, from 0: unfinished hypotheses have ``step + 1`` tokens.
        limit: Most tokens of a hypothesis, eos not counted.
        beam: Unfinished hypotheses per utterance.
        options: Options of the search.
    """
    if step >= limit or best_score == NEG_INF:
        return True
    if len(finished_scores) >= beam:
        length = step + 1
        now = best_extension / length**options.length_penalty + options.length_bonus * length
        if not options.patient or min(finished_scores) >= now:
            return True
    if len(finished_scores) < options.nbest:
        return False
    shortest, longest = step + 2, limit + 1  # tokens of a hypothesis to come, with eos
    bonus = options.length_bonus * (longest if options.length_bonus > 0 else shortest)
    bound = best_score / longest**options.length_penalty + bonus
    return heapq.nlargest(options.nbest, finished_scores)[-1] >= bound
