"""Linear layers, and a packed kind for inference on CPUs, in the order that oneDNN multiplies in.

With a few rows, as in a beam search, such a product is two to four times as fast as PyTorch's own,
with hundreds of rows a third faster. The results differ in the last bits.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 256  # that the order is chosen for; it serves any number
ALGORITHM = "none"  # of GELU: not by tanh
ACTIVATIONS = {"none": lambda x: x, "gelu": F.gelu, "relu": F.relu}


def can_pack() -> bool:
    """Whether this PyTorch has what is needed."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )


class LinearActivation(nn.Linear):
    """A linear layer and what comes behind it, ``gelu`` or ``relu``."""

    def __init__(self, in_features: int, out_features: int, activation: str) -> None:
        super().__init__(in_features, out_features)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out)."""
        return ACTIVATIONS[self.activation](super().forward(x))


def cast_once(x: Any, layer: nn.Module) -> Any:
    """What several layers like ``layer`` may be given instead of ``x``: it is brought to their
    precision once, not by each of them.
    """
    prepare = getattr(layer, "prepare", None)
    if prepare is not None:
        return prepare(x)
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def activation_of(layer: nn.Linear) -> str:
    """What comes behind a layer, of ACTIVATIONS."""
    return layer.activation if isinstance(layer, LinearActivation) else "none"


class PackedLinear(nn.Module):
    """An ``nn.Linear`` or LinearActivation that cannot be trained. Its state has the same names.

    The weight is put in order when it is first used and the given one is let go, so that a mapped
    file is not read before, and its pages are free again afterwards.
    """

    def __init__(
        self,
        like: nn.Linear,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """``weight`` (D_out, D_in) and ``bias`` (D_out,), for a layer like ``like``.

        What is multiplied is first brought to ``dtype``; what comes out is fp32.
        """
        super().__init__()
        self.activation = activation_of(like)
        self.dtype = dtype
        self.plain: Tensor | None = weight.detach()
        self.packed: Tensor | None = None
        self.bias = None if bias is None else bias.detach().to(dtype)

    def prepare(self, x: Tensor) -> Tensor:
        """See ``cast_once``."""
        return x.to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out)."""
        plain = self.plain
        if plain is not None:  # two threads at once both do it, to the same end
            self.packed = torch.ops.mkldnn._reorder_linear_weight(plain.to(self.dtype), ROWS)
            self.plain = None
        y = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.packed, self.bias, self.activation, [], ALGORITHM
        )
        return y.float()

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        plain, packed = self.plain, self.packed
        weight = plain.float() if plain is not None else packed.to_dense()  # type: ignore[union-attr]
        destination[prefix + "weight"] = weight
        if self.bias is not None:
            destination[prefix + "bias"] = self.bias
