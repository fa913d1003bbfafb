"""CTC log-probabilities and token prefixes -> prefix scores (Watanabe et al. 2017).

The score of a prefix is the log of the summed probability of all alignments whose tokens begin
with the prefix. The score of its end sums the alignments whose tokens are exactly the prefix.

There is no loop over frames. The score of a prefix with one more token is a product of vectors. The
recursion that extends a prefix, ``x[t] = p[t] * (x[t-1] + before[t-1])``, has the solution
``x[t] = P[t] + logcumsumexp(before[s-1] - P[s-1])`` with P the cumulated logs of p. This is a
difference of long sums, hence float64.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.search.scorer import NEG_INF

# Used for log 0 within the recursion, where inf - inf would be NaN. A prefix that needs such a
# frame scores about this, far below any real alignment, and is reported as -inf.
LOG_ZERO = -1e6


@dataclass(frozen=True)
class CtcPrefixes:
    """CTC scores of N token prefixes, each of one of B utterances; a ``Scorer``."""

    probs: Tensor
    """(B, V, T) float64; only blanks after an utterance's end and in the last frame."""
    blank: int
    """Row of the blank in ``probs``."""
    utterance: Tensor
    """(N,) index of the utterance of each prefix."""
    last: Tensor
    """(N,) last token of each prefix; the blank for an empty prefix."""
    in_token: Tensor
    """(N, 1 + T) float64 log-probability of alignments of t frames that end in the last token."""
    in_blank: Tensor
    """(N, 1 + T) float64 log-probability of alignments of t frames that end in a blank."""

    @classmethod
    def start(cls, log_probs: Tensor, lengths: Tensor | None, blank: int) -> Self:
        """Start with an empty prefix for each utterance.

        Args:
            log_probs: (B, T, V) natural-log probabilities of the CTC head.
            lengths: (B,) frames of each utterance; None: all T.
            blank: Column of the blank.
        """
        num_utterances, num_frames, _ = log_probs.shape
        device = log_probs.device
        probs = log_probs.transpose(1, 2).to(torch.float64, memory_format=torch.contiguous_format)
        probs = F.pad(probs.exp(), (0, 1))
        padding = torch.arange(num_frames + 1, device=device).expand(num_utterances, -1)
        padding = padding >= (num_frames if lengths is None else lengths.to(device)[:, None])
        # Blanks of probability 1 carry every score unchanged to the last column.
        probs.masked_fill_(padding[:, None], 0.0)
        probs[:, blank].masked_fill_(padding, 1.0)
        in_blank = F.pad(_logs(probs[:, blank]).cumsum(1), (1, 0))
        return cls(
            probs=probs,
            blank=blank,
            utterance=torch.arange(num_utterances, device=device),
            last=torch.full((num_utterances,), blank, device=device),
            in_token=torch.full_like(in_blank, NEG_INF),
            in_blank=in_blank,
        )

    def scores(self, tokens: Tensor) -> Tensor:
        """Score every prefix with one more token, see ``Scorer.scores``; -inf for the blank."""
        emitted = self.probs[self.utterance[:, None], tokens]
        scores = _log_product(torch.logaddexp(self.in_token, self.in_blank), emitted)
        # To repeat the last token takes a blank in between.
        emitted = self.probs[self.utterance, self.last][:, None]
        repeated = _log_product(self.in_blank, emitted)
        scores = torch.where(tokens == self.last[:, None], repeated, scores)
        return scores.masked_fill((tokens == self.blank) | (scores < LOG_ZERO / 2), NEG_INF)

    def ends(self) -> Tensor:
        """Score every prefix as the whole utterance, see ``Scorer.ends``."""
        scores = torch.logaddexp(self.in_token[:, -1], self.in_blank[:, -1])
        return scores.masked_fill(scores < LOG_ZERO / 2, NEG_INF)

    def extend(self, rows: Tensor, tokens: Tensor) -> Self:
        """Append a token to each of the prefixes ``rows``, see ``Scorer.extend``."""
        utterance = self.utterance[rows]
        in_token, in_blank = self.in_token[rows], self.in_blank[rows]
        repeats = (tokens == self.last[rows])[:, None]
        before = torch.where(repeats, in_blank, torch.logaddexp(in_token, in_blank))
        in_token = _scan(before, _logs(self.probs[utterance, tokens]))
        in_blank = _scan(in_token, _logs(self.probs[utterance, self.blank]))
        return type(self)(self.probs, self.blank, utterance, tokens, in_token, in_blank)


def _logs(probs: Tensor) -> Tensor:
    return probs.log().clamp(min=LOG_ZERO)


def _log_product(before: Tensor, probs: Tensor) -> Tensor:
    """Log of the sum over t of before[t] * probs[t]: (N, 1 + T) logs, (N, C, T) -> (N, C).

    Terms below e^-700 of the largest ``before`` may underflow.
    """
    before = before[:, :-1]
    shift = before.amax(1, keepdim=True).clamp(min=torch.finfo(before.dtype).min)
    return torch.matmul(probs, (before - shift).exp()[..., None])[..., 0].log() + shift


def _scan(before: Tensor, log_probs: Tensor) -> Tensor:
    """Solve x[0] = 0, x[t] = p[t-1] * (x[t-1] + before[t-1]) in logs.

    ``before`` (N, 1 + T), ``log_probs`` (N, T); returns (N, 1 + T).
    """
    cumulated = F.pad(log_probs.cumsum(1), (1, 0))
    summed = (before[:, :-1] - cumulated[:, :-1]).logcumsumexp(1)
    return F.pad(cumulated[:, 1:] + summed, (1, 0), value=NEG_INF)
