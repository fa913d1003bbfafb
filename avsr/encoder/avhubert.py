"""AV-HuBERT: sound and lips -> features, fused frame by frame (Shi et al. 2022)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avsr.encoder.config import AVHubertConfig
from avsr.encoder.frontend import VisualFrontend
from avsr.encoder.transformer import PromptedTransformer
from avsr.rates import FBANK_DIM


class EncoderOutput(NamedTuple):
    """What the encoder says of a batch: ``e_av = [prompts; features]`` in the paper's terms."""

    prompts: Tensor
    """(B, n, D) outputs of the last layer's language prompts."""
    features: Tensor
    """(B, T, D) fused features, one per video frame."""
    padding_mask: Tensor | None
    """(B, T), True = padding; None where no frame is padding."""

    @property
    def memory(self) -> Tensor:
        """(B, n + T, D), what the language classifier and the decoder see."""
        return torch.cat([self.prompts, self.features], dim=1)

    @property
    def memory_padding_mask(self) -> Tensor | None:
        """(B, n + T), True = padding."""
        if self.padding_mask is None:
            return None
        return nn.functional.pad(self.padding_mask, (self.prompts.shape[1], 0), value=False)


class AVHubertEncoder(nn.Module):
    """Two front ends, fusion by concatenation, prompted transformer."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_proj = nn.Linear(FBANK_DIM, config.dim)
        self.frontend = VisualFrontend(config.frontend_width)
        self.video_proj = nn.Linear(self.frontend.out_dim, config.dim)
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

        ``fbank`` (B, T, 104) normalised filterbank, ``mouth`` (B, T, 88, 88) normalised crops,
        ``padding_mask`` (B, T) True = padding. ``visual`` (B, T, 8 * width) may stand in for
        ``mouth``: outputs of the visual front end that were computed before. A missing modality
        is zeros in its half of the fused vector. Raises ValueError if both are missing.
        """
        if mouth is not None:
            visual = self.frontend(mouth, padding_mask)
        audio = None if fbank is None else self.audio_proj(fbank)
        video = None if visual is None else self.video_proj(visual)
        if audio is None:
            if video is None:
                raise ValueError("the encoder needs fbank, mouth or both")
            audio = torch.zeros_like(video)
        elif video is None:
            video = torch.zeros_like(audio)
        fused = self.fusion_proj(self.fusion_norm(torch.cat([audio, video], dim=-1)))
        prompts, features = self.transformer(fused, padding_mask)
        return EncoderOutput(prompts, features, padding_mask)
