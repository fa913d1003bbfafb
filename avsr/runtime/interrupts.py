"""Being stopped: by Ctrl-C, by SIGTERM (``kill``, a service) or by SIGHUP (a closed terminal).

All of them raise KeyboardInterrupt in the main thread, so that what is finished is kept and what is
unfinished is removed. Only processes of avsr's own change what the signals do.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
SAME_STOP = 1.0  # s; closed terminals, services and wrappers send two signals for one wish
PARENT_POLL = 0.5  # s
PARENT_GRACE = 5.0  # s that a process has for cleaning up when its parent has ended

_stop: tuple[int, float] | None = None  # the signal that stopped this process, and when


def handle_stops(
    handler: Callable[[int, FrameType | None], None] | None = None,
) -> None:
    """Let SIGTERM and SIGHUP stop this process as Ctrl-C does.

    Signals that are ignored already, as ``nohup`` and shells do for processes in the background,
    stay ignored.

    Args:
        handler: Called in the main thread. Default: raises KeyboardInterrupt.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler or _raise_stop)


def stop_status() -> int:
    """Exit status of a process that was stopped: 128 and the number of the signal."""
    return 128 + (signal.SIGINT if _stop is None else _stop[0])


def _raise_stop(number: int, frame: FrameType | None) -> None:
    global _stop
    now = time.monotonic()
    if _stop is not None and now - _stop[1] < SAME_STOP:
        return
    _stop = (number if _stop is None else _stop[0]), now
    raise KeyboardInterrupt


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
    """Delay Ctrl-C, and the other signals that stop, until the end of the block.

    A KeyboardInterrupt raised in a Python callback of a C library would be lost without a trace.
    Threads other than the main one need nothing: Python interrupts the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    pending: list[tuple[Any, ...]] = []
    for number in handlers:
        signal.signal(number, lambda *arguments: pending.append(arguments))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if pending:
        handler = handlers[pending[0][0]]
        assert callable(handler)
        handler(*pending[0])


def end_with_parent() -> None:
    """Let this process, which ``multiprocessing`` started, end when its parent does, however.

    A parent that is killed tells nobody, and a worker would wait for it for ever. This process
    gets SIGTERM, and is ended if it does not end.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_end_after, args=(parent.pid,), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PARENT_GRACE)
    os._exit(128 + signal.SIGTERM)
