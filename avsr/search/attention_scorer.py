"""The attention decoder as a scorer: it proposes the next tokens and scores them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from avsr.search.scorer import NEG_INF


class DecoderState(Protocol):
    """What a decoder stores about N hypotheses, such as cached keys and values."""

    def select(self, rows: Tensor) -> Self:
        """The state of hypotheses ``rows`` (M,), in that order; rows may repeat or be left out."""


StateT = TypeVar("StateT", bound=DecoderState)
Step = Callable[[Tensor, StateT], tuple[Tensor, StateT]]
"""(last tokens (N,), state) -> (natural-log probabilities of the next token (N, V), state)."""


@dataclass(frozen=True)
class AttentionScorer(Generic[StateT]):
    """Scores of N hypotheses by a decoder that predicts token after token; a ``Scorer``."""

    step: Step[StateT]
    state: StateT
    eos: int
    banned: Tensor
    """(2,) ids of eos and pad, which no hypothesis continues with."""
    log_probs: Tensor
    """(N, V) natural-log probabilities of the next token; -inf for ``banned``."""
    end_log_probs: Tensor
    """(N,) natural-log probability of eos."""
    token_scores: Tensor
    """(N, L) float64 natural-log probability of each token so far."""

    @classmethod
    def start(
        cls, step: Step[StateT], state: StateT, last_tokens: Tensor, eos: int, pad: int
    ) -> Self:
        """Run the decoder's first step.

        Args:
            step: Runs the decoder for one token of every hypothesis.
            state: The decoder's state before the first token, one row per utterance.
            last_tokens: (B,) int64, the token that each hypothesis starts with (sos).
            eos: Id of the token that ends a hypothesis.
            pad: Id of the padding token.

        Returns:
            The scorer of B empty hypotheses.
        """
        device = last_tokens.device
        banned = torch.tensor([eos, pad], device=device)
        history = torch.empty(len(last_tokens), 0, dtype=torch.float64, device=device)
        return cls(step, state, eos, banned, history, history, history)._run(last_tokens)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.log_probs.shape[1]

    def propose(self, count: int) -> Tensor:
        """The ``count`` most likely next tokens of each hypothesis, at most V - 1: (N, K)."""
        return self.log_probs.topk(min(count, self.vocabulary_size - 1)).indices

    def scores(self, tokens: Tensor) -> Tensor:
        """Score every hypothesis with one more token, see ``Scorer.scores``."""
        return self._totals()[:, None] + self.log_probs.gather(1, tokens)

    def ends(self) -> Tensor:
        """Score every hypothesis as a finished one, see ``Scorer.ends``."""
        return self._totals() + self.end_log_probs

    def finished_token_scores(self, rows: Tensor) -> Tensor:
        """Score of every token of hypotheses ``rows`` (M,) and, last, of eos: (M, L + 1)."""
        last = self.end_log_probs[rows].double()
        return torch.cat([self.token_scores[rows], last[:, None]], 1)

    def extend(self, rows: Tensor, tokens: Tensor) -> Self:
        """Append a token to each of ``rows`` and run the decoder, see ``Scorer.extend``."""
        last = self.log_probs[rows, tokens].double()
        token_scores = torch.cat([self.token_scores[rows], last[:, None]], 1)
        selected = replace(self, state=self.state.select(rows), token_scores=token_scores)
        return selected._run(tokens)

    def _totals(self) -> Tensor:
        return self.token_scores.sum(1)

    def _run(self, last_tokens: Tensor) -> Self:
        log_probs, state = self.step(last_tokens, self.state)
        return replace(
            self,
            state=state,
            log_probs=log_probs.index_fill(1, self.banned, NEG_INF),
            end_log_probs=log_probs[:, self.eos],
        )
