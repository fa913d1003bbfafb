"""The paper's loss: gamma * (alpha * CTC + (1 - alpha) * attention + beta * language)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.decoder import BLANK, PAD

NO_TARGET = -100  # frames without alignment target


def language_weights(languages: Tensor, num_languages: int) -> Tensor:
    """gamma (B,) = 1 / sqrt(share of the sample's language in the batch).

    ``languages`` (B,) ids (Hong, Park and Ro 2023, "inverse-root" balance).
    """
    share = torch.bincount(languages, minlength=num_languages) / len(languages)
    return share[languages].rsqrt()


@dataclass(frozen=True)
class JointLoss:
    """The weighted sum and its parts, each a mean over the batch."""

    total: Tensor
    ctc: Tensor
    attention: Tensor
    language: Tensor
    alignment: Tensor


def joint_loss(
    *,
    ctc_log_probs: Tensor,
    lengths: Tensor,
    logits: Tensor,
    targets: Tensor,
    language_logits: Tensor,
    languages: Tensor,
    frame_targets: Tensor,
    ctc_weight: float,
    language_weight: float,
    alignment_weight: float,
    label_smoothing: float,
) -> JointLoss:
    """Loss of a batch.

    ``ctc_log_probs`` (B, T, V) with ``lengths`` (B,) frames; decoder ``logits`` (B, L, V);
    ``targets`` (B, L) tokens ending with ``</s>``, padded with ``<pad>``; ``language_logits``
    (B, languages) and ``languages`` (B,); ``frame_targets`` (B, T) tokens or NO_TARGET.
    CTC and attention losses are means over the tokens of a sample.
    """
    gamma = language_weights(languages, language_logits.shape[1])
    is_token = targets != PAD
    target_lengths = is_token.sum(1)
    attention = F.cross_entropy(
        logits.float().transpose(1, 2),
        targets,
        ignore_index=PAD,
        label_smoothing=label_smoothing,
        reduction="none",
    ).sum(1) / target_lengths.clamp(min=1)
    ctc_lengths = target_lengths - 1  # CTC has no </s>
    ctc = F.ctc_loss(
        ctc_log_probs.transpose(0, 1),
        targets,
        lengths,
        ctc_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    ) / ctc_lengths.clamp(min=1)
    language = F.cross_entropy(language_logits.float(), languages, reduction="none")
    per_sample = ctc_weight * ctc + (1 - ctc_weight) * attention + language_weight * language
    alignment = torch.zeros_like(ctc)
    if alignment_weight:
        has_target = frame_targets != NO_TARGET
        alignment = F.nll_loss(
            ctc_log_probs.transpose(1, 2), frame_targets, ignore_index=NO_TARGET, reduction="none"
        ).sum(1) / has_target.sum(1).clamp(min=1)
        per_sample = per_sample + alignment_weight * alignment
    return JointLoss(
        total=(gamma * per_sample).mean(),
        ctc=ctc.mean().detach(),
        attention=attention.mean().detach(),
        language=language.mean().detach(),
        alignment=alignment.mean().detach(),
    )
