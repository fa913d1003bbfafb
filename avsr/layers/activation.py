"""Activations with trained weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.layers.plain import plain


class PReLU(nn.PReLU):
    """``nn.PReLU`` with a faster backward pass on CPUs (a quarter of the time in bf16)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        if plain() or not torch.is_grad_enabled():
            return super().forward(x)
        slope = self.weight.to(x.dtype).view(-1, *[1] * (x.dim() - 2))
        return F.relu(x) - slope * F.relu(-x)
