"""Scorers of the beam search: what gives hypotheses a score, and with which weight it counts.

The search takes one scorer that proposes tokens, the attention decoder, and any number of others
that score these proposals. To add a scorer, such as a neural language model, write a class with the
three methods of ``Scorer`` and pass it to ``beam_search`` as a ``WeightedScorer``, or add to
``AVSRModel.scorers`` a function that starts one.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol, Self

from torch import Tensor

NEG_INF = -math.inf


class Scorer(Protocol):
    """Scores of N hypotheses while they grow token by token.

    A scorer starts with one empty hypothesis per utterance. All scores are float64 natural-log
    probabilities of the whole hypothesis, not of its last token. -inf rules a hypothesis out.
    """

    def scores(self, tokens: Tensor) -> Tensor:
        """Score every hypothesis with one more token, which is not eos.

        Args:
            tokens: (N, K) int64 token ids, K candidates for each hypothesis.

        Returns:
            (N, K) scores.
        """

    def ends(self) -> Tensor:
        """Score every hypothesis as a finished one, with eos after its last token; (N,)."""

    def extend(self, rows: Tensor, tokens: Tensor) -> Self:
        """Select hypotheses and append a token to each.

        Args:
            rows: (M,) int64 indices into the N hypotheses. They may repeat or be left out.
            tokens: (M,) int64 token ids. eos stands here for a hypothesis that is ruled out.

        Returns:
            The scorer of the M new hypotheses; this one does not change.
        """


@dataclass(frozen=True)
class WeightedScorer:
    """A scorer with its name and its weight in the sum of scores."""

    name: str
    """Key of its score in ``Hypothesis.scores``; ``ctc`` and ``lm`` are taken."""
    scorer: Scorer
    """One empty hypothesis per utterance, in the order of the batch."""
    weight: float
    """Factor of its scores."""
    num_candidates: int = 0
    """Tokens per hypothesis, the most likely by the decoder, that it wants to score; 0: as many as
    the search needs anyhow, twice the beam."""

    def extend(self, rows: Tensor, tokens: Tensor) -> "WeightedScorer":
        """Extend the scorer, see ``Scorer.extend``."""
        return replace(self, scorer=self.scorer.extend(rows, tokens))
