"""The attention decoder over whole sequences without padding; see ``avsr.decoder.transformer``.

``decoder`` is always an AttentionDecoder and ``layer`` a DecoderLayer; layers do not import a
stage.
"""

from typing import Any

from torch import Tensor

from avsr.layers.linear import cast_once
from avsr.layers.packed_batch import PackedBatch


def run_packed_decoder(
    decoder: Any,
    x: Tensor,
    memory: Tensor,
    valid: Tensor,
    memory_valid: Tensor | None,
) -> Tensor:
    """Compute the logits of every token at once (teacher forcing).

    Args:
        decoder: An AttentionDecoder.
        x: (B, L, D) embedded tokens.
        memory: (B, S, D_encoder).
        valid: (B, L), False = padding.
        memory_valid: (B, S), False = padding; None where nothing is padding.

    Returns:
        Logits (B, L, V); those of padding must not be used.
    """
    packed, memory_packed = PackedBatch.from_mask(valid), None
    mask = None if memory_valid is None else memory_valid[:, None, None, :]
    if memory_valid is not None:
        memory_packed = PackedBatch.from_mask(memory_valid)
    memory = memory if memory_packed is None else memory_packed.pack(memory)
    memory = cast_once(memory, decoder.layers[0].cross_attention.key)
    x = decoder.dropout(x if packed is None else packed.pack(x))
    for layer in decoder.layers:
        x = layer(x, memory, mask, packed, memory_packed)
    x = decoder.logits(x)
    return x if packed is None else packed.unpack(x)


def run_packed_layer(
    layer: Any,
    x: Tensor,
    memory: Tensor,
    memory_mask: Tensor | None,
    packed: PackedBatch | None = None,
    memory_packed: PackedBatch | None = None,
) -> Tensor:
    """Compute one decoder layer.

    Args:
        layer: A DecoderLayer.
        x: (B, L, D), or with ``packed`` its valid rows (N, D).
        memory: (B, S, D_encoder), or with ``memory_packed`` its valid rows.
        memory_mask: (B, 1, 1, S), True = may be attended to.
        packed: Which positions of (B, L) the rows of ``x`` are.
        memory_packed: Which positions of (B, S) the rows of ``memory`` are.

    Returns:
        The shape of ``x``.
    """
    attention, cross = layer.self_attention, layer.cross_attention
    y = cast_once(layer.self_norm(x), attention.query)
    y = attention(y, *attention.keys_values(y, packed), None, packed, causal=True)
    x = x + layer.dropout(y)
    y = layer.cross_norm(x)
    y = cross(y, *cross.keys_values(memory, memory_packed), memory_mask, packed)
    return layer.feed_forward(x + layer.dropout(y))
