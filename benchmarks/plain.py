"""The baseline: the network and its search as one would first write them in PyTorch.

It uses the weights of an AVSRModel. Attention is written out, no memory layout is chosen for a
kernel, keys and values of the memory are repeated for every hypothesis, and those of the tokens are
copied when the hypotheses are reordered. The search uses attention alone.
"""

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from avsr.decoder import EOS, PAD
from avsr.decoder.transformer import FIRST_POSITION


def lay_out(model: Any) -> None:
    """Change the weights of the convolutions to PyTorch's default layout."""
    for module in model.encoder.frontend.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.data = module.weight.data.contiguous()


def split(x: Tensor, heads: int) -> Tensor:
    """(B, L, D) -> (B, heads, L, D / heads)."""
    return rearrange(x, "b l (h d) -> b h l d", h=heads).contiguous()


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(B, heads, L, d), (B, heads, S, d), (B, heads, S, d) -> (B, L, D)."""
    weights = (queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])).softmax(-1)
    return rearrange(weights @ values, "b h l d -> b l (h d)")


def encode_mouth(model: Any, mouth: Tensor) -> Tensor:
    """(1, T, 88, 88) -> (1, T, 8 * width)."""
    front = model.encoder.frontend
    x = front.stem_act(front.stem_norm(front.stem(mouth[:, None])))
    x = front.stem_pool(rearrange(x, "b c t h w -> (b t) c h w").contiguous())
    return front.blocks(x).mean((2, 3))[None]


def encode(model: Any, fbank: Tensor, mouth: Tensor) -> Tensor:
    """(1, T, 104), (1, T, 88, 88) -> (1, n + T, D)."""
    encoder, transformer = model.encoder, model.encoder.transformer
    video = encoder.video_proj(encode_mouth(model, mouth))
    audio = encoder.audio_proj(fbank)
    if encoder.reliability is not None:
        scores = encoder.reliability(audio, video, None)
        audio, video = audio * scores[..., :1], video * scores[..., 1:]
    x = encoder.fusion_proj(encoder.fusion_norm(torch.cat([audio, video], 2)))
    x = x + transformer.position(x)
    prompts, n = x[:, :0], transformer.prompts.shape[1]
    for layer, first in zip(transformer.layers, transformer.prompts, strict=True):
        x = torch.cat([first[None], x], 1)
        y, attention = layer.attention_norm(x), layer.attention
        projections = (attention.query, attention.key, attention.value)
        q, k, v = (split(project(y), attention.heads) for project in projections)
        x = x + attention.out(attend(q, k, v))
        x = x + layer.ffn_out(layer.ffn_in(layer.ffn_norm(x)))
        prompts, x = x[:, :n], x[:, n:]
    return transformer.norm(torch.cat([prompts, x], 1))


def search(model: Any, memory: Tensor, beam: int, length: int) -> list[int]:
    """Return the best hypothesis of exactly ``length`` tokens, for language 0."""
    decoder = model.decoder
    repeated, heads = memory.expand(beam, -1, -1), model.config.decoder.heads
    crosses = [
        tuple(
            split(project(repeated), heads)
            for project in (layer.cross_attention.key, layer.cross_attention.value)
        )
        for layer in decoder.layers
    ]
    empty = memory.new_empty(beam, heads, 0, model.config.decoder.dim // heads)
    caches = [(empty, empty)] * len(crosses)
    tokens = torch.full((beam, 1), EOS)
    scores = torch.full((beam,), -math.inf)
    scores[0] = 0.0
    for step in range(length):
        x = decoder.embedding(tokens[:, -1:]) + decoder.positions[FIRST_POSITION + step]
        if step == 0:
            x = x + decoder.language_embedding.weight[0]
        for i, (layer, cross) in enumerate(zip(decoder.layers, crosses, strict=True)):
            y, attention = layer.self_norm(x), layer.self_attention
            keys = torch.cat([caches[i][0], split(attention.key(y), heads)], 2)
            values = torch.cat([caches[i][1], split(attention.value(y), heads)], 2)
            caches[i] = keys, values
            x = x + attention.out(attend(split(attention.query(y), heads), keys, values))
            y, attention = layer.cross_norm(x), layer.cross_attention
            x = x + attention.out(attend(split(attention.query(y), heads), *cross))
            x = x + layer.ffn_out(layer.ffn_in(layer.ffn_norm(x)))
        log_probs = decoder.logits(x[:, 0]).log_softmax(-1)
        log_probs[:, [EOS, PAD]] = -math.inf
        totals = (scores[:, None] + log_probs).flatten()
        scores, best = totals.topk(beam)
        parents, last = best // log_probs.shape[1], best % log_probs.shape[1]
        tokens = torch.cat([tokens[parents], last[:, None]], 1)
        caches = [(keys[parents], values[parents]) for keys, values in caches]
    return tokens[0, 1:].tolist()
