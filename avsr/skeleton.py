"""Networks whose weights have shapes but neither memory nor values, built in no time."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoInitialValues(TorchFunctionMode):
    """While it is entered no weight gets a value.

    Without memory there is none to get, but PyTorch would load its compiler (1.5 s) to find out.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        if function is torch.norm_except_dim:  # the lengths that weight norm begins with
            weight, _, kept = args
            return weight.new_empty([n if i == kept else 1 for i, n in enumerate(weight.shape)])
        return function(*args, **kwargs)


@contextlib.contextmanager
def skeletons() -> Iterator[None]:
    """While it is entered modules are built on the device ``meta``."""
    with torch.device("meta"), _NoInitialValues():
        yield
