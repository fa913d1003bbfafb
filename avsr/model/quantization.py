"""Linear layers of a network in bf16 or int8.

int8 has one scale per output of a layer (in the file, beside the weights) and one per row of its
input (computed from that row, so that a clip gets the same numbers alone and in a batch). Both are
symmetric, and sums are in int32. Layer norms, embeddings, the projections before the encoder's
layers, the language classifier, the CTC head and all log-probabilities stay in fp32. In both
formats attention and the visual front end's convolutions are computed in bf16 where the CPU has
instructions for it.

With ``AVSR_PLAIN=1`` nothing of this is used: stored weights of any format are loaded as fp32.
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
from avsr.model.device import FP32

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""Number format of matrix products; ``auto`` is the format in which the weights are stored."""

SCALE = "_scale"  # suffix of an int8 weight's name (N, K): its scales (N,) fp32, one per row
# Prefixes of layers that stay in fp32: small ones at the beginning, whose errors everything after
# them inherits, and those whose output is the result.
FP32_MODULES = (
    "classifier.",
    "ctc.",
    "encoder.audio_proj",
    "encoder.video_proj",
    "encoder.fusion_proj",
    "encoder.reliability",
)
INT8_MAX = 127  # levels on each side of 0
MIN_PEAK = 1e-12  # of a row, so that a row of zeros is not divided by 0


class BFloat16Linear(nn.Module):
    """A linear layer with weights in bf16, for GPUs and where PackedLinear is not available."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, like: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
        """Cast ``weight`` (N, K) and ``bias`` (N,); ``like`` gives the activation."""
        super().__init__()
        self.activation = activation_of(like)
        self.register_buffer("weight", weight.bfloat16())
        self.register_buffer("bias", None if bias is None else bias.bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) fp32."""
        y = F.linear(x.bfloat16(), self.weight, self.bias).float()
        return ACTIVATIONS[self.activation](y)


class QuantizedRows(NamedTuple):
    """An input of Int8Linear in int8, with one scale per row."""

    levels: Tensor
    """(..., K) uint8."""
    peak: Tensor
    """(..., 1) fp32, the largest magnitude of each row."""


class Int8Linear(nn.Module):
    """A linear layer with weights in int8, for CPUs; fp32 in, fp32 out. Its state has no weight.

    Like PackedLinear it changes the layout of its weight at the first use. For the few rows of a
    search that is this CPU's best layout, which takes 4 ns per weight; with hundreds of rows it
    would gain a tenth only, so the weight is just transposed.
    """

    def __init__(
        self,
        like: nn.Linear,
        weight: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        few_rows: bool = True,
    ) -> None:
        """Wrap a weight without reading it.

        Args:
            like: The layer that is replaced; only its activation is used.
            weight: (N, K) int8 with ``scale``, or floating point without.
            scale: (N,) fp32, one per row of ``weight``; None: quantize the weight at first use.
            bias: (N,) or None.
            few_rows: Choose the layout for the few rows of a search.
        """
        super().__init__()
        self.activation = activation_of(like)
        self.unpacked: Tensor | None = weight.detach()
        self.scale, self.few_rows = scale, few_rows
        self.packed: Tensor | None = None
        rows = len(weight)
        self.bias = torch.zeros(rows, **FP32) if bias is None else bias.detach().float()
        self.zeros = torch.zeros(rows, dtype=torch.int64, device="cpu")
        # Without VNNI pairs of products are summed in 16 bits: inputs of 8 bits would overflow.
        levels = INT8_MAX if "vnni" in cpu_features() else INT8_MAX // 2
        self.levels = torch.tensor(float(levels), **FP32)
        self.step = torch.tensor(1.0 / levels, **FP32)
        # The unsigned byte that stands for 0.
        self.middle = torch.tensor(levels + 1, device="cpu")
        self.rounding = torch.tensor(
            levels + 1.5, **FP32
        )  # the same, and 1/2 as fractions are cut off

    def prepare(self, x: Tensor | QuantizedRows) -> QuantizedRows:
        """Quantize an input, unless it is quantized already; called by ``cast_once``."""
        if isinstance(x, QuantizedRows):
            return x
        peak = x.abs().amax(-1, keepdim=True).clamp_(min=MIN_PEAK)
        levels = torch.addcmul(self.rounding, x, self.levels / peak).to(torch.uint8)
        return QuantizedRows(levels, peak)

    def forward(self, x: Tensor | QuantizedRows) -> Tensor:
        """(..., K) -> (..., N) fp32."""
        unpacked = self.unpacked
        if unpacked is not None:  # two threads at once both do it, to the same end
            self._pack(unpacked)
        levels, peak = self.prepare(x)
        y = torch.ops.onednn.qlinear_pointwise.tensor(
            levels,
            self.step,
            self.middle,
            self.packed,
            self.scale,
            self.zeros,
            None,  # the bias is added below: it must not be multiplied by the rows' scales
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return ACTIVATIONS[self.activation](torch.addcmul(self.bias, y, peak))

    def _pack(self, weight: Tensor) -> None:
        scale = self.scale
        if weight.dtype != torch.int8:
            weight, scale = quantize(weight)
        if self.few_rows:
            packed = torch.ops.onednn.qlinear_prepack(weight, None)
        else:
            packed = weight.t().contiguous().to_mkldnn()
        self.scale, self.packed, self.unpacked = scale, packed, None


@cache
def cpu_features() -> frozenset[str]:
    """Return which of ``vnni`` and ``bf16`` this CPU has instructions for (Linux on x86)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    names = {"avx512_vnni": "vnni", "avx_vnni": "vnni", "avx512_bf16": "bf16", "amx_bf16": "bf16"}
    return frozenset(names[flag] for flag in line.split() if flag in names)


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that may be computed in bf16 or int8, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(FP32_MODULES)
    }


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize each row symmetrically, its largest magnitude to INT8_MAX.

    Args:
        weight: (N, K) floating point.

    Returns:
        Levels (N, K) int8 and scales (N,) fp32; their product approximates ``weight``.
    """
    weight = weight.float()
    scale = (weight.abs().amax(1) / INT8_MAX).clamp_(min=MIN_PEAK)
    return weight.div(scale[:, None]).round_().to(torch.int8), scale


def use_bf16_kernels(model: nn.Module, attention: bool) -> None:
    """Compute the visual front end's convolutions in bf16, if this CPU has instructions for it.

    Args:
        model: A network whose linear layers are in bf16 or int8; changed in place.
        attention: Compute the encoder's and decoder's attention in bf16, too.
    """
    if "bf16" not in cpu_features():
        return
    for module in model.modules():
        if isinstance(module, VisualFrontend):
            _convolve_in_bf16(module)
        elif isinstance(module, MultiHeadAttention) and attention:
            module.dtype = torch.bfloat16


def _convolve_in_bf16(frontend: VisualFrontend) -> None:
    for module in frontend.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.PReLU):
            module.to(torch.bfloat16)
    frontend.register_forward_pre_hook(
        lambda _, arguments: (arguments[0].bfloat16(), *arguments[1:])
    )
    frontend.register_forward_hook(lambda _, arguments, output: output.float())
