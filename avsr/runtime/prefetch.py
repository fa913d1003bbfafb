"""Work that goes on in threads while its results are used, a few ahead."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from avsr.runtime.progress import listen_progress, report

LOOK = 0.1  # s between two looks at how far the thread is, while there is nothing to hand out

Item = TypeVar("Item")
Made = TypeVar("Made")
_END = object()


class _UnwantedError(Exception):
    """Nobody takes the rest."""


class _Listener:
    """Hears in other threads how far they are, tells it in this one, and may end their work."""

    def __init__(self) -> None:
        self.unwanted = threading.Event()
        self._told: tuple[float, float, str] | None = None

    def __call__(self, done: float, total: float, doing: str) -> None:
        """Called by the threads."""
        self._told = done, total, doing
        if self.unwanted.is_set():
            raise _UnwantedError

    def pass_on(self) -> None:
        """Report what was told last."""
        if self._told is not None:
            report(*self._told)


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """``items``, drawn in a thread of their own, at most ``depth`` before they are asked for.

    What drawing them raises is raised here. What it reports is told here while this thread
    waits for it. Closing the generator ends the thread, at its next report or item.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    listener = _Listener()

    def draw() -> None:
        drawn = iter(items)
        try:
            with listen_progress(listener):
                for item in drawn:
                    ready.put((item, None))
                    if listener.unwanted.is_set():
                        break
            ready.put((_END, None))
        except BaseException as error:
            ready.put((_END, error))
        finally:
            if (close := getattr(drawn, "close", None)) is not None:
                close()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = ready.get(timeout=LOOK)
            except queue.Empty:
                listener.pass_on()
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        listener.unwanted.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):  # it may wait for room
                ready.get(timeout=0.01)
        thread.join()


def prefetch_map(
    function: Callable[[Item], Made], items: Iterable[Item], depth: int, threads: int
) -> Generator[Made, None, None]:
    """``function`` of each item, in order, worked out in ``threads`` threads.

    It is ``prefetch`` else: at most ``depth`` before they are asked for, reports are told here, and
    closing the generator ends the threads, at their next reports.
    """
    listener = _Listener()

    def work(item: Item) -> Made:
        with listen_progress(listener):
            return function(item)

    def result(future: Future[Made]) -> Made:
        while not wait([future], timeout=LOOK).done:
            listener.pass_on()
        return future.result()

    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > depth:
                    yield result(waiting.popleft())
            while waiting:
                yield result(waiting.popleft())
        finally:
            listener.unwanted.set()
            for future in waiting:
                future.cancel()
