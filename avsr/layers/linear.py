"""Linear layers, and a kind for inference on CPUs whose weights have oneDNN's memory layout.

With a few rows, as in a beam search, a product with such weights is two to four times as fast as
PyTorch's own, with hundreds of rows a third faster. The results differ in the last bits.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.layers.plain import plain

ROWS = 256  # the layout is chosen for this number of rows; it serves any number
# oneDNN keeps a buffer, megabytes, for each of the last 1,024 numbers of rows that it has met, so
# recordings of different lengths would fill gigabytes. Rows are rounded up to 8 numbers between a
# power of two and the next, which is 4 % more to compute on average.
SIZE_BITS = 4  # leading binary digits of a number of rows that are kept: 8 = 2^3 numbers
FEW_ROWS = 32  # of a search: fewer are not rounded
ALGORITHM = "none"  # of GELU: exact, not the approximation by tanh
ACTIVATIONS = {"none": lambda x: x, "gelu": F.gelu, "relu": F.relu}


def can_pack() -> bool:
    """Return whether this PyTorch has oneDNN and the operator that changes layouts."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )


class LinearActivation(nn.Linear):
    """A linear layer followed by an activation."""

    def __init__(self, in_features: int, out_features: int, activation: str) -> None:
        """Make the layer; ``activation`` is ``none``, ``gelu`` or ``relu``."""
        super().__init__(in_features, out_features)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out)."""
        return ACTIVATIONS[self.activation](super().forward(x))


def cast_once(x: Any, layer: nn.Module) -> Any:
    """Cast ``x`` once to the precision of ``layer``, so that several such layers can share it.

    Args:
        x: Input (..., D_in) of several layers of one kind, or what this function returned before.
        layer: One of these layers.

    Returns:
        What each of the layers takes in place of ``x``; ``x`` itself in the plain forward pass.
    """
    if plain():
        return x
    prepare = getattr(layer, "prepare", None)
    if prepare is not None:
        return prepare(x)
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def activation_of(layer: nn.Linear) -> str:
    """Return the name of the activation that follows a layer, a key of ACTIVATIONS."""
    return layer.activation if isinstance(layer, LinearActivation) else "none"


class PackedLinear(nn.Module):
    """An ``nn.Linear`` or LinearActivation in oneDNN's layout; it cannot be trained.

    The layout is changed at the first use, and the original weight is released then: a mapped file
    is not read before, and its pages are free again afterwards. ``state_dict`` has the names and
    the layout of the original layer.
    """

    def __init__(
        self,
        like: nn.Linear,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Wrap a weight without reading it.

        Args:
            like: The layer that is replaced; only its activation is used.
            weight: (D_out, D_in).
            bias: (D_out,) or None.
            dtype: Weight and input are cast to it; the output is fp32.
        """
        super().__init__()
        self.activation = activation_of(like)
        self.dtype = dtype
        self.unpacked: Tensor | None = weight.detach()
        self.packed: Tensor | None = None
        self.bias = None if bias is None else bias.detach().to(dtype)

    def prepare(self, x: Tensor) -> Tensor:
        """Cast an input to the layer's precision; called by ``cast_once``."""
        return x.to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out)."""
        unpacked = self.unpacked
        if unpacked is not None:  # two threads at once both do it, to the same end
            self.packed = torch.ops.mkldnn._reorder_linear_weight(unpacked.to(self.dtype), ROWS)
            self.unpacked = None
        x = x.to(self.dtype)
        rows = x.numel() // x.shape[-1]
        if rows <= FEW_ROWS:
            return self._multiply(x).float()
        missing = -rows % (1 << rows.bit_length() - SIZE_BITS)
        if missing == 0:
            return self._multiply(x).float()
        y = self._multiply(F.pad(x.reshape(rows, -1), (0, 0, 0, missing)))
        return y[:rows].view(*x.shape[:-1], -1).float()

    def _multiply(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(
            x, self.packed, self.bias, self.activation, [], ALGORITHM
        )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        unpacked, packed = self.unpacked, self.packed
        weight = unpacked.float() if unpacked is not None else packed.to_dense()  # type: ignore[union-attr]
        destination[prefix + "weight"] = weight
        if self.bias is not None:
            destination[prefix + "bias"] = self.bias
