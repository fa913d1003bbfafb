"""Deferring Ctrl-C while C code calls back into Python."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block.

    A KeyboardInterrupt raised in a Python callback of a C library would be lost without a trace.
    Threads other than the main one need nothing: Python interrupts the main thread only.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    pending: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *arguments: pending.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pending:
        handler(*pending[0])
