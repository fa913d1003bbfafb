"""The encoder's transformer without padding and with prompts as keys only.

Two ideas make it faster than its definition in ``avsr.encoder.transformer``:

- Only valid frames are computed (``PackedBatch``).
- The prompt outputs of all layers but the last are never used, so they are not computed: there the
  prompts, the same ones for a whole batch, are just keys and values of the attention.

``transformer`` is always a PromptedTransformer and ``layer`` an EncoderLayer; layers do not import
a stage.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.layers.linear import cast_once
from avsr.layers.packed_batch import PackedBatch


def run_packed_encoder(
    transformer: Any, x: Tensor, padding_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute what ``PromptedTransformer.forward`` defines, with the same arguments."""
    batch, n = x.shape[0], transformer.prompts.shape[1]
    mask = frames = sequence = None
    if padding_mask is not None:
        x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        valid = F.pad(~padding_mask, (n, 0), value=True)
        mask = valid[:, None, None, :]
        frames = PackedBatch.from_mask(~padding_mask)
        sequence = PackedBatch.from_mask(valid, leading=n)
    x = x + transformer.position(x)
    x = transformer.dropout(x if frames is None else frames.pack(x))
    # Under autocast the residuals are summed in the precision of the prompts, not in bf16.
    x = x.to(torch.promote_types(x.dtype, transformer.prompts.dtype))
    active = transformer.active_layers()
    for i in active[:-1]:
        x = transformer.layers[i](x, mask, frames, transformer.prompts[i])
    prompts = x.new_zeros(batch, n, x.shape[-1])
    for i in active[-1:]:
        layer, first = transformer.layers[i], transformer.prompts[i]
        if sequence is None:
            x = layer(torch.cat([first.expand(batch, -1, -1), x], dim=1), mask)
            prompts, x = x[:, :n], x[:, n:]
        else:
            x = layer(torch.cat([first.repeat(batch, 1), x]), mask, sequence)
            prompts, x = x[: batch * n].unflatten(0, (batch, n)), x[batch * n :]
    x = transformer.norm(x)
    return transformer.norm(prompts), x if frames is None else frames.unpack(x)


def run_packed_layer(
    layer: Any,
    x: Tensor,
    mask: Tensor | None,
    packed: PackedBatch | None = None,
    prompts: Tensor | None = None,
) -> Tensor:
    """Compute one encoder layer.

    Args:
        layer: An EncoderLayer.
        x: (B, S, D), or with ``packed`` its valid rows (N, D).
        mask: (B, 1, 1, n + S), True = may be attended to; n is 0 without ``prompts``.
        packed: Which positions of (B, S) the rows of ``x`` are.
        prompts: (n, D), attended to by every position, but attending to nothing themselves.

    Returns:
        The shape of ``x``.
    """
    if prompts is not None:
        prompts = layer.attention_norm(prompts)
    y = _self_attention(layer.attention, layer.attention_norm(x), mask, packed, prompts)
    x = x + layer.dropout(y)
    return x + layer.dropout(layer.ffn_out(layer.ffn_in(layer.ffn_norm(x))))


def _self_attention(
    attention: Any,
    x: Tensor,
    mask: Tensor | None,
    packed: PackedBatch | None,
    prompts: Tensor | None,
) -> Tensor:
    """Self-attention of ``x`` with ``prompts`` as further keys and values, before those of x."""
    x = cast_once(x, attention.query)
    projections = (attention.query, attention.key, attention.value)
    queries, keys, values = (attention.split(project(x), packed) for project in projections)
    if prompts is not None:
        # y.shape[0], not len(y): an export would fix the size of the batch.
        prompts = cast_once(prompts[None], attention.query)
        keys, values = (
            torch.cat([attention.split(project(prompts)).expand(y.shape[0], -1, -1, -1), y], dim=2)
            for project, y in ((attention.key, keys), (attention.value, values))
        )
    return attention.out(attention.attend(queries, keys, values, mask, packed))
