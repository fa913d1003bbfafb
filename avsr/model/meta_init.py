"""Build networks without memory for their weights, ready for those of a file."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from avsr.runtime.process import is_tuned

FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.tensor)  # functions that allocate weights


class _MetaInit(TorchFunctionMode):
    """Allocate weights on the device ``meta`` and skip their initial values.

    ``torch.device("meta")`` would do the first, but compute initial values on that device, for
    which PyTorch loads its compiler (1.5 s).
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
            if function is not torch.tensor and kwargs.get("dtype") is None:
                kwargs["dtype"] = torch.float32  # whatever the caller's default is
        elif getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        elif function is torch.norm_except_dim:  # the initial lengths of weight norm
            weight, _, dim = args
            return weight.new_empty([n if i == dim else 1 for i, n in enumerate(weight.shape)])
        return function(*args, **kwargs)


def init_on_meta() -> AbstractContextManager[object]:
    """Return a context manager within which modules are built without memory, in no time."""
    return _MetaInit()


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector within a block or a decorated function.

    Making thousands of tensors starts the collector, which then looks through all of PyTorch's
    objects (0.1 s) and frees nothing.
    """
    if not is_tuned():  # the garbage collector belongs to the program that uses the library
        yield
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.collect(0)  # objects of this block only, else all would be looked through next
            gc.enable()
