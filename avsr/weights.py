"""Weights of a file: whether they fit a network, and in the precision that it computes with."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from avsr.errors import ModelError
from avsr.packing import PackedLinear, can_pack

MAX_NAMED = 20  # weights of a kind that an error names
FEW = 32  # weights that are copied from one mapping of a file


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


def fill(model: nn.Module, path: Path, *, packed: bool) -> None:
    """Give a skeleton the weights of a file that fits it, in fp32.

    What the file has in fp32 stays mapped. ``packed`` replaces linear layers by their packed kind,
    which keep theirs mapped until they are used. Pages of a mapped file that were read count as
    memory until all of that mapping is let go, hence one for every few.
    """
    linear = {}
    if packed and can_pack():
        linear = {f"{n}.weight": m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    weights = load_file(path)  # mapped, nothing is read yet
    half = [n for n, w in weights.items() if w.is_floating_point() and w.dtype != torch.float32]
    moved = [*linear, *(name for name in half if name not in linear)]
    for first in range(0, len(moved), FEW):
        with safe_open(path, "pt") as file:
            for name in moved[first : first + FEW]:
                if name not in linear:
                    weights[name] = file.get_tensor(name).float()
                    continue
                layer, bias = name.removesuffix(".weight"), name.removesuffix("weight") + "bias"
                del weights[name]
                there = PackedLinear(linear[name], file.get_tensor(name), weights.pop(bias, None))
                model.set_submodule(layer, there)
    model.load_state_dict(weights, assign=True, strict=False)  # but for packed ones, all are there
