"""Computing items ahead in threads while earlier ones are being used."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from avsr.runtime.progress import listen_progress, report

POLL_SECONDS = 0.1  # interval at which progress is passed on while no result is ready

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


class _AbandonedError(Exception):
    """Nobody needs the remaining results."""


class _Relay:
    """Receives reports in worker threads, passes them on in the caller's, and can stop the work."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self._last_report: tuple[float, float, str] | None = None

    def __call__(self, done: float, total: float, stage: str) -> None:
        """Listen in the worker threads."""
        self._last_report = done, total, stage
        if self.abandoned.is_set():
            raise _AbandonedError

    def pass_on(self) -> None:
        """Repeat the last report in the calling thread."""
        if self._last_report is not None:
            report(*self._last_report)


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield ``items``, which a thread of their own draws ahead of time.

    Exceptions of ``items`` are raised here, after the items before them. Their progress reports
    are passed on while this thread waits. Closing the generator ends the thread at its next
    report or item.

    Args:
        items: Items to draw; a generator is closed in the thread that drew from it.
        depth: Largest number of items that wait to be used.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    relay = _Relay()

    def draw() -> None:
        iterator = iter(items)
        try:
            with listen_progress(relay):
                for item in iterator:
                    ready.put((item, None))
                    if relay.abandoned.is_set():
                        break
            ready.put((_END, None))
        except BaseException as error:
            ready.put((_END, error))
        finally:
            if (close := getattr(iterator, "close", None)) is not None:
                close()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = ready.get(timeout=POLL_SECONDS)
            except queue.Empty:
                relay.pass_on()
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        relay.abandoned.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):  # the thread may wait for room in the queue
                ready.get(timeout=0.01)
        thread.join()


def prefetch_map(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int, threads: int
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for each item, in order, computed ahead in several threads.

    Exceptions and progress reports are passed on as in ``prefetch``. Closing the generator ends
    the threads at their next reports.

    Args:
        function: Called in the threads.
        items: Drawn in the calling thread.
        depth: Largest number of results that wait to be used.
        threads: Number of threads.
    """
    relay = _Relay()

    def work(item: Item) -> Result:
        with listen_progress(relay):
            return function(item)

    def result(future: Future[Result]) -> Result:
        while not wait([future], timeout=POLL_SECONDS).done:
            relay.pass_on()
        return future.result()

    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > depth:
                    yield result(pending.popleft())
            while pending:
                yield result(pending.popleft())
        finally:
            relay.abandoned.set()
            for future in pending:
                future.cancel()
