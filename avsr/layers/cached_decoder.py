"""The attention decoder token by token with a key/value cache that hypotheses share.

Without a cache every step computes all tokens so far again, as ``avsr.decoder.transformer``
defines it. ``decoder`` is always an AttentionDecoder; layers do not import a stage.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from avsr.layers.linear import cast_once

MAX_UNUSED = 1.5  # tokens in a group's cache per token that one of its hypotheses uses


@dataclass
class CachedState:
    """Cached keys and values of N hypotheses while they grow token by token.

    The N hypotheses form G groups of N / G, each of one utterance. Hypotheses of a group share long
    prefixes, so each group has one key/value cache and every hypothesis stores the indices of its
    tokens in it.
    """

    cross: list[tuple[Tensor, Tensor]]
    """Per layer keys and values (G, heads, S, d) of the memory."""
    memory_mask: Tensor | None
    """(G, 1, 1, S), True = may be attended to."""
    utterance: Tensor
    """(N,) the utterance of each hypothesis."""
    languages: Tensor | None
    """(B,) language ids of all utterances."""
    past: list[tuple[Tensor, Tensor]]
    """Per layer keys and values (G, heads, M, d) of tokens; empty before the first token."""
    paths: Tensor
    """(N, L) the indices in 0 .. M - 1 of the tokens of each hypothesis so far."""

    @property
    def length(self) -> int:
        """Number of tokens L so far."""
        return self.paths.shape[1]

    @property
    def groups(self) -> int:
        """Number of groups G."""
        return self.cross[0][0].shape[0]

    def select(self, rows: Tensor) -> Self:
        """Return the state of hypotheses ``rows`` (N',), in that order; rows may repeat or vanish.

        The rows of an utterance must stand together.
        """
        cross, mask, past = self.cross, self.memory_mask, self.past
        group = rows // (len(self.utterance) // self.groups)
        groups, counts = group.unique_consecutive(return_counts=True)
        if (counts != counts[0]).any():
            groups = group  # then each hypothesis is a group
        if not torch.equal(groups, torch.arange(self.groups, device=rows.device)):
            cross = [(k[groups], v[groups]) for k, v in cross]
            mask = None if mask is None else mask[groups]
            past = [(k[groups], v[groups]) for k, v in past]
        utterance, paths = self.utterance[rows], self.paths[rows]
        return type(self)(cross, mask, utterance, self.languages, past, paths)._without_unused()

    def _without_unused(self) -> Self:
        """Remove tokens that no hypothesis uses, if these are many (see MAX_UNUSED)."""
        if not self.past:
            return self
        size, paths = self.past[0][0].shape[2], self.paths.view(self.groups, -1)
        used = paths.new_zeros(self.groups, size, dtype=torch.bool).scatter_(1, paths, True)
        new_size = int(used.sum(1).max())
        if size <= MAX_UNUSED * new_size:
            return self
        indices = (~used).byte().argsort(dim=1, stable=True)[:, :new_size]
        heads, width = self.past[0][0].shape[1::2]
        indices = indices[:, None, :, None].expand(-1, heads, -1, width)
        past = [(k.gather(2, indices), v.gather(2, indices)) for k, v in self.past]
        paths = (used.cumsum(1) - 1).gather(1, paths).view_as(self.paths)
        return replace(self, past=past, paths=paths)


def start_cached(
    decoder: Any, memory: Tensor, memory_padding_mask: Tensor | None, languages: Tensor | None
) -> CachedState:
    """Compute what ``AttentionDecoder.start`` defines, with the same arguments."""
    cast = cast_once(memory, decoder.layers[0].cross_attention.key)
    cross = (layer.cross_attention.keys_values(cast) for layer in decoder.layers)
    mask = None if memory_padding_mask is None else ~memory_padding_mask[:, None, None, :]
    return CachedState(
        cross=[(keys.contiguous(), values.contiguous()) for keys, values in cross],
        memory_mask=mask,
        utterance=torch.arange(memory.shape[0], device=memory.device),
        languages=languages,
        past=[],
        paths=torch.empty(memory.shape[0], 0, dtype=torch.int64, device=memory.device),
    )


def step_cached(decoder: Any, tokens: Tensor, state: CachedState) -> tuple[Tensor, CachedState]:
    """Compute what ``AttentionDecoder.step`` defines, with the same arguments."""
    number, groups, length = len(tokens), state.groups, state.length
    per_group = number // groups
    x = decoder.embed(tokens[:, None], length)[:, 0]
    if length == 0 and state.languages is not None:
        x = x + decoder.language_embedding(state.languages)[state.utterance]
    x = decoder.dropout(x).view(groups, per_group, -1)
    size = state.past[0][0].shape[2] if state.past else 0
    new = torch.arange(size, size + per_group, device=tokens.device).repeat(groups)
    paths = torch.cat([state.paths, new[:, None]], 1)
    mask = None
    if per_group > 1 or size > length:  # the cache also holds tokens of other hypotheses
        mask = paths.new_zeros(number, size + per_group, dtype=torch.bool)
        mask = mask.scatter_(1, paths, True).view(groups, 1, per_group, -1)
    past = []
    for i, layer in enumerate(decoder.layers):
        y = cast_once(layer.self_norm(x), layer.self_attention.query)
        keys, values = layer.self_attention.keys_values(y)
        if state.past:
            keys = torch.cat([state.past[i][0], keys], dim=2)
            values = torch.cat([state.past[i][1], values], dim=2)
        past.append((keys, values))
        x = x + layer.dropout(layer.self_attention(y, keys, values, mask))
        y = layer.cross_attention(layer.cross_norm(x), *state.cross[i], state.memory_mask)
        x = layer.feed_forward(x + layer.dropout(y))
    log_probs = decoder.logits(x.view(number, -1)).float().log_softmax(-1)
    return log_probs, replace(state, past=past, paths=paths)
