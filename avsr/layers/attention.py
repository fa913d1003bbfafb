"""Scaled dot-product attention and its multi-head form (Vaswani et al. 2017)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from avsr.layers.attention_kernels import attend_fast
from avsr.layers.dropout import dropout as drop
from avsr.layers.linear import cast_once
from avsr.layers.packed_batch import PackedBatch
from avsr.layers.plain import plain


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Compute ``softmax(Q K^T / sqrt(d)) V`` for every head (Vaswani et al. 2017, equation 1).

    Args:
        queries: Q, (B, heads, L, d).
        keys: K, (B, heads, S, d).
        values: V, (B, heads, S, d).
        mask: Broadcasts to (B, heads, L, S), True = may be attended to; at least one per query.
        dropout: Probability with which an attention weight is set to zero.
        causal: Query l attends to keys 0 .. l only; needs L = S and no mask.

    Returns:
        (B, heads, L, d).
    """
    if not plain():
        return attend_fast(queries, keys, values, mask, dropout=dropout, causal=causal)
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return drop(scores.softmax(-1), dropout) @ values


class MultiHeadAttention(nn.Module):
    """Multi-head attention: ``[head_1; ...; head_h] W_O``.

    ``head_i`` attends with queries ``X W_Q`` to keys ``M W_K`` and values ``M W_V``. In
    self-attention the memory M is X.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float, *, memory_dim: int | None = None
    ) -> None:
        """Make the four projections.

        Args:
            dim: Width D of queries and outputs; ``heads`` must divide it.
            heads: Number of heads, each of width d = D / heads.
            dropout: Probability with which an attention weight is set to zero in training.
            memory_dim: Width of the memory (None: ``dim``).
        """
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.dtype: torch.dtype | None = None  # bf16 on CPUs made for it; None: as it comes
        memory_dim = dim if memory_dim is None else memory_dim
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(memory_dim, dim)
        self.value = nn.Linear(memory_dim, dim)
        self.out = nn.Linear(dim, dim)

    def keys_values(
        self, memory: Tensor, packed: PackedBatch | None = None
    ) -> tuple[Tensor, Tensor]:
        """Project a memory (B, S, D_memory) to keys and values (B, heads, S, d).

        With ``packed`` the memory is given as its valid rows (N, D_memory).
        """
        memory = cast_once(memory, self.key)
        return self.split(self.key(memory), packed), self.split(self.value(memory), packed)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        packed: PackedBatch | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Attend from ``x`` to keys and values; see ``attend`` for mask and causal.

        Args:
            x: (B, L, D), or with ``packed`` its valid rows (N, D).
            keys: (B, heads, S, d), as ``keys_values`` returns them.
            values: (B, heads, S, d).
            mask: Broadcasts to (B, heads, L, S), True = may be attended to.
            packed: Which positions of (B, L) the rows of ``x`` are.
            causal: Attend to this and earlier positions only.

        Returns:
            The shape of ``x``.
        """
        queries = self.split(self.query(x), packed)
        return self.out(self.attend(queries, keys, values, mask, packed, causal=causal))

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        packed: PackedBatch | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Attend in every head and join the heads: (B, L, D), or its valid rows (N, D)."""
        dropout = self.dropout if self.training else 0.0
        y = attend(queries, keys, values, mask, dropout=dropout, causal=causal)
        y = rearrange(y, "b h l d -> b l (h d)")
        y = y if packed is None else packed.pack(y)
        return y if self.dtype is None else y.float()

    def split(self, x: Tensor, packed: PackedBatch | None = None) -> Tensor:
        """Split into heads: (B, L, D), or its valid rows (N, D) -> (B, heads, L, d)."""
        x = x if self.dtype is None else x.to(self.dtype)
        x = x if packed is None else packed.unpack(x)
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)
