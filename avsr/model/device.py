"""Where a network computes."""

import torch

from avsr.errors import ModelError


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first CUDA GPU where there is one; raise ModelError for a missing device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device '{device}' is not available here; use 'cpu', 'cuda' or 'auto'"
        ) from error
    return chosen
