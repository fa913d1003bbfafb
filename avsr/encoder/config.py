"""Sizes and dropouts of the encoder."""

from dataclasses import dataclass
from typing import Annotated

from avsr.errors import ConfigError
from avsr.settings import Bounds, check_settings

# Far above those of any network. A file of weights limits the sizes of its network, too.
Layers = Annotated[int, Bounds(high=1000)]
Size = Annotated[int, Bounds(high=65_536)]


@dataclass(frozen=True, kw_only=True)
class AVHubertConfig:
    """The AV-HuBERT encoder with deep language prompts. The defaults are the paper's Base."""

    layers: Layers = 12
    """Transformer layers."""
    dim: Size = 768
    """Width D of the transformer and of the features."""
    ffn_dim: Size = 3072
    """Hidden width of each feed-forward block."""
    heads: Size = 12
    """Attention heads; must divide ``dim``."""
    frontend_width: Size = 64
    """Channels of the visual stem and first residual stage; the last stage has 8 times as many."""
    position_kernel: Size = 128
    """Frames that the convolutional positional embedding combines."""
    position_groups: Size = 16
    """Groups of that convolution; must divide ``dim``."""
    prompts: Size = 16
    """Language prompts n in every layer; 0 gives the plain AV-HuBERT encoder."""
    reliability: bool = False
    """Weigh sound and lips of each frame by learned scores of how far they can be trusted, before
    they are fused (Hong et al. 2023). False is AV-HuBERT."""
    dropout: float = 0.1
    """Dropout on sub-layer outputs and after the positional embedding."""
    attention_dropout: float = 0.1
    """Dropout on attention weights."""
    layerdrop: float = 0.05
    """Probability that a whole layer is skipped in training."""

    def __post_init__(self) -> None:
        check_settings(self, "encoder")
        problems = [
            f"{name} must be positive"
            for name in ("layers", "dim", "ffn_dim", "heads", "frontend_width", "position_kernel")
            if getattr(self, name) <= 0
        ]
        if self.heads > 0 and self.dim % self.heads:
            problems.append(f"heads {self.heads} must divide dim {self.dim}")
        if self.position_groups <= 0 or self.dim % self.position_groups:
            problems.append(f"position_groups {self.position_groups} must divide dim {self.dim}")
        if self.prompts < 0:
            problems.append("prompts must be 0 or more")
        problems += [
            f"{name} must lie in [0, 1)"
            for name in ("dropout", "attention_dropout", "layerdrop")
            if not 0.0 <= getattr(self, name) < 1.0
        ]
        if problems:
            raise ConfigError("encoder: " + "; ".join(problems))
