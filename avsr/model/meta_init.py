"""Networks whose weights have shapes but neither memory nor values, built in no time."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from avsr.runtime.process import is_tuned

FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.tensor)  # what modules make weights with


class _Skeletons(TorchFunctionMode):
    """While it is entered, weights are made on the device ``meta`` and no one gives them values.

    ``torch.device("meta")`` would do the first, but let initial values be worked out, for which
    PyTorch loads its compiler (1.5 s).
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in FACTORIES and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        elif getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        elif function is torch.norm_except_dim:  # the lengths that weight norm begins with
            weight, _, kept = args
            return weight.new_empty([n if i == kept else 1 for i, n in enumerate(weight.shape)])
        return function(*args, **kwargs)


def init_on_meta() -> AbstractContextManager[object]:
    """While it is entered modules are built without memory."""
    return _Skeletons()


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """While it is entered, or in a function that it decorates, no garbage is collected.

    Thousands of tensors made at a go set the collector off, which then looks through all of
    PyTorch's objects (0.1 s) and finds nothing.
    """
    if not is_tuned():  # the garbage collector belongs to the program that uses the library
        yield
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.collect(0)  # what was made here only, else all would be looked through at once
            gc.enable()
