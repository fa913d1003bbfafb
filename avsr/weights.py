"""Weights of a file: whether they fit a network, and in the precision that it computes with."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from avsr.errors import ModelError

MAX_NAMED = 20  # weights of a kind that an error names
FEW = 32  # weights of lower precision that are copied from one mapping of a file


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


def in_full(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights of a file in fp32; those that the file has in fp32 stay mapped.

    Pages of a mapped file count as memory until it is let go, hence a mapping for every few.
    """
    half = [n for n, w in weights.items() if w.is_floating_point() and w.dtype != torch.float32]
    for first in range(0, len(half), FEW):
        with safe_open(path, "pt") as file:
            weights |= {name: file.get_tensor(name).float() for name in half[first : first + FEW]}
    return weights
