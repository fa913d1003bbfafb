"""The paper's loss: gamma * (alpha * CTC + (1 - alpha) * attention + beta * language)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.decoder import BLANK, PAD

NO_TARGET = -100  # half frames whose phone is unknown


def language_weights(languages: Tensor, language_counts: Tensor) -> Tensor:
    """gamma (B,) = 1 / sqrt(share of the sample's language in the global batch).

    ``languages`` (B,) ids, ``language_counts`` (languages,) samples of each in the global batch
    (Hong, Park and Ro 2023, "inverse-root" balance).
    """
    share = language_counts / language_counts.sum()
    return share[languages].rsqrt()


@dataclass(frozen=True)
class JointLoss:
    """The weighted sum and its parts."""

    total: Tensor
    """This part's share of the mean over the global batch: the parts add up to it."""
    ctc: Tensor
    attention: Tensor
    language: Tensor
    phone: Tensor
    guide: Tensor


def guide_loss(log_attention: Tensor, token_spans: Tensor) -> Tensor:
    """Guided attention: -log of the attention inside each token's frames, a mean (B,).

    ``log_attention`` (B, H, L, T) over the frames; ``token_spans`` (B, L, 2) first frame and the
    one after the last, equal where a token's frames are unknown. Heads count alike.
    """
    frames = torch.arange(log_attention.shape[3], device=log_attention.device)
    first, last = token_spans[..., :1], token_spans[..., 1:]
    inside = (frames >= first) & (frames < last)
    known = inside.any(2)
    mass = log_attention.masked_fill(~inside[:, None], -torch.inf).logsumexp(3)
    loss = -mass.masked_fill(~known[:, None], 0.0).mean(1)
    return loss.sum(1) / known.sum(1).clamp(min=1)


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
    ctc_weight: float,
    language_weight: float,
    phone_weight: float,
    guide_weight: float,
    label_smoothing: float,
    balance: bool = True,
) -> JointLoss:
    """Loss of a batch, or of a part of a global batch.

    ``ctc_log_probs`` (B, T, V) with ``lengths`` (B,) frames; decoder ``logits`` (B, L, V);
    ``targets`` (B, L) tokens ending with ``</s>``, padded with ``<pad>``; ``language_logits``
    (B, languages) and ``languages`` (B,); ``language_counts`` (languages,) of the global batch;
    ``phone_logits`` (B, 2 T, P) or None and ``phones`` (B, 2 T) ids or NO_TARGET, two to a frame;
    ``guide`` (B,) from guide_loss, or None. CTC and attention losses are means over the tokens of
    a sample, the phone loss over its half frames. Without ``balance`` gamma is 1.
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
    per_sample = ctc_weight * ctc + (1 - ctc_weight) * attention + language_weight * language
    phone = torch.zeros_like(ctc)
    if phone_logits is not None:
        has_target = phones != NO_TARGET
        phone = F.cross_entropy(
            phone_logits.float().transpose(1, 2), phones, ignore_index=NO_TARGET, reduction="none"
        ).sum(1) / has_target.sum(1).clamp(min=1)
        per_sample = per_sample + phone_weight * phone
    if guide is None:
        guide = torch.zeros_like(ctc)
    per_sample = per_sample + guide_weight * guide
    return JointLoss(
        total=(gamma * per_sample).sum() / language_counts.sum(),
        ctc=ctc.mean().detach(),
        attention=attention.mean().detach(),
        language=language.mean().detach(),
        phone=phone.mean().detach(),
        guide=guide.mean().detach(),
    )
