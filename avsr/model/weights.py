"""Weights of a file: whether they fit a network, and made into something else."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from avsr.errors import ModelError
from avsr.layers.linear import PackedLinear, can_pack
from avsr.model.quantization import SCALE, BFloat16Linear, Int8Linear, Precision, linear_layers

MAX_NAMED = 20  # weights of a kind that an error names
FEW = 4  # weights that are converted from one mapping of a file

T = TypeVar("T")


def check_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    where: str,
    called: Callable[[str], str] = str,
) -> None:
    """Raise ModelError that names missing, unexpected and misshapen weights together.

    ``called`` gives the name of a weight in the file, if it is another there. Of each kind the
    first MAX_NAMED are named, the others counted.
    """
    own = model.state_dict()
    kinds = [
        [f"missing {called(name)}" for name in own if name not in weights],
        [f"unexpected {called(name)}" for name in weights if name not in own],
        [
            f"{called(name)} has shape {tuple(weights[name].shape)}, not {tuple(value.shape)}"
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    ]
    problems = []
    for kind in kinds:
        problems += kind[:MAX_NAMED]
        if len(kind) > MAX_NAMED:
            problems.append(f"and {len(kind) - MAX_NAMED} more like this")
    if problems:
        raise ModelError(f"{where} does not fit its config: " + "; ".join(problems))


def converted(
    names: Sequence[str], path: Path, convert: Callable[[str, Tensor], T]
) -> Iterator[tuple[str, T]]:
    """What ``convert`` makes, of a name and its weight, of some weights of a safetensors file.

    Pages of a mapped file count as memory until it is let go, hence a mapping for every few.
    """
    for first in range(0, len(names), FEW):
        with safe_open(path, "pt") as file:
            for name in names[first : first + FEW]:
                yield name, convert(name, file.get_tensor(name))


MANY_ROWS = r"cross_attention\.(key|value)$"  # layers of the decoder that see the whole memory
LARGE = 1 << 13  # numbers of a weight that stays mapped


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


def load_weights(
    model: nn.Module, path: Path, precision: Precision, *, packed: bool = False
) -> Precision:
    """Give a network without memory (``skeleton``) the weights of a file; say in what precision.

    What is stored in that precision stays mapped; so do, until they are used, all weights of linear
    layers if these are ``packed`` or in int8. Nothing is ever there as a whole in fp32 that is
    stored in less, or computed with in less. Raises ModelError if the file is broken or does not
    fit.
    """
    if precision == "auto":
        precision = stored_precision(path)
    if precision == "int8" and not can_pack():
        raise ModelError("int8 needs a PyTorch with oneDNN: take fp32")
    packed = packed and can_pack()
    try:
        weights = load_file(path)  # mapped, nothing is read yet
    except SafetensorError as error:
        raise ModelError(f"{path} is broken: {error}") from error
    scales = _take_scales(weights, path)
    check_weights(model, weights, str(path))
    layers = {} if precision == "fp32" else linear_layers(model)
    replaced = dict(layers)
    if packed:
        replaced = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}

    def full(name: str, weight: Tensor) -> Tensor:
        if name in scales:
            return weight.float() * scales[name][:, None]
        if not weight.is_floating_point() or weight.numel() < LARGE:
            return weight.to(
                torch.float32 if weight.is_floating_point() else weight.dtype, copy=True
            )
        return weight.float()

    def layer(weight_name: str, weight: Tensor) -> nn.Module:
        name = weight_name.removesuffix(".weight")
        like, bias = replaced[name], weights.pop(f"{name}.bias", None)
        bias = None if bias is None else bias.clone()
        if precision == "int8" and name in layers:
            few_rows = name.startswith("decoder.") and re.search(MANY_ROWS, name) is None
            return Int8Linear(like, weight, scales.get(weight_name), bias, few_rows)
        if weight_name in scales:
            weight = full(weight_name, weight)
        if not packed:
            return BFloat16Linear(like, weight, bias)
        dtype = torch.bfloat16 if name in layers else torch.float32
        return PackedLinear(like, weight, bias, dtype)

    matrices = [f"{name}.weight" for name in replaced]
    for name, made in converted(matrices, path, layer):
        del weights[name]
        model.set_submodule(name.removesuffix(".weight"), made)
    # Small ones are copied, or they would keep the pages of large ones that are let go.
    weights |= {n: full(n, weight) for n, weight in weights.items() if weight.numel() < LARGE}
    large = [name for name, weight in weights.items() if weight.numel() >= LARGE]
    weights |= dict(converted(large, path, full))
    # Packed layers do not take theirs; that the file has all was checked.
    model.load_state_dict(weights, assign=True, strict=False)
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
