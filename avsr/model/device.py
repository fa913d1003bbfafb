"""Choice of the device that a network computes on."""

import torch

from avsr.errors import ModelError


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
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device '{device}' is not available here; use 'cpu', 'cuda' or 'auto'"
        ) from error
    return resolved
