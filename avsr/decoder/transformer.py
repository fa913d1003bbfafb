"""Attention decoder: memory + language + tokens so far -> probabilities of the next token.

A pre-norm transformer decoder with tied embeddings E. With the encoder's output ``e_av`` as memory,
the language l and tokens ``y_0 = </s>, y_1, y_2, ..``:

    z_j  = E[y_j] + Position(j)      and + Language(l) for j = 0
    z    = z + SelfAttention(LN(z))  causal: position j attends to 0 .. j
    z    = z + CrossAttention(LN(z), e_av)
    z    = z + W_2 relu(W_1 LN(z))   these three lines once per layer
    log p(y_(j+1) | y_0 .. y_j, l, e_av) = log softmax(E LN(z_j))

The forward passes below are these equations. Unless ``AVSR_PLAIN=1`` they run faster equivalents:
see ``avsr.layers.packed_decoder`` and ``avsr.layers.cached_decoder``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.decoder.tokenizer import PAD
from avsr.errors import ConfigError
from avsr.layers.attention import MultiHeadAttention
from avsr.layers.cached_decoder import CachedState, start_cached, step_cached
from avsr.layers.dropout import Dropout
from avsr.layers.linear import LinearActivation
from avsr.layers.packed_batch import PackedBatch
from avsr.layers.packed_decoder import run_packed_decoder, run_packed_layer
from avsr.layers.plain import plain
from avsr.settings import Bounds, check_settings

FIRST_POSITION = PAD + 1  # positions count on from the padding id, as in the public checkpoints
MAX_POSITIONS = 2048
Size = Annotated[int, Bounds(high=65_536)]  # far above those of any network


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The attention decoder. The defaults are the paper's Base."""

    layers: Annotated[int, Bounds(high=1000)] = 6
    """Transformer layers."""
    dim: Size = 768
    """Width of the decoder; may differ from the encoder's."""
    ffn_dim: Size = 3072
    """Hidden width of each feed-forward block."""
    heads: Size = 4
    """Attention heads; must divide ``dim``."""
    dropout: float = 0.1
    """Dropout on embeddings and sub-layer outputs."""
    attention_dropout: float = 0.1
    """Dropout on attention weights."""

    def __post_init__(self) -> None:
        check_settings(self, "decoder")
        if min(self.layers, self.dim, self.ffn_dim, self.heads) <= 0:
            raise ConfigError("decoder: layers, dim, ffn_dim and heads must be positive")
        if self.dim % (2 * self.heads):
            raise ConfigError(f"decoder: dim {self.dim} must be even and divisible by heads")
        if not all(0.0 <= share < 1.0 for share in (self.dropout, self.attention_dropout)):
            raise ConfigError("decoder: dropout and attention_dropout must lie in [0, 1)")


def sinusoids(num_positions: int, dim: int) -> Tensor:
    """Compute sinusoidal positions (Vaswani et al. 2017), as halves: all sines, then all cosines.

    Args:
        num_positions: Rows of the table.
        dim: Even width; wavelengths grow from 2 pi to 10,000 * 2 pi.

    Returns:
        (num_positions, dim); the row of the padding id is zero.
    """
    half = dim // 2
    # On the CPU even in a network that is built on ``meta``, since no file holds this table.
    # In fp32 whatever the caller's default is.
    steps = torch.arange(half, dtype=torch.float32, device="cpu")
    rates = torch.exp(steps * -(math.log(10_000.0) / max(half - 1, 1)))
    angles = torch.arange(num_positions, device="cpu")[:, None] * rates
    table = torch.empty(num_positions, 2 * half, dtype=torch.float32, device="cpu")
    torch.sin(angles, out=table[:, :half])
    torch.cos(angles, out=table[:, half:])
    table[PAD] = 0.0
    return table


@dataclass
class DecoderState:
    """N hypotheses of B utterances while they grow token by token."""

    memory: Tensor
    """(B, S, D_encoder)."""
    memory_padding_mask: Tensor | None
    """(B, S), True = padding."""
    languages: Tensor | None
    """(B,) language ids."""
    utterance: Tensor
    """(N,) the utterance of each hypothesis."""
    tokens: Tensor
    """(N, L) the tokens so far."""

    @property
    def length(self) -> int:
        """Number of tokens L so far."""
        return self.tokens.shape[1]

    def select(self, rows: Tensor) -> Self:
        """Return the state of hypotheses ``rows`` (N',), in that order; rows may repeat or vanish.

        The rows of an utterance must stand together.
        """
        return replace(self, utterance=self.utterance[rows], tokens=self.tokens[rows])


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and a ReLU feed-forward block, with norms and residuals."""

    def __init__(self, config: DecoderConfig, memory_dim: int) -> None:
        super().__init__()
        dim, heads, dropout = config.dim, config.heads, config.attention_dropout
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = MultiHeadAttention(dim, heads, dropout)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = MultiHeadAttention(dim, heads, dropout, memory_dim=memory_dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = LinearActivation(dim, config.ffn_dim, "relu")
        self.ffn_out = nn.Linear(config.ffn_dim, dim)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None,
        packed: PackedBatch | None = None,
        memory_packed: PackedBatch | None = None,
    ) -> Tensor:
        """Compute the layer for all positions at once.

        Args:
            x: (B, L, D).
            memory: (B, S, D_encoder).
            memory_mask: (B, 1, 1, S), True = may be attended to.
            packed: Only for ``run_packed_layer``, which explains it.
            memory_packed: Only for ``run_packed_layer``.

        Returns:
            (B, L, D).
        """
        if not plain():
            return run_packed_layer(self, x, memory, memory_mask, packed, memory_packed)
        attention, cross = self.self_attention, self.cross_attention
        y = self.self_norm(x)
        x = x + self.dropout(attention(y, *attention.keys_values(y), causal=True))
        y = self.cross_norm(x)
        x = x + self.dropout(cross(y, *cross.keys_values(memory), memory_mask))
        return self.feed_forward(x)

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D), the feed-forward block with its norm and residual."""
        return x + self.dropout(self.ffn_out(self.ffn_in(self.ffn_norm(x))))


class AttentionDecoder(nn.Module):
    """Pre-norm transformer decoder with tied embeddings.

    The sequence begins with ``</s>`` plus a vector of the language, in place of the paper's
    language token; a zero vector gives the decoder of AV-HuBERT.
    """

    positions: Tensor

    def __init__(
        self, config: DecoderConfig, vocabulary_size: int, memory_dim: int, num_languages: int
    ) -> None:
        """Make the layers.

        Args:
            config: Sizes and dropouts.
            vocabulary_size: Tokens V, special symbols included.
            memory_dim: Width D_encoder of the memory.
            num_languages: Languages with a vector; 0 if the decoder gets no language.
        """
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

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Embed tokens (B, L) at positions ``start`` and on: (B, L, D), without the language."""
        first = FIRST_POSITION + start
        return self.embedding(tokens) + self.positions[first : first + tokens.shape[1]]

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
        """Compute the logits of the token after each of ``tokens`` (teacher forcing).

        Args:
            tokens: (B, L), beginning with ``</s>``; padding is at the end of a row.
            memory: (B, S, D_encoder).
            memory_padding_mask: (B, S), True = padding.
            languages: (B,) language ids.

        Returns:
            Logits (B, L, V); those of padding must not be used.
        """
        valid = None if memory_padding_mask is None else ~memory_padding_mask
        x = self.embed(tokens)
        if languages is not None:
            x = x + F.pad(self.language_embedding(languages)[:, None], (0, 0, 0, x.shape[1] - 1))
        if not plain():
            return run_packed_decoder(self, x, memory, tokens != PAD, valid)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, memory, None if valid is None else valid[:, None, None, :])
        return self.logits(x)

    def start(
        self,
        memory: Tensor,
        memory_padding_mask: Tensor | None = None,
        languages: Tensor | None = None,
    ) -> DecoderState | CachedState:
        """Return the state before the first token, one hypothesis per utterance.

        Args:
            memory: (B, S, D_encoder).
            memory_padding_mask: (B, S), True = padding.
            languages: (B,) language ids.

        Returns:
            A state with N = B hypotheses, for ``step``.
        """
        if not plain():
            return start_cached(self, memory, memory_padding_mask, languages)
        rows = torch.arange(len(memory), device=memory.device)
        tokens = rows.new_empty(len(memory), 0)
        return DecoderState(memory, memory_padding_mask, languages, rows, tokens)

    def step(
        self, tokens: Tensor, state: DecoderState | CachedState
    ) -> tuple[Tensor, DecoderState | CachedState]:
        """Append one token to each hypothesis.

        Args:
            tokens: (N,) the tokens to append; first ``</s>``.
            state: State of the N hypotheses.

        Returns:
            Natural-log probabilities (N, V) of the next token, and the new state.
        """
        if isinstance(state, CachedState):
            return step_cached(self, tokens, state)
        state = replace(state, tokens=torch.cat([state.tokens, tokens[:, None]], dim=1))
        padding_mask, languages, rows = state.memory_padding_mask, state.languages, state.utterance
        logits = self(
            state.tokens,
            state.memory[rows],
            None if padding_mask is None else padding_mask[rows],
            None if languages is None else languages[rows],
        )
        return logits[:, -1].float().log_softmax(-1), state
