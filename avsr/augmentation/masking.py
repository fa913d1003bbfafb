"""Masks over training input: SpecAugment on the sound, and the length of masks on the lips."""

import torch
from torch import Tensor

from avsr.rates import FBANK_BINS, FBANK_STACK

LIPS_MASK = 10  # longest mask over the lips, in video frames (0.4 s)


def mask_fbank(fbank: Tensor, generator: torch.Generator) -> Tensor:
    """Set one stretch of time and one band of frequencies to zero.

    SpecAugment (Park et al. 2019) with one time mask of at most 8 frames (and a sixth of the clip)
    and one frequency mask of at most 6 of the 26 mel bins.

    Args:
        fbank: (T, 104) filterbank, four 10 ms vectors of 26 bins per video frame.
        generator: Source of the widths and positions.

    Returns:
        A masked copy, (T, 104).
    """
    fbank = fbank.clone()
    length = fbank.shape[0]
    grid = fbank.view(length, FBANK_STACK, FBANK_BINS)
    for limit, axis in ((min(8, length // 6), 0), (6, 2)):
        width, start = torch.randint(0, 1 << 30, (2,), generator=generator).tolist()
        width %= limit + 1
        grid.narrow(axis, start % (grid.shape[axis] - width + 1), width).zero_()
    return fbank
