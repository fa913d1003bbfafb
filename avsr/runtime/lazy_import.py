"""Leaving out what a library imports but does not need, like mediapipe matplotlib (0.4 s)."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _StandIn(ModuleType):
    """Stands for a module until something of it is needed."""

    def __init__(self, name: str, all_of_them: "list[_StandIn]") -> None:
        super().__init__(name)
        self._all_of_them = all_of_them

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # what is asked of any module
            raise AttributeError(name)
        _leave(self._all_of_them)
        return getattr(importlib.import_module(self.__name__), name)


def _leave(stand_ins: list[_StandIn]) -> None:
    for stand_in in stand_ins:
        if sys.modules.get(stand_in.__name__) is stand_in:
            del sys.modules[stand_in.__name__]


@contextlib.contextmanager
def postponed(package: str, module: str) -> Iterator[None]:
    """While it is entered, who imports ``package.module`` gets a stand-in, which imports it when it
    is used. Nothing changes if the package is there already.
    """
    if package in sys.modules:
        yield
        return
    stand_ins: list[_StandIn] = []
    stand_ins += (_StandIn(name, stand_ins) for name in (package, f"{package}.{module}"))
    setattr(stand_ins[0], module, stand_ins[1])
    sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
    try:
        yield
    finally:
        _leave(stand_ins)
