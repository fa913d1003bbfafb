"""Attention decoder: memory + language + tokens so far -> scores of the next token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.decoder.tokenizer import PAD
from avsr.errors import ConfigError
from avsr.layers.attention import MultiHeadAttention, PackedBatch
from avsr.layers.dropout import Dropout
from avsr.layers.linear import LinearActivation, cast_once

FIRST_POSITION = PAD + 1  # positions count on from the padding id, as in the public checkpoints
MAX_POSITIONS = 2048
MOST_UNUSED = 1.5  # tokens in the store of a search, to those that a hypothesis has


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The attention decoder. The defaults are the paper's Base."""

    layers: int = 6
    """Transformer layers."""
    dim: int = 768
    """Width of the decoder; may differ from the encoder's."""
    ffn_dim: int = 3072
    """Hidden width of each feed-forward block."""
    heads: int = 4
    """Attention heads; must divide ``dim``."""
    dropout: float = 0.1
    """Dropout on embeddings and sub-layer outputs."""
    attention_dropout: float = 0.1
    """Dropout on attention weights."""

    def __post_init__(self) -> None:
        if min(self.layers, self.dim, self.ffn_dim, self.heads) <= 0:
            raise ConfigError("decoder: layers, dim, ffn_dim and heads must be positive")
        if self.dim % (2 * self.heads):
            raise ConfigError(f"decoder: dim {self.dim} must be even and divisible by heads")


def sinusoids(num_positions: int, dim: int) -> Tensor:
    """(num_positions, dim) sine and cosine halves, wavelengths to 10,000 (Vaswani et al. 2017).

    The row of the padding id is zero.
    """
    half = dim // 2
    # Real even in a network that is built without memory, since no file has it.
    steps = torch.arange(half, device="cpu")
    rates = torch.exp(steps * -(math.log(10_000.0) / max(half - 1, 1)))
    angles = torch.arange(num_positions, device="cpu")[:, None] * rates
    table = torch.empty(num_positions, 2 * half, device="cpu")
    torch.sin(angles, out=table[:, :half])
    torch.cos(angles, out=table[:, half:])
    table[PAD] = 0.0
    return table


@dataclass
class DecoderState:
    """Cached keys and values of N hypotheses while they grow token by token.

    They stand in G groups of N / G, each of one utterance. What the hypotheses of a group begin
    with is largely the same, so they share one store of tokens, and each has a path through it.
    """

    cross: list[tuple[Tensor, Tensor]]
    """Per layer keys and values (G, heads, S, d) of the memory."""
    memory_mask: Tensor | None
    """(G, 1, 1, S), True = may be attended to."""
    utterance: Tensor
    """(N,) the utterance that each hypothesis belongs to."""
    languages: Tensor | None
    """(B,) language ids of all utterances."""
    past: list[tuple[Tensor, Tensor]]
    """Per layer keys and values (G, heads, M, d) of tokens; nothing before the first one."""
    paths: Tensor
    """(N, L) the places in 0 .. M - 1 of the tokens of each hypothesis so far."""

    @property
    def length(self) -> int:
        """Tokens so far."""
        return self.paths.shape[1]

    @property
    def groups(self) -> int:
        """G."""
        return self.cross[0][0].shape[0]

    def select(self, rows: Tensor) -> Self:
        """The state of hypotheses ``rows`` (N',), in that order; rows may repeat or vanish."""
        cross, mask, past = self.cross, self.memory_mask, self.past
        group = rows // (len(self.utterance) // self.groups)
        left, counts = group.unique_consecutive(return_counts=True)
        if (counts != counts[0]).any():
            left = group  # then each hypothesis is a group
        if not torch.equal(left, torch.arange(self.groups, device=rows.device)):
            cross = [(k[left], v[left]) for k, v in cross]
            mask = None if mask is None else mask[left]
            past = [(k[left], v[left]) for k, v in past]
        utterance, paths = self.utterance[rows], self.paths[rows]
        return type(self)(cross, mask, utterance, self.languages, past, paths)._tidied()

    def _tidied(self) -> Self:
        """The same without tokens that no hypothesis has, if these are many."""
        if not self.past:
            return self
        size, paths = self.past[0][0].shape[2], self.paths.view(self.groups, -1)
        seen = paths.new_zeros(self.groups, size, dtype=torch.bool).scatter_(1, paths, True)
        most = int(seen.sum(1).max())
        if size <= MOST_UNUSED * most:
            return self
        kept = (~seen).byte().argsort(dim=1, stable=True)[:, :most]
        heads, width = self.past[0][0].shape[1::2]
        places = kept[:, None, :, None].expand(-1, heads, -1, width)
        past = [(k.gather(2, places), v.gather(2, places)) for k, v in self.past]
        paths = (seen.cumsum(1) - 1).gather(1, paths).view_as(self.paths)
        return replace(self, past=past, paths=paths)


class Attention(MultiHeadAttention):
    """Multi-head attention whose keys and values may come from a memory of another width."""

    def __init__(self, dim: int, memory_dim: int, heads: int, dropout: float) -> None:
        super().__init__(heads, dropout)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(memory_dim, dim)
        self.value = nn.Linear(memory_dim, dim)
        self.out = nn.Linear(dim, dim)

    def keys_values(self, memory: Tensor, rows: PackedBatch | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, S, d) of a memory (B, S, D_memory), or of its ``rows``."""
        memory = cast_once(memory, self.key)
        return self.split(self.key(memory), rows), self.split(self.value(memory), rows)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        rows: PackedBatch | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Queries from ``x`` (B, L, D); returns (B, L, D), or ``rows`` of both."""
        queries = self.split(self.query(x), rows)
        return self.out(self.attend(queries, keys, values, mask, rows, causal=causal))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and a ReLU feed-forward block, each behind a layer norm."""

    def __init__(self, config: DecoderConfig, memory_dim: int) -> None:
        super().__init__()
        dim, heads, dropout = config.dim, config.heads, config.attention_dropout
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, dim, heads, dropout)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, memory_dim, heads, dropout)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = LinearActivation(dim, config.ffn_dim, "relu")
        self.ffn_out = nn.Linear(config.ffn_dim, dim)
        self.dropout = Dropout(config.dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D), with its residual."""
        return x + self.dropout(self.ffn_out(self.ffn_in(self.ffn_norm(x))))

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None,
        rows: PackedBatch | None = None,
        memory_rows: PackedBatch | None = None,
    ) -> Tensor:
        """All positions at once, each seeing only earlier ones: (B, L, D) -> (B, L, D), or ``rows``
        of both; of ``memory`` (B, S, D_memory), too, there may be ``memory_rows``.
        """
        own, cross = self.self_attention, self.cross_attention
        y = cast_once(self.self_norm(x), own.query)
        x = x + self.dropout(own(y, *own.keys_values(y, rows), None, rows, causal=True))
        y = cross(self.cross_norm(x), *cross.keys_values(memory, memory_rows), memory_mask, rows)
        return self.feed_forward(x + self.dropout(y))


class AttentionDecoder(nn.Module):
    """Pre-norm transformer decoder with tied embeddings.

    The sequence begins with ``</s>`` plus a vector of the language, which stands for the paper's
    language token; a zero vector gives the decoder of AV-HuBERT.
    """

    positions: Tensor

    def __init__(
        self, config: DecoderConfig, vocabulary_size: int, memory_dim: int, num_languages: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.dim, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=config.dim**-0.5)
        nn.init.zeros_(self.embedding.weight[PAD])
        self.language_embedding = nn.Embedding(num_languages, config.dim)
        nn.init.normal_(self.language_embedding.weight, std=config.dim**-0.5)
        layers = nn.ModuleList(DecoderLayer(config, memory_dim) for _ in range(config.layers))
        self.layers = cast(Sequence[DecoderLayer], layers)
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        table = sinusoids(FIRST_POSITION + MAX_POSITIONS, config.dim)
        self.register_buffer("positions", table, persistent=False)

    def logits(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return F.linear(self.norm(x), self.embedding.weight)

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor,
        memory_padding_mask: Tensor | None = None,
        languages: Tensor | None = None,
    ) -> Tensor:
        """Teacher forcing: ``tokens`` (B, L) beginning with ``</s>`` -> logits (B, L, V).

        ``memory`` (B, S, D_encoder), ``memory_padding_mask`` (B, S) True = padding,
        ``languages`` (B,) ids. Padding is at the end of each row, so causality hides it.
        """
        mask = None if memory_padding_mask is None else ~memory_padding_mask[:, None, None, :]
        last = FIRST_POSITION + tokens.shape[1]
        x = self.embedding(tokens) + self.positions[FIRST_POSITION:last]
        if languages is not None:
            x = x + F.pad(self.language_embedding(languages)[:, None], (0, 0, 0, x.shape[1] - 1))
        rows, memory_rows = PackedBatch.of(tokens != PAD), None
        if memory_padding_mask is not None:
            memory_rows = PackedBatch.of(~memory_padding_mask)
        memory = memory if memory_rows is None else memory_rows.pack(memory)
        memory = cast_once(memory, self.layers[0].cross_attention.key)
        x = self.dropout(x if rows is None else rows.pack(x))
        for layer in self.layers:
            x = layer(x, memory, mask, rows, memory_rows)
        x = self.logits(x)
        return x if rows is None else rows.unpack(x)

    def start(
        self,
        memory: Tensor,
        memory_padding_mask: Tensor | None = None,
        languages: Tensor | None = None,
    ) -> DecoderState:
        """State before the first token, one hypothesis per utterance; arguments as in forward."""
        known = cast_once(memory, self.layers[0].cross_attention.key)
        cross = (layer.cross_attention.keys_values(known) for layer in self.layers)
        return DecoderState(
            cross=[(keys.contiguous(), values.contiguous()) for keys, values in cross],
            memory_mask=None
            if memory_padding_mask is None
            else ~memory_padding_mask[:, None, None, :],
            utterance=torch.arange(memory.shape[0], device=memory.device),
            languages=languages,
            past=[],
            paths=torch.empty(memory.shape[0], 0, dtype=torch.int64, device=memory.device),
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Feed one token per hypothesis, ``tokens`` (N,); returns log-probabilities (N, V)."""
        number, groups, length = len(tokens), state.groups, state.length
        per_group = number // groups
        x = self.embedding(tokens) + self.positions[FIRST_POSITION + length]
        if length == 0 and state.languages is not None:
            x = x + self.language_embedding(state.languages)[state.utterance]
        x = self.dropout(x).view(groups, per_group, -1)
        size = state.past[0][0].shape[2] if state.past else 0
        new = torch.arange(size, size + per_group, device=tokens.device).repeat(groups)
        paths = torch.cat([state.paths, new[:, None]], 1)
        own = None
        if per_group > 1 or size > length:
            own = paths.new_zeros(number, size + per_group, dtype=torch.bool)
            own = own.scatter_(1, paths, True).view(groups, 1, per_group, -1)
        past = []
        for i, layer in enumerate(self.layers):
            y = cast_once(layer.self_norm(x), layer.self_attention.query)
            keys, values = layer.self_attention.keys_values(y)
            if state.past:
                keys = torch.cat([state.past[i][0], keys], dim=2)
                values = torch.cat([state.past[i][1], values], dim=2)
            past.append((keys, values))
            x = x + layer.dropout(layer.self_attention(y, keys, values, own))
            y = layer.cross_attention(layer.cross_norm(x), *state.cross[i], state.memory_mask)
            x = layer.feed_forward(x + layer.dropout(y))
        log_probs = self.logits(x.view(number, -1)).float().log_softmax(-1)
        return log_probs, replace(state, past=past, paths=paths)
