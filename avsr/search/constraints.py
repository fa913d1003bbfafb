"""What a user asks of the next token, applied to the decoder's log-probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from avsr.errors import ConfigError
from avsr.search.options import SearchOptions

NEG_INF = -math.inf
FREE = -1  # in ``Constraints.forced``: any token may come


@dataclass(frozen=True)
class Constraints:
    """Temperature, penalty of the unknown token, forced beginnings, and n-grams kept from coming
    twice. A forced beginning may itself repeat an n-gram.
    """

    options: SearchOptions
    unk: int | None
    """The unknown token."""
    forced: Tensor
    """(B, P) first tokens of B utterances, ``FREE`` behind each one's last."""

    @classmethod
    def start(
        cls,
        options: SearchOptions,
        unk: int | None,
        beginnings: Sequence[Sequence[int]] | None,
        limits: Sequence[int],
        never: Sequence[int],
        device: torch.device,
    ) -> Self | None:
        """None if nothing is asked for. ``beginnings`` of B utterances are cut to their ``limits``.

        Raises ConfigError for a beginning with a token of ``never``, and a penalty without ``unk``.
        """
        if options.unk_penalty and unk is None:
            raise ConfigError("search: unk_penalty needs the id of the unknown token")
        given = beginnings if beginnings is not None else [()] * len(limits)
        for tokens in given:
            if set(tokens) & set(never):
                raise ConfigError(f"search: no hypothesis can begin with {list(tokens)}")
        rows = [list(tokens[:limit]) for tokens, limit in zip(given, limits, strict=True)]
        longest = max(map(len, rows))
        asked = longest or options.no_repeat_ngram or options.unk_penalty
        if not asked and options.temperature == 1:
            return None
        padded = [row + [FREE] * (longest - len(row)) for row in rows]
        forced = torch.tensor(padded, dtype=torch.int64, device=device).view(len(rows), longest)
        return cls(options, unk, forced)

    def apply(self, log_probs: Tensor, tokens: Tensor, utterance: Tensor) -> Tensor:
        """(U * R, V) of the next token of R hypotheses of each of U utterances, under constraints.

        ``tokens`` (U, R, L) so far, ``utterance`` (U,) numbers of the utterances.
        """
        if self.options.temperature != 1:
            log_probs = (log_probs / self.options.temperature).log_softmax(-1)
        if self.options.unk_penalty:
            penalty = torch.zeros_like(log_probs[:1])
            penalty[:, self.unk] = self.options.unk_penalty
            log_probs = log_probs - penalty
        num_beams, length = tokens.shape[1:]
        size = self.options.no_repeat_ngram
        blocked = _block(log_probs, tokens.flatten(0, 1), size) if size else log_probs
        if length >= self.forced.shape[1]:
            return blocked
        forced = self.forced[utterance, length].repeat_interleave(num_beams)[:, None]
        kept = torch.arange(log_probs.shape[1], device=forced.device) == forced
        return torch.where(forced == FREE, blocked, log_probs.masked_fill(~kept, NEG_INF))


def _block(log_probs: Tensor, tokens: Tensor, size: int) -> Tensor:
    """-inf for each token that would repeat ``size`` tokens in a row of the (N, L) ``tokens``."""
    length = tokens.shape[1]
    if length < size:
        return log_probs
    ngrams = tokens.unfold(1, size, 1)  # (N, L - size + 1, size)
    context = tokens[:, None, length - size + 1 :]
    repeats = (ngrams[..., :-1] == context).all(-1)
    banned = torch.zeros_like(repeats, dtype=log_probs.dtype).masked_fill(repeats, NEG_INF)
    return log_probs.scatter_add(1, ngrams[..., -1], banned)
