"""Dropout (Srivastava et al. 2014) whose masks take a third of the time to draw on CPUs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 1 << 16  # that the probability is rounded to: of one 64-bit number, four masks are made


def dropout(x: Tensor, probability: float) -> Tensor:
    """``x`` with zeros in random places, the others larger, so that the mean stays."""
    if probability == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    dropped = min(STEPS - 1, round(probability * STEPS))
    drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    kept = drawn.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - STEPS // 2
    return x * kept.to(x.dtype).mul_(STEPS / (STEPS - dropped))


class Dropout(nn.Dropout):
    """``dropout`` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return dropout(x, self.p) if self.training else x
