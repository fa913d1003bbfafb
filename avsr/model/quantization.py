"""Matrix products in fewer bits: the linear layers of a network in bf16 or int8.

int8 has a scale for each output of a layer (in the file, beside the weights) and one for each row
of its input, found while it computes, so that a clip gets the same numbers alone and in a batch;
both are symmetric, sums are in int32. Layer norms, embeddings, the projections before the encoder's
layers, the language classifier, the CTC head and all log-probabilities stay in fp32. Both take
attention and the visual front end's convolutions in bf16 where the CPU has instructions for it.
"""

from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.encoder import VisualFrontend
from avsr.layers.attention import MultiHeadAttention
from avsr.layers.linear import ACTIVATIONS, activation_of

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""``auto``: int8 and bf16 for what is stored so, fp32 for everything else."""

SCALE = "_scale"  # behind the name of an int8 weight (N, K): (N,) fp32, what its rows are times
# Beginnings of the names of layers that stay in fp32: small ones whose errors all that follows has,
# or whose result is the last.
FP32_MODULES = (
    "classifier.",
    "ctc.",
    "encoder.audio_proj",
    "encoder.video_proj",
    "encoder.fusion_proj",
)
INT8_MAX = 127  # of int8, on each side of 0
SMALLEST = 1e-12  # peak of a row, so that zeros are divided by something


class BFloat16Linear(nn.Module):
    """A linear layer with weights in bf16, for GPUs and where PackedLinear is not to be had."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, like: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
        """``weight`` (N, K) and ``bias`` (N,), for a layer like ``like``."""
        super().__init__()
        self.activation = activation_of(like)
        self.register_buffer("weight", weight.bfloat16())
        self.register_buffer("bias", None if bias is None else bias.bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) fp32."""
        y = F.linear(x.bfloat16(), self.weight, self.bias).float()
        return ACTIVATIONS[self.activation](y)


class Rows(NamedTuple):
    """Rows of a matrix as Int8Linear multiplies them."""

    levels: Tensor
    """(..., K) uint8."""
    peak: Tensor
    """(..., 1) fp32, the largest of each row without its sign."""


class Int8Linear(nn.Module):
    """A linear layer with weights in int8, on CPUs; fp32 in, fp32 out. Its state has no weight.

    Like PackedLinear it puts its weight in order when it is first used. For a search's ``few_rows``
    this is the order that this CPU likes best, which takes 4 ns a weight; with hundreds of rows
    that would gain a tenth, and a plain transposition must do.
    """

    def __init__(
        self,
        like: nn.Linear,
        weight: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        few_rows: bool = True,
    ) -> None:
        """``weight`` (N, K) int8 with ``scale`` (N,) fp32, or in another precision without;
        ``bias`` (N,), for a layer like ``like``.
        """
        super().__init__()
        self.activation = activation_of(like)
        self.plain: Tensor | None = weight.detach()
        self.scale, self.few_rows = scale, few_rows
        self.packed: Tensor | None = None
        rows = len(weight)
        self.bias = torch.zeros(rows) if bias is None else bias.detach().float()
        self.zeros = torch.zeros(rows, dtype=torch.int64)
        # Without VNNI pairs of products are summed in 16 bits: inputs of 8 bits would overflow.
        levels = INT8_MAX if "vnni" in cpu_features() else INT8_MAX // 2
        self.levels = torch.tensor(float(levels))
        self.step = torch.tensor(1.0 / levels)
        self.middle = torch.tensor(levels + 1)  # the unsigned byte that stands for 0
        self.rounding = torch.tensor(levels + 1.5)  # the same, and 1/2 as fractions are cut off

    def prepare(self, x: Tensor | Rows) -> Rows:
        """See ``avsr.layers.linear.shared``."""
        if isinstance(x, Rows):
            return x
        peak = x.abs().amax(-1, keepdim=True).clamp_(min=SMALLEST)
        return Rows(torch.addcmul(self.rounding, x, self.levels / peak).to(torch.uint8), peak)

    def forward(self, x: Tensor | Rows) -> Tensor:
        """(..., K) -> (..., N) fp32."""
        plain = self.plain
        if plain is not None:  # two threads at once both do it, to the same end
            self._pack(plain)
        rows, peak = self.prepare(x)
        y = torch.ops.onednn.qlinear_pointwise.tensor(
            rows,
            self.step,
            self.middle,
            self.packed,
            self.scale,
            self.zeros,
            None,  # no bias yet: it is not in the rows' scales
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return ACTIVATIONS[self.activation](torch.addcmul(self.bias, y, peak))

    def _pack(self, plain: Tensor) -> None:
        scale = self.scale
        if plain.dtype != torch.int8:
            plain, scale = quantize(plain)
        if self.few_rows:
            packed = torch.ops.onednn.qlinear_prepack(plain, None)
        else:
            packed = plain.t().contiguous().to_mkldnn()
        self.scale, self.packed, self.plain = scale, packed, None


@cache
def cpu_features() -> frozenset[str]:
    """``vnni`` and ``bf16``, as far as this CPU has instructions for them (Linux on x86)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    names = {"avx512_vnni": "vnni", "avx_vnni": "vnni", "avx512_bf16": "bf16", "amx_bf16": "bf16"}
    return frozenset(names[flag] for flag in line.split() if flag in names)


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The layers that may compute in fewer bits, by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(FP32_MODULES)
    }


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) -> int8 (N, K), and scales (N,) fp32 that make each row's largest INT8_MAX."""
    weight = weight.float()
    scale = (weight.abs().amax(1) / INT8_MAX).clamp_(min=SMALLEST)
    return weight.div(scale[:, None]).round_().to(torch.int8), scale


def use_bf16_kernels(model: nn.Module, attention: bool) -> None:
    """Compute the visual front end's convolutions in bf16, and ``attention`` too if that is said,
    where this CPU is made for it.
    """
    if "bf16" not in cpu_features():
        return
    for module in model.modules():
        if isinstance(module, VisualFrontend):
            _lower_convolutions(module)
        elif isinstance(module, MultiHeadAttention) and attention:
            module.dtype = torch.bfloat16


def _lower_convolutions(frontend: VisualFrontend) -> None:
    for module in frontend.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.PReLU):
            module.to(torch.bfloat16)
    frontend.register_forward_pre_hook(
        lambda _, arguments: (arguments[0].bfloat16(), *arguments[1:])
    )
    frontend.register_forward_hook(lambda _, arguments, output: output.float())
