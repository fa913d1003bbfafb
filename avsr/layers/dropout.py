"""Dropout (Srivastava et al. 2014) whose masks take a third of the time to draw on CPUs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.layers.plain import plain

STEPS = 1 << 16  # the probability is rounded to 1 / STEPS, so that one int64 gives four masks


def dropout(x: Tensor, probability: float) -> Tensor:
    """Set random elements to zero and scale the others, so that the mean stays.

    Args:
        x: Any shape.
        probability: Share of elements to set to zero, in [0, 1).

    Returns:
        The shape of ``x``; ``x`` itself if the probability is 0.
    """
    if probability == 0.0:
        return x
    if plain() or x.device.type != "cpu":
        return F.dropout(x, probability)
    threshold = min(STEPS - 1, round(probability * STEPS))
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    mask = bits.view(torch.int16)[: x.numel()].view(x.shape) >= threshold - STEPS // 2
    return x * mask.to(x.dtype).mul_(STEPS / (STEPS - threshold))


class Dropout(nn.Dropout):
    """``dropout`` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return dropout(x, self.p) if self.training else x
