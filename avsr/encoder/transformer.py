"""The pre-norm transformer of AV-HuBERT, with deep prompts: new prompt vectors in every layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from avsr.encoder.config import AVHubertConfig
from avsr.layers.attention import MultiHeadAttention, PackedBatch
from avsr.layers.dropout import Dropout
from avsr.layers.linear import LinearActivation, cast_once
from avsr.runtime.progress import check_cancelled


class PositionalConv(nn.Module):
    """Convolutional positional embedding: weight-normalised grouped convolution and GELU.

    An even kernel would give one frame too many; the last one is dropped.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=(4.0 / (kernel * dim)) ** 0.5)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.conv = parametrizations.weight_norm(conv, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        y = self.conv(x.transpose(1, 2))[:, :, : x.shape[1]]
        # On a tensor in one piece the gradient of GELU takes a third of the time.
        return F.gelu(y.transpose(1, 2).contiguous())


class SelfAttention(MultiHeadAttention):
    """Multi-head self-attention with biases, scaled by head_dim ** -0.5."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(heads, dropout)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        key_mask: Tensor | None,
        rows: PackedBatch | None = None,
        prompts: Tensor | None = None,
    ) -> Tensor:
        """(B, S, D) -> (B, S, D), or ``rows`` of both; ``key_mask`` (B, 1, 1, n + S), True = may be
        attended to. ``prompts`` (n, D) are attended to by all, but attend to nothing themselves.
        """
        x = cast_once(x, self.query)
        q, k, v = (self.split(project(x), rows) for project in (self.query, self.key, self.value))
        if prompts is not None:
            before = cast_once(prompts[None], self.query)
            k, v = (
                torch.cat([self.split(project(before)).expand(y.shape[0], -1, -1, -1), y], dim=2)
                for project, y in ((self.key, k), (self.value, v))
            )
        return self.out(self.attend(q, k, v, key_mask, rows))


class EncoderLayer(nn.Module):
    """Self-attention and a GELU feed-forward block, each behind its layer norm."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = SelfAttention(config.dim, config.heads, config.attention_dropout)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.ffn_in = LinearActivation(config.dim, config.ffn_dim, "gelu")
        self.ffn_out = nn.Linear(config.ffn_dim, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        key_mask: Tensor | None,
        rows: PackedBatch | None = None,
        prompts: Tensor | None = None,
    ) -> Tensor:
        """(B, S, D) -> (B, S, D), or ``rows`` (N, D) of both; see SelfAttention.forward."""
        before = None if prompts is None else self.attention_norm(prompts)
        y = self.attention(self.attention_norm(x), key_mask, rows, before)
        x = x + self.dropout(y)
        return x + self.dropout(self.ffn_out(self.ffn_in(self.ffn_norm(x))))


class PromptedTransformer(nn.Module):
    """Positional embedding, layers, last layer norm; each layer sees its own prompts first.

    What the layers but the last make of their prompts is dropped (deep prompt tuning, Jia et al.
    2022; Hong, Park and Ro 2023), so it is not computed: there the prompts, the same ones for all
    of a batch, are just keys and values. With ``prompts=0`` this is the encoder of AV-HuBERT.
    """

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.layerdrop = config.layerdrop
        self.position = PositionalConv(config.dim, config.position_kernel, config.position_groups)
        self.prompts = nn.Parameter(torch.empty(config.layers, config.prompts, config.dim))
        nn.init.normal_(self.prompts, std=config.dim**-0.5)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> prompt outputs (B, n, D) of the last layer and features (B, T, D)."""
        batch, n = x.shape[0], self.prompts.shape[1]
        key_mask = frames = rows = None
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            valid = F.pad(~padding_mask, (n, 0), value=True)
            key_mask = valid[:, None, None, :]
            frames, rows = PackedBatch.of(~padding_mask), PackedBatch.of(valid, first=n)
        x = x + self.position(x)
        x = self.dropout(x if frames is None else frames.pack(x))
        # Under autocast the residuals are summed in the precision of the prompts, not in bf16.
        x = x.to(torch.promote_types(x.dtype, self.prompts.dtype))
        chosen = list(range(len(self.layers)))
        if self.training and self.layerdrop:
            drawn = torch.rand(len(chosen)).tolist()
            chosen = [i for i in chosen if drawn[i] >= self.layerdrop]
        for i in chosen[:-1]:
            check_cancelled()
            x = self.layers[i](x, key_mask, frames, self.prompts[i])
        prompts = x.new_zeros(batch, n, x.shape[-1])
        for i in chosen[-1:]:
            check_cancelled()
            if rows is None:
                before = self.prompts[i].expand(batch, -1, -1)
                x = self.layers[i](torch.cat([before, x], dim=1), key_mask)
                prompts, x = x[:, :n], x[:, n:]
            else:
                x = self.layers[i](torch.cat([self.prompts[i].repeat(batch, 1), x]), key_mask, rows)
                prompts, x = x[: batch * n].unflatten(0, (batch, n)), x[batch * n :]
        x = self.norm(x)
        return self.norm(prompts), x if frames is None else frames.unpack(x)
