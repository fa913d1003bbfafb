"""``avsr.layers.attention.attend`` by the kernel that is fastest for a device and number format."""

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.layers.dropout import dropout as drop


def attend_fast(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Compute what ``attend`` defines, with the same arguments."""
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
