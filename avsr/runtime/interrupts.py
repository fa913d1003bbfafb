"""Ctrl-C: what was finished is kept, and nothing is lost while C code calls Python back."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, then act as usual.

    In C code that calls Python back the exception would be lost without a trace.
    In threads other than the main one nothing is to be done: Python interrupts the main one only.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])
