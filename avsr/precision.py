"""Matrix products in fewer bits: the linear layers of a network in bf16 or int8.

int8 has a scale for each output of a layer (in the file, beside the weights) and one for each row
of its input, found while it computes, so that a clip gets the same numbers alone and in a batch;
both are symmetric, sums are in int32. Layer norms, softmax, embeddings, the language classifier
and all log-probabilities stay in fp32. Both take the visual front end's convolutions in bf16 where
the CPU has instructions for it.
"""

import re
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from avsr.encoder import VisualFrontend
from avsr.errors import ModelError
from avsr.skeleton import skeletons
from avsr.weights import check_weights, converted

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""``auto``: int8 and bf16 for what is stored so, fp32 for everything else."""

SCALE = "_scale"  # behind the name of an int8 weight (N, K): (N,) fp32, what its rows are times
SPARED = "classifier."  # beginning of the names of layers that stay in fp32
KINDS = ("weight", "bias")
MANY_ROWS = r"cross_attention\.(key|value)\."  # layers of the decoder that see the whole memory
LEVELS = 127  # of int8, on each side of 0
SMALLEST = 1e-12  # peak of a row, so that zeros are divided by something


class BFloat16Linear(nn.Linear):
    """``nn.Linear`` with weights in bf16; fp32 in, fp32 out."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) fp32."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).float()


class Int8Linear(nn.Module):
    """A linear layer with weights in int8; fp32 in, fp32 out.

    Weights that are ``packed`` lie as this CPU likes them best. That takes 4 ns a weight, and makes
    products with a few rows, as in a search, faster by a half; with hundreds hardly by a tenth.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor, packed: bool = True) -> None:
        """``weight`` (N, K) int8, ``scale`` (N,) and ``bias`` (N,) fp32."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        # Without VNNI pairs of products are summed in 16 bits: inputs of 8 bits would overflow.
        levels = LEVELS if "vnni" in cpu_features() else LEVELS // 2
        self._weight: Tensor = (
            torch.ops.onednn.qlinear_prepack(weight, None)
            if packed
            else weight.t().contiguous().to_mkldnn()
        )
        self._scale = scale
        self._zeros = torch.zeros(len(scale), dtype=torch.int64)
        self._levels = torch.tensor(float(levels))
        self._step = torch.tensor(1.0 / levels)
        self._middle = torch.tensor(levels + 1)  # unsigned bytes that stand for 0
        self._rounding = torch.tensor(levels + 1.5)  # the same, and 1/2 since fractions are cut off
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) fp32."""
        peak = x.abs().amax(-1, keepdim=True).clamp_(min=SMALLEST)
        rows = torch.addcmul(self._rounding, x, self._levels / peak).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise.tensor(
            rows,
            self._step,
            self._middle,
            self._weight,
            self._scale,
            self._zeros,
            None,  # no bias yet: it is not in the rows' scales
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return torch.addcmul(self.bias, y, peak)


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
        if isinstance(module, nn.Linear) and not name.startswith(SPARED)
    }


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) -> int8 (N, K), and scales (N,) fp32 that make each row's largest LEVELS."""
    weight = weight.float()
    scale = (weight.abs().amax(1) / LEVELS).clamp_(min=SMALLEST)
    return weight.div(scale[:, None]).round_().to(torch.int8), scale


def stored_precision(path: Path) -> Precision:
    """What the weights of a safetensors file are stored for; raise ModelError if it is broken."""
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            if any(name + SCALE in names for name in names):
                return "int8"
            kinds = {file.get_slice(name).get_dtype() for name in names}
    except SafetensorError as error:
        raise ModelError(f"{path} is broken: {error}") from error
    return "bf16" if "BF16" in kinds else "fp32"


def choose_precision(precision: Precision, path: Path, place: torch.device) -> Precision:
    """What to load the weights of ``path`` in for a device: int8 is computed on CPUs only.

    Raises ModelError for a precision that is not there.
    """
    known = get_args(Precision)
    if precision not in known:
        raise ModelError(f"precision '{precision}' is not known: take one of {', '.join(known)}")
    if place.type == "cpu":
        return precision
    if precision == "int8":
        raise ModelError("int8 is computed on CPUs only: take bf16, or the device cpu")
    if precision == "auto" and path.is_file() and stored_precision(path) != "fp32":
        return "bf16"
    return precision


def load_weights(model: nn.Module, path: Path, precision: Precision) -> Precision:
    """Give a network without memory (``skeleton``) the weights of a file; say in what precision.

    What is stored in that precision stays mapped (bf16, fp32) or is only laid out anew (int8);
    else it is converted weight by weight, so that the whole is never there in fp32. Raises
    ModelError if the file is broken or does not fit.
    """
    if precision == "auto":
        precision = stored_precision(path)
    try:
        weights = load_file(path)  # mapped, nothing is read yet
    except SafetensorError as error:
        raise ModelError(f"{path} is broken: {error}") from error
    scales = _take_scales(weights, path)
    check_weights(model, weights, str(path))
    layers = {} if precision == "fp32" else linear_layers(model)
    matrices = [f"{name}.weight" for name in layers]
    wanted = {name: torch.float32 for name, w in weights.items() if w.is_floating_point()}
    wanted |= dict.fromkeys(scales, torch.float32)
    if precision == "bf16":
        wanted |= {f"{name}.{kind}": torch.bfloat16 for name in layers for kind in KINDS}
        with skeletons():
            for name, layer in layers.items():
                low = BFloat16Linear(layer.in_features, layer.out_features, dtype=torch.bfloat16)
                model.set_submodule(name, low)
    elif precision == "int8":
        wanted = {name: dtype for name, dtype in wanted.items() if name not in set(matrices)}

    def convert(name: str, weight: Tensor) -> Tensor:
        weight = weight.float() * scales[name][:, None] if name in scales else weight
        return weight.to(wanted[name])

    def pack(name: str, weight: Tensor) -> Int8Linear:
        rows, scale = (weight, scales[name]) if name in scales else quantize(weight)
        bias = weights[name.removesuffix("weight") + "bias"]
        few_rows = name.startswith("decoder.") and re.search(MANY_ROWS, name) is None
        return Int8Linear(rows, scale, bias, few_rows)

    other = [name for name, dtype in wanted.items() if weights[name].dtype != dtype]
    weights |= dict(converted(other, path, convert))
    if precision == "int8":
        for name, quantized in converted(matrices, path, pack):
            model.set_submodule(name.removesuffix(".weight"), quantized)
            del weights[name]
    model.load_state_dict(weights, assign=True)
    return precision


def _take_scales(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The scales of int8 weights by the weights' names, taken out of what a file has."""
    scales = {}
    for name, weight in list(weights.items()):
        if weight.dtype == torch.int8:
            scale = weights.pop(name + SCALE, None)
            if scale is None or scale.shape != weight.shape[:1]:
                raise ModelError(f"{path} is broken: {name} is in int8 and has no scale that fits")
            scales[name] = scale.clone()  # which lets the mapping go
    return scales


def lower_convolutions(frontend: VisualFrontend) -> None:
    """Compute the visual front end's convolutions in bf16, where this CPU is made for it."""
    if "bf16" not in cpu_features():
        return
    for module in frontend.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.PReLU):
            module.to(torch.bfloat16)
    frontend.register_forward_pre_hook(
        lambda _, arguments: (arguments[0].bfloat16(), *arguments[1:])
    )
    frontend.register_forward_hook(lambda _, arguments, output: output.float())
