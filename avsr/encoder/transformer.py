"""The pre-norm transformer of AV-HuBERT, with deep prompts: new prompt vectors in every layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from avsr.attention import Attending
from avsr.encoder.config import AVHubertConfig
from avsr.packing import ActiveLinear, shared
from avsr.progress import breathe


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
        return F.gelu(y).transpose(1, 2)


class SelfAttention(Attending):
    """Multi-head self-attention with biases, scaled by head_dim ** -0.5."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(heads, dropout)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, S, D) -> (B, S, D); ``key_mask`` (B, 1, 1, S), True = may be attended to."""
        x = shared(x, self.query)
        q, k, v = (self.split(project(x)) for project in (self.query, self.key, self.value))
        return self.out(self.attend(q, k, v, key_mask))


class EncoderLayer(nn.Module):
    """Self-attention and a GELU feed-forward block, each behind its layer norm."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = SelfAttention(config.dim, config.heads, config.attention_dropout)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.ffn_in = ActiveLinear(config.dim, config.ffn_dim, "gelu")
        self.ffn_out = nn.Linear(config.ffn_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), key_mask))
        return x + self.dropout(self.ffn_out(self.ffn_in(self.ffn_norm(x))))


class PromptedTransformer(nn.Module):
    """Positional embedding, layers, last layer norm; each layer sees its own prompts first.

    Prompt outputs of all layers but the last are dropped (deep prompt tuning, Jia et al. 2022;
    Hong, Park and Ro 2023). With ``prompts=0`` this is the encoder of AV-HuBERT.
    """

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.layerdrop = config.layerdrop
        self.position = PositionalConv(config.dim, config.position_kernel, config.position_groups)
        self.prompts = nn.Parameter(torch.empty(config.layers, config.prompts, config.dim))
        nn.init.normal_(self.prompts, std=config.dim**-0.5)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> prompt outputs (B, n, D) of the last layer and features (B, T, D)."""
        batch, n = x.shape[0], self.prompts.shape[1]
        key_mask = None
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            key_mask = F.pad(~padding_mask, (n, 0), value=True)[:, None, None, :]
        x = self.dropout(x + self.position(x))
        prompt_out = x.new_zeros(batch, n, x.shape[-1])
        for layer, prompts in zip(self.layers, self.prompts, strict=True):
            if self.training and torch.rand(()).item() < self.layerdrop:
                continue
            breathe()
            y = layer(torch.cat([prompts.expand(batch, -1, -1), x], dim=1), key_mask)
            prompt_out, x = y[:, :n], y[:, n:]
        return self.norm(prompt_out), self.norm(x)
