"""Scaled dot-product attention (Vaswani et al. 2017), by the kernel that is fastest."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Attending(nn.Module):
    """What layers of attention have in common: heads, and what they are computed in."""

    def __init__(self, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.dtype: torch.dtype | None = None  # of queries, keys and values; None: as they come

    def split(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)."""
        return rearrange(
            x if self.dtype is None else x.to(self.dtype), "b l (h d) -> b h l d", h=self.heads
        )

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """See ``attend``; returns (B, L, D), in fp32 where the layer has a precision of its own."""
        dropout = self.dropout if self.training else 0.0
        y = rearrange(
            attend(queries, keys, values, mask, dropout=dropout, causal=causal),
            "b h l d -> b l (h d)",
        )
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
    return F.dropout(scores.softmax(-1), dropout) @ values
