"""Scaled dot-product attention (Vaswani et al. 2017), by the kernel that is fastest."""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsr.layers.dropout import dropout as drop


class PackedBatch:
    """The places of a padded batch (B, S) that are no padding, as N rows.

    What treats every place by itself, all but attention and convolutions, need not treat padding.
    """

    def __init__(self, places: Tensor, shape: torch.Size) -> None:
        """``places`` (N,) of 0 .. B * S - 1, in the order of the rows; ``shape`` (B, S)."""
        self.places, self.shape = places, shape
        self.sources = places.new_zeros(shape.numel())
        self.sources[places] = torch.arange(len(places), device=places.device)
        absent = torch.ones_like(self.sources, dtype=torch.bool)
        absent[places] = False
        self.absent = absent.nonzero()[:, 0]

    @classmethod
    def of(cls, valid: Tensor, first: int = 0) -> "PackedBatch | None":
        """Those of ``valid`` (B, S), False = padding; those of the ``first`` places of each of the
        B come before all others.

        None where it is of no use: without padding, in an export, or on a GPU, which would have to
        wait for their number.
        """
        if valid.device.type != "cpu" or torch.compiler.is_exporting() or bool(valid.all()):
            return None
        places = torch.arange(valid.numel()).view(valid.shape)
        head, rest = places[:, :first].flatten(), places[:, first:][valid[:, first:]]
        return cls(torch.cat([head, rest]), valid.shape)

    def pack(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (N, D)."""
        packed: Tensor = _Pack.apply(x, self)
        return packed

    def unpack(self, x: Tensor) -> Tensor:
        """(N, D) -> (B, S, D), with copies of a row as padding, which must not be used."""
        unpacked: Tensor = _Unpack.apply(x, self)
        return unpacked


class _Pack(torch.autograd.Function):
    """Its gradient, and that of _Unpack, is copied row by row; PyTorch's own would be added up row
    by row, since it cannot know that none comes twice, which is slower.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: PackedBatch) -> Tensor:
        ctx.rows = rows
        return x.flatten(0, 1).index_select(0, rows.places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        rows = ctx.rows
        full = grad.index_select(0, rows.sources).index_fill_(0, rows.absent, 0.0)
        return full.unflatten(0, rows.shape), None


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: PackedBatch) -> Tensor:
        ctx.rows = rows
        return x.index_select(0, rows.sources).unflatten(0, rows.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.flatten(0, 1).index_select(0, ctx.rows.places), None


class MultiHeadAttention(nn.Module):
    """What layers of attention have in common: heads, and what they are computed in."""

    def __init__(self, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.dtype: torch.dtype | None = None  # of queries, keys and values; None: as they come

    def split(self, x: Tensor, rows: PackedBatch | None = None) -> Tensor:
        """(B, L, D), or ``rows`` (N, D) of it -> (B, heads, L, D / heads)."""
        x = x if self.dtype is None else x.to(self.dtype)
        x = x if rows is None else rows.unpack(x)
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        rows: PackedBatch | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """See ``attend``; returns (B, L, D), or ``rows`` (N, D) of it, in fp32 where the layer has
        a precision of its own.
        """
        dropout = self.dropout if self.training else 0.0
        y = rearrange(
            attend(queries, keys, values, mask, dropout=dropout, causal=causal),
            "b h l d -> b l (h d)",
        )
        y = y if rows is None else rows.pack(y)
        return y if self.dtype is None else y.float()


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """(B, heads, L, d), (B, heads, S, d), (B, heads, S, d) -> (B, heads, L, d).

    ``mask`` broadcasts to (B, heads, L, S), True = may be attended to; every query must have one.
    ``causal`` lets a query see its own place and earlier ones, with as many keys as queries.
    """
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal
        )
    # On CPUs the fused kernel takes twice as long in bf16 as these products, its backward pass
    # three times.
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-2, -1)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
    return drop(scores.softmax(-1), dropout) @ values
