"""Read a file of weights into a network, check that they fit, convert their number format."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from avsr.errors import ModelError
from avsr.layers.linear import PackedLinear, can_pack
from avsr.layers.plain import plain
from avsr.model.quantization import SCALE, BFloat16Linear, Int8Linear, Precision, linear_layers
from avsr.settings import show

MAX_NAMED = 20  # missing, unexpected or misshapen weights that an error names, of each kind
PER_MAPPING = 4  # weights that are converted from one mapping of a file
SEVERAL_ROWS = r"cross_attention\.(key|value)$"  # decoder layers that are applied to the memory
MIN_MAPPED = 1 << 13  # numbers of a weight that stays mapped

T = TypeVar("T")


def check_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    where: str,
    called: Callable[[str], str] = str,
    scaled: Collection[str] = (),
) -> None:
    """Check that weights have the names and shapes of a network's, and are finite floats.

    Finite are the small ones, among them those of all norms; others would have to be read.

    Args:
        model: The network; it may be on ``meta``.
        weights: Weights by their names in the network.
        where: What the error calls the weights, such as a path.
        called: Gives the name that the error uses for a weight, such as the one in the file.
        scaled: Names of weights in int8 that have scales.

    Raises:
        ModelError: Names missing, unexpected and misshapen weights together, and those that are no
            floats or not finite; of each kind the first MAX_NAMED, the others are counted.
    """
    expected = model.state_dict()
    kinds = [
        [f"missing {called(name)}" for name in expected if name not in weights],
        [f"unexpected {called(name)}" for name in weights if name not in expected],
        [
            f"{called(name)} has shape {tuple(weights[name].shape)}, not {tuple(value.shape)}"
            for name, value in expected.items()
            if name in weights and weights[name].shape != value.shape
        ],
        [
            f"{called(name)} is in {str(weights[name].dtype).removeprefix('torch.')}, no floats"
            for name, value in expected.items()
            if name in weights
            and value.is_floating_point()
            and not weights[name].is_floating_point()
            and name not in scaled
        ],
        [
            f"{called(name)} is not finite"
            for name, weight in weights.items()
            if name in expected and not _is_finite(weight)
        ],
    ]
    problems = []
    for kind in kinds:
        problems += kind[:MAX_NAMED]
        if len(kind) > MAX_NAMED:
            problems.append(f"and {len(kind) - MAX_NAMED} more like this")
    if problems:
        raise ModelError(f"{where} does not fit its config: " + "; ".join(problems))


def check_sizes(config: Any, shapes: Mapping[str, Sequence[int]], where: str) -> None:
    """Hold the sizes of a configuration against those of the weights, before anything is built.

    A network has more weights than layers, and every width is one of an axis of a weight.

    Args:
        config: A dataclass: of an encoder, a decoder or a language-ID model.
        shapes: Names of the weights -> their shapes.
        where: What the error calls the configuration.

    Raises:
        ModelError: A size is larger than any in the weights.
    """
    widest = max((max(shape, default=1) for shape in shapes.values() if 0 not in shape), default=0)
    for field in fields(config):
        value = getattr(config, field.name)
        limit = len(shapes) if field.name == "layers" else widest
        sizes = value if field.name == "kernels" else (value,)
        if any(type(size) is int and size > limit for size in sizes):
            what = "weights" if field.name == "layers" else "numbers at most on an axis of a weight"
            raise ModelError(
                f"{where}: {field.name} is {show(value)}, but the weights' file has {limit} {what}"
            )


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights in a safetensors file; raise ModelError if it is broken."""
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path} is broken: {error}") from error


def _is_finite(weight: Tensor) -> bool:
    """Whether a weight is finite, if it is small and has values."""
    if weight.is_meta or weight.numel() >= MIN_MAPPED or not weight.is_floating_point():
        return True
    return bool(weight.float().isfinite().all())


def converted(
    names: Sequence[str], path: Path, convert: Callable[[str, Tensor], T]
) -> Iterator[tuple[str, T]]:
    """Convert weights of a safetensors file one by one.

    Pages of a mapped file count as memory until it is closed, so it is opened anew for every few.

    Args:
        names: The weights to convert.
        path: The file.
        convert: Called with a name and its weight.

    Yields:
        Each name with what ``convert`` returned.
    """
    for first in range(0, len(names), PER_MAPPING):
        with safe_open(path, "pt") as file:
            for name in names[first : first + PER_MAPPING]:
                yield name, convert(name, file.get_tensor(name))


def stored_precision(path: Path) -> Precision:
    """Return the number format of a safetensors file; raise ModelError if it is broken."""
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            if any(name + SCALE in names for name in names):
                return "int8"
            dtypes = {file.get_slice(name).get_dtype() for name in names}
    except SafetensorError as error:
        raise ModelError(f"{path} is broken: {error}") from error
    return "bf16" if "BF16" in dtypes else "fp32"


def choose_precision(precision: Precision, path: Path, device: torch.device) -> Precision:
    """Choose the number format for a device; int8 is computed on CPUs only.

    Args:
        precision: The format that the caller asked for.
        path: File of the weights.
        device: Where the network will compute.

    Returns:
        ``bf16`` in place of ``auto`` for a GPU and a file in bf16 or int8, else ``precision``.

    Raises:
        ModelError: The precision does not exist, or not on this device.
    """
    precisions = get_args(Precision)
    if precision not in precisions:
        raise ModelError(f"precision {show(precision)} is not one of {', '.join(precisions)}")
    if device.type == "cpu":
        return precision
    if precision == "int8":
        raise ModelError("int8 is computed on CPUs only: take bf16, or the device cpu")
    if precision == "auto" and path.is_file() and stored_precision(path) != "fp32":
        return "bf16"
    return precision


def load_weights(
    model: nn.Module, path: Path, precision: Precision, *, packed: bool = False
) -> Precision:
    """Read the weights of a file into a network that was built on ``meta``.

    Weights that are stored in the format in which they are computed with stay mapped; so do, until
    their first use, all weights of linear layers if these are packed or in int8. At no time is
    there an fp32 copy of all weights, unless they are stored and computed with in fp32.

    Args:
        model: A network on ``meta``; changed in place.
        path: A safetensors file in fp32, fp16, bf16 or int8.
        precision: Number format for matrix products.
        packed: Store linear layers in oneDNN's layout, for inference on a CPU.

    Returns:
        ``precision``, with ``auto`` replaced by the format that is stored.

    Raises:
        ModelError: The file is broken or does not fit the network, or this PyTorch has no int8.
    """
    if precision == "auto":
        precision = stored_precision(path)
    if precision == "int8" and not can_pack():
        raise ModelError("int8 needs a PyTorch with oneDNN: take fp32")
    if plain():
        precision, packed = "fp32", False
    packed = packed and can_pack()
    try:
        weights = load_file(path)  # mapped, nothing is read yet
    except SafetensorError as error:
        raise ModelError(f"{path} is broken: {error}") from error
    scales = take_scales(weights, path)
    check_weights(model, weights, str(path), scaled=scales)
    _replace_linear_layers(model, path, precision, packed, weights, scales)
    # Small ones are copied, or they would keep the pages of large ones that are let go.
    small = {name: w for name, w in weights.items() if w.numel() < MIN_MAPPED}
    weights |= {name: _to_fp32(weight, scales.get(name)) for name, weight in small.items()}
    large = [name for name, weight in weights.items() if weight.numel() >= MIN_MAPPED]
    weights |= dict(converted(large, path, lambda name, weight: _to_fp32(weight, scales.get(name))))
    # Packed layers do not take theirs; that the file has all was checked.
    model.load_state_dict(weights, assign=True, strict=False)
    return precision


def _replace_linear_layers(
    model: nn.Module,
    path: Path,
    precision: Precision,
    packed: bool,
    weights: dict[str, Tensor],
    scales: Mapping[str, Tensor],
) -> None:
    """Put packed, bf16 or int8 layers in place of linear ones, and take theirs from ``weights``."""
    lowered = {} if precision == "fp32" else linear_layers(model)
    replaced = dict(lowered)
    if packed:
        replaced = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}

    def replacement(weight_name: str, weight: Tensor) -> nn.Module:
        name = weight_name.removesuffix(".weight")
        like, bias = replaced[name], weights.pop(f"{name}.bias", None)
        bias = None if bias is None else bias.clone()
        if precision == "int8" and name in lowered:
            few_rows = name.startswith("decoder.") and re.search(SEVERAL_ROWS, name) is None
            return Int8Linear(like, weight, scales.get(weight_name), bias, few_rows)
        if weight_name in scales:
            weight = _to_fp32(weight, scales[weight_name])
        if not packed:
            return BFloat16Linear(like, weight, bias)
        dtype = torch.bfloat16 if name in lowered else torch.float32
        return PackedLinear(like, weight, bias, dtype)

    for name, layer in converted([f"{name}.weight" for name in replaced], path, replacement):
        del weights[name]
        model.set_submodule(name.removesuffix(".weight"), layer)


def _to_fp32(weight: Tensor, scale: Tensor | None) -> Tensor:
    """The weight in fp32, with the scales of an int8 one; counters keep their type."""
    if scale is not None:
        return weight.float() * scale[:, None]
    if not weight.is_floating_point() or weight.numel() < MIN_MAPPED:
        return weight.to(torch.float32 if weight.is_floating_point() else weight.dtype, copy=True)
    return weight.float()


def take_scales(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove the scales of int8 weights from ``weights``; return them by the weights' names."""
    scales = {}
    for name, weight in list(weights.items()):
        if weight.dtype == torch.int8:
            scale = weights.pop(name + SCALE, None)
            if scale is None or scale.shape != weight.shape[:1]:
                raise ModelError(f"{path} is broken: {name} is in int8 and has no scale that fits")
            scales[name] = scale.clone()  # so that the mapping can be closed
    return scales
