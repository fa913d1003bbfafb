"""AV-HuBERT: filterbank and mouth crops -> features, fused frame by frame (Shi et al. 2022).

For every video frame, with ``a`` its filterbank and ``v`` its mouth crop:

    x          = W_f LN([W_a a; W_v ResNet(v)])
    (P_L, f_L) = PromptedTransformer(x)

A missing modality is zeros in its half of the concatenation. With ``reliability`` in the
configuration both halves are weighed first: see ``avsr.encoder.modality_reliability``.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avsr.encoder.config import AVHubertConfig
from avsr.encoder.frontend import VisualFrontend
from avsr.encoder.modality_reliability import ModalityReliability
from avsr.encoder.transformer import PromptedTransformer
from avsr.rates import FBANK_DIM


class EncoderOutput(NamedTuple):
    """Output of the encoder for a batch: the paper's ``e_av = [prompts; features]``."""

    prompts: Tensor
    """(B, n, D) outputs of the last layer's language prompts."""
    features: Tensor
    """(B, T, D) fused features, one per video frame."""
    padding_mask: Tensor | None
    """(B, T), True = padding; None where no frame is padding."""
    reliability: Tensor | None = None
    """(B, T, 2) scores in (0, 1) by which audio and video features were weighed; None for an
    encoder that does not weigh them, and where a modality is missing."""

    @property
    def memory(self) -> Tensor:
        """(B, n + T, D), the input of language classifier and decoder."""
        return torch.cat([self.prompts, self.features], dim=1)

    @property
    def memory_padding_mask(self) -> Tensor | None:
        """(B, n + T), True = padding."""
        if self.padding_mask is None:
            return None
        return nn.functional.pad(self.padding_mask, (self.prompts.shape[1], 0), value=False)


class AVHubertEncoder(nn.Module):
    """The encoder: two front ends, fusion by concatenation, prompted transformer."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_proj = nn.Linear(FBANK_DIM, config.dim)
        self.frontend = VisualFrontend(config.frontend_width)
        self.video_proj = nn.Linear(self.frontend.out_dim, config.dim)
        self.reliability = ModalityReliability(config.dim) if config.reliability else None
        self.fusion_norm = nn.LayerNorm(2 * config.dim)
        self.fusion_proj = nn.Linear(2 * config.dim, config.dim)
        self.transformer = PromptedTransformer(config)

    def forward(
        self,
        fbank: Tensor | None,
        mouth: Tensor | None,
        padding_mask: Tensor | None = None,
        *,
        visual: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode a batch; one of the two modalities may be missing.

        Args:
            fbank: (B, T, 104) normalised filterbank.
            mouth: (B, T, 88, 88) normalised mouth crops.
            padding_mask: (B, T), True = padding; None where no frame is padding.
            visual: (B, T, 8 * width), precomputed outputs of the visual front end, instead of
                ``mouth``.

        Returns:
            Prompt outputs and features. A missing modality is zeros in its half of the fusion.

        Raises:
            ValueError: Both modalities are missing.
        """
        if mouth is not None:
            visual = self.frontend(mouth, padding_mask)
        audio = None if fbank is None else self.audio_proj(fbank)
        video = None if visual is None else self.video_proj(visual)
        scores = None
        if audio is None:
            if video is None:
                raise ValueError("the encoder needs fbank, mouth or both")
            audio = torch.zeros_like(video)
        elif video is None:
            video = torch.zeros_like(audio)
        elif self.reliability is not None:
            scores = self.reliability(audio, video, padding_mask)
            audio, video = audio * scores[..., :1], video * scores[..., 1:]
        fused = self.fusion_proj(self.fusion_norm(torch.cat([audio, video], dim=-1)))
        prompts, features = self.transformer(fused, padding_mask)
        return EncoderOutput(prompts, features, padding_mask, scores)
