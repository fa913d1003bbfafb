"""Choice of the device that a network computes on."""

from typing import Any

import torch

from avsr.errors import ModelError
from avsr.settings import show

FP32: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
"""For new tensors: without it they have the defaults that the caller's program has set."""


def resolve_device(device: str) -> torch.device:
    """Turn the name of a device into a device.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: the first CUDA GPU, else the CPU.

    Raises:
        ModelError: This machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
        if resolved.type != "meta":  # which computes nothing
            return resolved
        reason = None
    except (RuntimeError, AssertionError, TypeError, ValueError, OverflowError) as error:
        reason = error
    raise ModelError(
        f"device {show(device)} is not available here; use 'cpu' or 'auto'"
    ) from reason
