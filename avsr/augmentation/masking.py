"""TODO."""

import torch
from torch import Tensor

from avsr.rates import FBANK_BINS, FBANK_STACK

LIPS_MASK = 10  # most frames of a mask over the lips


def mask_fbank(fbank: Tensor, generator: torch.Generator) -> Tensor:
    """SpecAugment (Park et al. 2019): one mask in time, one in frequency; ``fbank`` (T, 104)."""
    fbank = fbank.clone()
    length = fbank.shape[0]
    grid = fbank.view(length, FBANK_STACK, FBANK_BINS)
    for limit, axis in ((min(8, length // 6), 0), (6, 2)):
        width, start = torch.randint(0, 1 << 30, (2,), generator=generator).tolist()
        width %= limit + 1
        grid.narrow(axis, start % (grid.shape[axis] - width + 1), width).zero_()
    return fbank
