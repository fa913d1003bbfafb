"""How many threads a network computes in."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import torch

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

ONE_THREAD_DIM = 512  # of the encoder; in smaller networks threads mostly wait for one another

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_few_threads(
    function: "Callable[Concatenate[AVSRModel, Arguments], Result]",
) -> "Callable[Concatenate[AVSRModel, Arguments], Result]":
    """Have a function of a small model compute in one thread, and leave the other cores alone.

    A second one makes the bundled model faster by a tenth where nothing else runs. Where pictures
    are read at the same time it is slower many times over: thousands of times a second one thread
    waits for the other, which has no core.
    """

    @functools.wraps(function)
    def limited(model: "AVSRModel", *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        threads = torch.get_num_threads()
        if threads == 1 or model.config.encoder.dim >= ONE_THREAD_DIM:
            return function(model, *args, **kwargs)
        torch.set_num_threads(1)
        try:
            return function(model, *args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return limited
