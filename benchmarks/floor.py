"""Limits of this machine: rates of a large matrix product, of a sum and of a copy.

The floor of a computation is the least time that it could take: its operations at the rate of the
product, or its bytes at the rate of a copy or a sum, whichever is longer.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any


def timed(function: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Return the median of the seconds of ``runs``, after a first run, and the last result."""
    seconds, result = [], function()
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def product_rate(kind: str = "fp32") -> float:
    """Return operations per second of a product of 1024 x 1024 x 4096 in fp32, bf16 or int8."""
    import torch
    from torch import nn

    from avsr.layers.linear import PackedLinear
    from avsr.model.quantization import Int8Linear

    like, x = nn.Linear(1024, 4096), torch.randn(1024, 1024)
    layer: nn.Module = PackedLinear(like, like.weight, like.bias)
    if kind == "bf16":
        layer = PackedLinear(like, like.weight, like.bias, torch.bfloat16)
    elif kind == "int8":
        layer = Int8Linear(like, like.weight, None, like.bias)
    with torch.no_grad():
        seconds, _ = timed(lambda: layer(x), 9)
    return 2 * 1024 * 1024 * 4096 / seconds


def sum_rate() -> float:
    """Return the bytes per second that a sum reads."""
    import torch

    numbers = torch.randn(1 << 26)
    return 4 * len(numbers) / timed(numbers.sum, 9)[0]


def copy_rate() -> float:
    """Return the bytes per second that a copy writes; it reads as many."""
    import torch

    numbers = torch.randn(1 << 26)
    other = torch.empty_like(numbers)
    return 4 * len(numbers) / timed(lambda: other.copy_(numbers), 9)[0]
