"""Calibrated probabilities of languages from the logits of the classifier."""

import torch
from torch import Tensor

UNKNOWN = "unknown"  # in place of a code where no language is likely enough
MIN_CONFIDENCE = 0.5  # calibrated; a language below it is more likely wrong than right


def probabilities(logits: Tensor, temperature: float, allowed: list[int] | None = None) -> Tensor:
    """Turn logits into calibrated probabilities of languages.

    Args:
        logits: (B, languages).
        temperature: Divides the logits (Guo et al. 2017); see ``fit_temperature``.
        allowed: Indices of the languages that share the probability; None: all.

    Returns:
        (B, languages) probabilities in fp32; 0 for a language that is not allowed.
    """
    logits = logits.float() / temperature
    if allowed is not None:
        outside = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        outside[allowed] = False
        logits = logits.masked_fill(outside, -torch.inf)
    return logits.softmax(-1)


def fit_temperature(logits: Tensor, languages: Tensor) -> float:
    """Fit the temperature that calibrates a language classifier (Guo et al. 2017).

    It minimises the mean negative log-likelihood, a convex function of the inverse temperature, by
    bisection between 0.05 and 20.

    Args:
        logits: (N, languages) logits of validation data.
        languages: (N,) true language of each row, as an index.

    Returns:
        The temperature that ``probabilities`` takes.
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
