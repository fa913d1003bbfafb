"""What a hypothesis rests on: the statistics by which ``avsr.model.reliability`` judges."""

import math

import torch
from torch import Tensor

from avsr.decoder.tokenizer import BLANK
from avsr.search import Hypothesis
from avsr.transcript import Word

MIN_DOUBT = 1e-6  # about what fp32 tells from certainty


def collect_evidence(
    hypothesis: Hypothesis,
    words: tuple[Word, ...],
    ctc_log_probs: Tensor | None,
    language_prob: float | None,
) -> dict[str, float]:
    """Compute the statistics of one recording.

    Args:
        hypothesis: Its best hypothesis.
        words: The hypothesis as words with their confidence; empty for a model without CTC head.
        ctc_log_probs: (T, V) of its frames; None for a model without CTC head.
        language_prob: Probability of the likeliest language, or of the one that the caller named;
            None for a model without classifier.

    Returns:
        Value by name of the statistic; empty if the hypothesis has no tokens.
    """
    if not hypothesis.tokens:
        return {}
    evidence = {"token_score": hypothesis.attention_score / len(hypothesis.token_scores)}
    if ctc_log_probs is not None:
        confidences = [word.confidence for word in words] or [0.0]  # CTC has no path for them
        evidence["word_confidence"] = sum(confidences) / len(confidences)
        evidence["ctc_entropy"] = _ctc_entropy(ctc_log_probs)
    if language_prob is not None:
        # In nats: nearly all validation clips have a probability near 1.
        evidence["language_certainty"] = -math.log(max(1 - language_prob, MIN_DOUBT))
    return evidence


def _ctc_entropy(log_probs: Tensor) -> float:
    """Mean entropy in nats of the frames in which CTC emits a token."""
    spoken = log_probs[log_probs.argmax(-1) != BLANK]
    if not len(spoken):
        spoken = log_probs
    return float(-torch.sum(spoken.exp() * spoken, -1).mean())
