"""Constraints on the next token, applied to the decoder's log-probabilities."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Self

import torch
from torch import Tensor

from avsr.errors import ConfigError
from avsr.search.attention_scorer import StateT, Step
from avsr.search.options import SearchOptions
from avsr.search.scorer import NEG_INF

FREE = -1  # in ``Constraints.forced_prefix``: any token may follow


@dataclass(frozen=True)
class Constraints:
    """Temperature, penalty of the unknown token, forced prefixes and n-grams that must not repeat.

    A forced prefix may itself repeat an n-gram.
    """

    options: SearchOptions
    unk: int | None
    """Id of the unknown token."""
    forced_prefix: Tensor
    """(B, P) first tokens of B utterances, filled up with ``FREE``."""

    @classmethod
    def create(
        cls,
        options: SearchOptions,
        unk: int | None,
        prefix_tokens: Sequence[Sequence[int]] | None,
        limits: Sequence[int],
        forbidden_tokens: Collection[int],
        device: torch.device,
    ) -> Self | None:
        """Collect the constraints of a search.

        Args:
            options: Options of the search.
            unk: Id of the unknown token.
            prefix_tokens: Tokens that the hypotheses of each of B utterances start with.
            limits: Most tokens of each utterance; longer prefixes are cut to it.
            forbidden_tokens: Tokens that no hypothesis contains.
            device: Device of the log-probabilities.

        Returns:
            The constraints, or None if there are none.

        Raises:
            ConfigError: A prefix contains a forbidden token, or ``options.unk_penalty`` is set and
                ``unk`` is not.
        """
        if options.unk_penalty and unk is None:
            raise ConfigError("search: unk_penalty needs the id of the unknown token")
        prefixes = prefix_tokens if prefix_tokens is not None else [()] * len(limits)
        for tokens in prefixes:
            if not set(tokens).isdisjoint(forbidden_tokens):
                raise ConfigError(f"search: no hypothesis can begin with {list(tokens)}")
        rows = [list(tokens[:limit]) for tokens, limit in zip(prefixes, limits, strict=True)]
        longest = max(map(len, rows))
        changes_tokens = longest or options.no_repeat_ngram or options.unk_penalty
        if not changes_tokens and options.temperature == 1:
            return None
        padded = [row + [FREE] * (longest - len(row)) for row in rows]
        forced = torch.tensor(padded, dtype=torch.int64, device=device).view(len(rows), longest)
        return cls(options, unk, forced)

    def start(self, state: StateT) -> "ConstrainedState[StateT]":
        """The state of a constrained decoder before the first token.

        Args:
            state: The state of the decoder itself, one row per utterance.
        """
        utterance = torch.arange(len(self.forced_prefix), device=self.forced_prefix.device)
        return ConstrainedState(state, utterance[:, None][:, :0], utterance)

    def constrain(self, step: Step[StateT]) -> "Step[ConstrainedState[StateT]]":
        """Wrap the step of a decoder so that its log-probabilities obey the constraints."""

        def constrained_step(
            last_tokens: Tensor, state: ConstrainedState[StateT]
        ) -> tuple[Tensor, ConstrainedState[StateT]]:
            log_probs, decoder = step(last_tokens, state.decoder)
            history = torch.cat([state.history, last_tokens[:, None]], 1)
            log_probs = self.apply(log_probs, history[:, 1:], state.utterance)
            return log_probs, ConstrainedState(decoder, history, state.utterance)

        return constrained_step

    def apply(self, log_probs: Tensor, tokens: Tensor, utterance: Tensor) -> Tensor:
        """Constrain the log-probabilities of the next token.

        Args:
            log_probs: (N, V) natural-log probabilities by the decoder.
            tokens: (N, L) tokens of the hypotheses so far, without sos.
            utterance: (N,) index of the utterance of each hypothesis.

        Returns:
            (N, V) natural-log probabilities; -inf for a token that must not follow.
        """
        if self.options.temperature != 1:
            log_probs = (log_probs / self.options.temperature).log_softmax(-1)
        if self.options.unk_penalty:
            penalty = torch.zeros_like(log_probs[:1])
            penalty[:, self.unk] = self.options.unk_penalty
            log_probs = log_probs - penalty
        length, size = tokens.shape[1], self.options.no_repeat_ngram
        unforced = _block_repeats(log_probs, tokens, size) if size else log_probs
        if length >= self.forced_prefix.shape[1]:
            return unforced
        forced = self.forced_prefix[utterance, length][:, None]
        others = torch.arange(log_probs.shape[1], device=forced.device) != forced
        return torch.where(forced == FREE, unforced, log_probs.masked_fill(others, NEG_INF))


@dataclass(frozen=True)
class ConstrainedState(Generic[StateT]):
    """The state of a constrained decoder for N hypotheses."""

    decoder: StateT
    history: Tensor
    """(N, L) tokens so far, sos first."""
    utterance: Tensor
    """(N,) index of the utterance of each hypothesis."""

    def select(self, rows: Tensor) -> "ConstrainedState[StateT]":
        """The state of hypotheses ``rows`` (M,), in that order; rows may repeat or be left out."""
        return ConstrainedState(self.decoder.select(rows), self.history[rows], self.utterance[rows])


def _block_repeats(log_probs: Tensor, tokens: Tensor, size: int) -> Tensor:
    """Set to -inf each token that would repeat ``size`` tokens in a row of ``tokens`` (N, L)."""
    length = tokens.shape[1]
    if length < size:
        return log_probs
    ngrams = tokens.unfold(1, size, 1)  # (N, L - size + 1, size)
    context = tokens[:, None, length - size + 1 :]
    repeats = (ngrams[..., :-1] == context).all(-1)
    banned = torch.zeros_like(repeats, dtype=log_probs.dtype).masked_fill(repeats, NEG_INF)
    return log_probs.scatter_add(1, ngrams[..., -1], banned)
