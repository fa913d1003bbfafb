"""The pre-norm transformer of AV-HuBERT, with deep prompts: new prompt vectors in every layer.

With features ``f_0 = x + PosConv(x)`` and learned prompts ``P_0 .. P_(L-1)``, n vectors for each of
L layers (deep prompt tuning, Jia et al. 2022; Hong, Park and Ro 2023):

    (_,   f_i) = Layer_i(P_(i-1), f_(i-1))    for i = 1 .. L - 1
    (P_L, f_L) = Layer_L(P_(L-1), f_(L-1))
    e_av       = (LN(P_L), LN(f_L))

Each layer, for a sequence ``z = (P, f)``:

    z = z + SelfAttention(LN(z))
    z = z + W_2 gelu(W_1 LN(z))

The forward passes below are these equations. Unless ``AVSR_PLAIN=1`` they run faster equivalents:
see ``avsr.layers.packed_encoder``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from avsr.encoder.config import AVHubertConfig
from avsr.layers.attention import MultiHeadAttention
from avsr.layers.dropout import Dropout
from avsr.layers.linear import LinearActivation
from avsr.layers.packed_batch import PackedBatch
from avsr.layers.packed_encoder import run_packed_encoder, run_packed_layer
from avsr.layers.plain import plain


class PositionalConv(nn.Module):
    """Convolutional positional embedding: weight-normalised grouped convolution and GELU.

    An even kernel gives one frame too many; the last one is dropped.
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
        # On a contiguous tensor the gradient of GELU takes a third of the time.
        return F.gelu(y.transpose(1, 2).contiguous())


class EncoderLayer(nn.Module):
    """Self-attention and a GELU feed-forward block, each after a layer norm, with residuals."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = MultiHeadAttention(config.dim, config.heads, config.attention_dropout)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.ffn_in = LinearActivation(config.dim, config.ffn_dim, "gelu")
        self.ffn_out = nn.Linear(config.ffn_dim, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        packed: PackedBatch | None = None,
        prompts: Tensor | None = None,
    ) -> Tensor:
        """Compute the layer.

        Args:
            x: (B, S, D), prompts and features.
            mask: (B, 1, 1, S), True = may be attended to.
            packed: Only for ``run_packed_layer``, which explains it.
            prompts: Only for ``run_packed_layer``.

        Returns:
            (B, S, D).
        """
        if not plain():
            return run_packed_layer(self, x, mask, packed, prompts)
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, *self.attention.keys_values(y), mask))
        return x + self.dropout(self.ffn_out(self.ffn_in(self.ffn_norm(x))))


class PromptedTransformer(nn.Module):
    """Positional embedding, L layers with n prompts each, last layer norm.

    With ``prompts=0`` this is the encoder of AV-HuBERT.
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
        """Compute ``e_av``.

        Args:
            x: (B, T, D) fused features.
            padding_mask: (B, T), True = padding; None where no frame is padding.

        Returns:
            Prompt outputs (B, n, D) of the last layer and features (B, T, D).
        """
        if not plain():
            return run_packed_encoder(self, x, padding_mask)
        batch, n = x.shape[0], self.prompts.shape[1]
        mask = None
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            mask = F.pad(~padding_mask, (n, 0), value=True)[:, None, None, :]
        features = self.dropout(x + self.position(x))
        prompts = features.new_zeros(batch, n, features.shape[-1])
        for i in self.active_layers():
            first = self.prompts[i].expand(batch, -1, -1)
            y = self.layers[i](torch.cat([first, features], dim=1), mask)
            prompts, features = y[:, :n], y[:, n:]
        return self.norm(prompts), self.norm(features)

    def active_layers(self) -> list[int]:
        """Return the numbers of the layers to run: in training each is skipped by ``layerdrop``."""
        layers = list(range(len(self.layers)))
        if self.training and self.layerdrop:
            random = torch.rand(len(layers)).tolist()
            layers = [i for i in layers if random[i] >= self.layerdrop]
        return layers
