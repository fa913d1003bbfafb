"""Deferring an import that a library makes but rarely needs (mediapipe's matplotlib: 0.4 s)."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    """A placeholder that imports the real module when an attribute of it is first used."""

    def __init__(self, name: str, placeholders: "list[_LazyModule]") -> None:
        super().__init__(name)
        self._placeholders = placeholders

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # the import system probes these
            raise AttributeError(name)
        _remove(self._placeholders)
        return getattr(importlib.import_module(self.__name__), name)


def _remove(placeholders: list[_LazyModule]) -> None:
    for placeholder in placeholders:
        if sys.modules.get(placeholder.__name__) is placeholder:
            del sys.modules[placeholder.__name__]


@contextlib.contextmanager
def defer_import(package: str, module: str) -> Iterator[None]:
    """Within the block, let ``import package.module`` bind a placeholder.

    The placeholder imports the real module on first use. If the package is already imported,
    nothing changes.

    Args:
        package: Top-level package, such as "matplotlib".
        module: Its submodule, such as "pyplot".
    """
    if package in sys.modules:
        yield
        return
    placeholders: list[_LazyModule] = []
    placeholders += (_LazyModule(name, placeholders) for name in (package, f"{package}.{module}"))
    setattr(placeholders[0], module, placeholders[1])
    sys.modules.update({placeholder.__name__: placeholder for placeholder in placeholders})
    try:
        yield
    finally:
        _remove(placeholders)
