"""Language classifier: convolutions over prompt outputs and features (Hong, Park and Ro 2023)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LanguageClassifier(nn.Module):
    """Four blocks of 1-D convolution, batch norm and ReLU, mean over time, two linear layers.

    Args:
        in_dim: Width of the memory, D.
        channels: Width of the hidden layers.
        num_languages: Number of logits.
        kernel: Frames that a convolution sees, odd.
    """

    def __init__(self, in_dim: int, channels: int, num_languages: int, kernel: int = 5) -> None:
        super().__init__()
        widths = [in_dim, *[channels] * 4]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, kernel, padding=kernel // 2) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in self.convs)
        self.hidden = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, num_languages)

    def forward(self, memory: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Compute the logits of every language.

        Padding is zero for every convolution and left out of batch statistics and the mean, so that
        a clip gets the same logits alone and in a batch.

        Args:
            memory: (B, S, D) prompt outputs and features.
            padding_mask: (B, S), True = padding; None: no padding.

        Returns:
            (B, languages) logits.
        """
        if padding_mask is None:
            padding_mask = torch.zeros(memory.shape[:2], dtype=torch.bool, device=memory.device)
        valid = ~padding_mask
        x = memory.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = conv(x.transpose(1, 2)).transpose(1, 2)
            packed = F.relu(norm(y[valid]))
            x = torch.zeros_like(y, dtype=packed.dtype)
            x[valid] = packed
        mean = x.sum(1) / valid.sum(1, keepdim=True)
        return self.out(F.relu(self.hidden(mean)))
