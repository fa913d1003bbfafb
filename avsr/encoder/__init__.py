"""Stage 4 of 8: mouth crops + filterbank -> AV-HuBERT features with language prompts."""

from avsr.encoder.avhubert import AVHubertEncoder, EncoderOutput
from avsr.encoder.config import AVHubertConfig
from avsr.encoder.frontend import (
    VisualFrontend,
    fill_blank,
    normalize_mouth,
    random_crop_flip,
)

__all__ = [
    "AVHubertConfig",
    "AVHubertEncoder",
    "EncoderOutput",
    "VisualFrontend",
    "fill_blank",
    "normalize_mouth",
    "random_crop_flip",
]
