"""From logits to a choice: calibrated probabilities, among some languages, or none of them."""

import torch
from torch import Tensor

UNKNOWN = "unknown"  # instead of a code, where no language is likely enough
MIN_CONFIDENCE = (
    0.5  # calibrated probability below which a language is more likely wrong than right
)


def probabilities(logits: Tensor, temperature: float, allowed: list[int] | None = None) -> Tensor:
    """``logits`` (B, languages) -> probabilities of the same shape, in fp32.

    The logits are divided by the ``temperature`` (Guo et al. 2017). Only the ``allowed`` indices
    (default: all) share the probability.
    """
    logits = logits.float() / temperature
    if allowed is not None:
        outside = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        outside[allowed] = False
        logits = logits.masked_fill(outside, -torch.inf)
    return logits.softmax(-1)


def fit_temperature(logits: Tensor, languages: Tensor) -> float:
    """The temperature at which ``logits`` (N, languages) explain ``languages`` (N,) ids best.

    It minimises the mean negative log-likelihood, a convex function of the temperature's inverse,
    between 0.05 and 20 (Guo et al. 2017).
    """
    logits = logits.double()

    def slope(inverse: float) -> float:
        """Derivative of the mean negative log-likelihood by the inverse temperature."""
        expected = ((logits * inverse).softmax(-1) * logits).sum(-1)
        return float((expected - logits.gather(1, languages[:, None])[:, 0]).mean())

    low, high = 0.05, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) <= 0 else (low, middle)
    return 2 / (low + high)
