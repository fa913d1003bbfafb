"""Threads: a small network computes in one."""

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import torch

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

ONE_THREAD_DIM = 512  # width of the encoder; in smaller networks threads mostly wait for each other

# OpenMP's threads do not come along into a forked child, which would wait for them for ever.
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_few_threads(
    function: "Callable[Concatenate[AVSRModel, Arguments], Result]",
) -> "Callable[Concatenate[AVSRModel, Arguments], Result]":
    """Decorator: run a function of a small model in one thread and leave the other cores free.

    A second thread makes the bundled model a tenth faster if nothing else runs. While pictures are
    decoded at the same time it makes it many times slower: the threads wait for each other
    thousands of times a second, and the one that is waited for has no core.
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
