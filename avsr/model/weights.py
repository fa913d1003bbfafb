"""Weights of a file: whether they fit a network, and made into something else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import safe_open
from torch import Tensor, nn

from avsr.errors import ModelError

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
