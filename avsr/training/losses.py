"""The paper's loss: gamma * (alpha * CTC + (1 - alpha) * attention + beta * language)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.decoder import BLANK, PAD

NO_TARGET = -100  # half frame without a known phone, frame without a known reliability


def language_weights(languages: Tensor, language_counts: Tensor) -> Tensor:
    """Compute gamma, the weight of each sample in the loss.

    gamma = 1 / sqrt(share of the sample's language in the whole batch), the "inverse-root" balance
    of Hong, Park and Ro (2023).

    Args:
        languages: (B,) language ids.
        language_counts: (languages,) samples of each language in the whole batch.

    Returns:
        gamma (B,).
    """
    share = language_counts / language_counts.sum()
    return share[languages].rsqrt()


@dataclass(frozen=True)
class JointLoss:
    """The weighted sum of the losses, and each loss as a mean over the micro-batch."""

    total: Tensor
    """The micro-batch's share of the mean over the whole batch: the totals of all micro-batches add
    up to that mean."""
    ctc: Tensor
    attention: Tensor
    language: Tensor
    phone: Tensor
    guide: Tensor
    reliability: Tensor


def guide_loss(log_attention: Tensor, token_spans: Tensor) -> Tensor:
    """Compute the guided attention loss: -log of the attention inside the frames of each token.

    Args:
        log_attention: (B, H, L, T) log-weights over the frames.
        token_spans: (B, L, 2) first frame and the one after the last; equal if the frames of a
            token are unknown.

    Returns:
        (B,) means over heads and over tokens whose frames are known.
    """
    frames = torch.arange(log_attention.shape[3], device=log_attention.device)
    first, last = token_spans[..., :1], token_spans[..., 1:]
    inside = (frames >= first) & (frames < last)
    has_span = inside.any(2)
    mass = log_attention.masked_fill(~inside[:, None], -torch.inf).logsumexp(3)
    loss = -mass.masked_fill(~has_span[:, None], 0.0).mean(1)
    return loss.sum(1) / has_span.sum(1).clamp(min=1)


def reliability_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Compute the binary cross-entropy of reliability scores.

    Args:
        scores: (B, T, 2) in (0, 1), fp32.
        targets: (B, T, 2) from 0 to 1, or NO_TARGET.

    Returns:
        (B,) means over frames and modalities with a target.
    """
    known = targets != NO_TARGET
    with torch.autocast(scores.device.type, enabled=False):  # which refuses it on a GPU
        loss = F.binary_cross_entropy(scores, targets.clamp(min=0.0), reduction="none")
    return (loss * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def joint_loss(
    *,
    ctc_log_probs: Tensor,
    lengths: Tensor,
    logits: Tensor,
    targets: Tensor,
    language_logits: Tensor,
    languages: Tensor,
    language_counts: Tensor,
    phone_logits: Tensor | None,
    phones: Tensor,
    guide: Tensor | None,
    ctc_loss_weight: float,
    language_loss_weight: float,
    phone_loss_weight: float,
    guide_loss_weight: float,
    label_smoothing: float,
    balance: bool = True,
    reliability: Tensor | None = None,
    reliability_loss_weight: float = 0.0,
) -> JointLoss:
    """Compute the loss of a batch, or of a micro-batch.

    CTC and attention losses are means over the tokens of a sample, the phone loss is a mean over
    its half frames.

    Args:
        ctc_log_probs: (B, T, V).
        lengths: (B,) frames.
        logits: (B, L, V) of the decoder.
        targets: (B, L) tokens that end with ``</s>``, padded with ``<pad>``.
        language_logits: (B, languages).
        languages: (B,) language ids.
        language_counts: (languages,) samples of each language in the whole batch.
        phone_logits: (B, 2 T, P), two per frame; None: no phone loss.
        phones: (B, 2 T) phone ids or NO_TARGET.
        guide: (B,) from ``guide_loss``; None: no guided attention.
        ctc_loss_weight: alpha.
        language_loss_weight: beta.
        phone_loss_weight: Weight of the phone loss.
        guide_loss_weight: Weight of ``guide``.
        label_smoothing: Label smoothing of the attention loss.
        balance: Whether samples are weighted by gamma; otherwise gamma is 1.
        reliability: (B,) from ``reliability_loss``; None: no such loss.
        reliability_loss_weight: Weight of ``reliability``.

    Returns:
        The weighted sum and its parts.
    """
    gamma = torch.ones(len(languages), device=languages.device)
    if balance:
        gamma = language_weights(languages, language_counts)
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
    per_sample = ctc_loss_weight * ctc + (1 - ctc_loss_weight) * attention
    per_sample = per_sample + language_loss_weight * language
    phone = torch.zeros_like(ctc)
    if phone_logits is not None:
        has_target = phones != NO_TARGET
        phone = F.cross_entropy(
            phone_logits.float().transpose(1, 2), phones, ignore_index=NO_TARGET, reduction="none"
        ).sum(1) / has_target.sum(1).clamp(min=1)
        per_sample = per_sample + phone_loss_weight * phone
    if guide is None:
        guide = torch.zeros_like(ctc)
    per_sample = per_sample + guide_loss_weight * guide
    if reliability is None:
        reliability = torch.zeros_like(ctc)
    per_sample = per_sample + reliability_loss_weight * reliability
    return JointLoss(
        total=(gamma * per_sample).sum() / language_counts.sum(),
        ctc=ctc.mean().detach(),
        attention=attention.mean().detach(),
        language=language.mean().detach(),
        phone=phone.mean().detach(),
        guide=guide.mean().detach(),
        reliability=reliability.mean().detach(),
    )
