"""Scaled dot-product attention (Vaswani et al. 2017), by the kernel that is fastest."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    training = torch.is_grad_enabled() and queries.requires_grad
    if not (training and queries.device.type == "cpu" and queries.dtype == torch.bfloat16):
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal
        )
    # On CPUs the fused kernel's backward pass in bf16 takes three times as long as these products.
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-2, -1)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
    return F.dropout(scores.softmax(-1), dropout) @ values
