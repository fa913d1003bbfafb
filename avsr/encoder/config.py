"""Sizes and dropouts of the encoder."""

from dataclasses import dataclass

from avsr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AVHubertConfig:
    """The AV-HuBERT encoder with deep language prompts. The defaults are the paper's Base."""

    layers: int = 12
    """Transformer layers."""
    dim: int = 768
    """Width D of the transformer and of the features."""
    ffn_dim: int = 3072
    """Hidden width of each feed-forward block."""
    heads: int = 12
    """Attention heads; must divide ``dim``."""
    frontend_width: int = 64
    """Channels of the visual stem and first residual stage; the last stage has 8 times as many."""
    position_kernel: int = 128
    """Frames that the convolutional positional embedding combines."""
    position_groups: int = 16
    """Groups of that convolution; must divide ``dim``."""
    prompts: int = 16
    """Language prompts n in every layer; 0 gives the plain AV-HuBERT encoder."""
    dropout: float = 0.1
    """Dropout on sub-layer outputs and after the positional embedding."""
    attention_dropout: float = 0.1
    """Dropout on attention weights."""
    layerdrop: float = 0.05
    """Probability that a whole layer is skipped in training."""

    def __post_init__(self) -> None:
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
