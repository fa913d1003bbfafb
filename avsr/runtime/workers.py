"""A parallel ``map``: over processes of this machine, or over a Ray cluster."""

import contextlib
import functools
import multiprocessing
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

from avsr.errors import AvsrError
from avsr.runtime.cores import share_cores
from avsr.runtime.interrupts import end_with_parent, handle_stops
from avsr.runtime.process import is_tuned, tune_process

Map = Callable[..., Iterator[Any]]

STOP_SECONDS = 10.0  # that a worker which is stopped has for writing what it has finished

_is_working = False  # whether this worker is within a call
_is_stopped = False  # whether this worker was stopped; it refuses all further calls


@contextlib.contextmanager
def process_map(workers: int) -> Iterator[Map]:
    """Yield a ``map`` over worker processes that returns results in order.

    Each process limits itself to its share of the cores. If the block raises, as at Ctrl-C, the
    processes are stopped: their calls raise KeyboardInterrupt, and those that do not end soon are
    killed. They also end if this process is killed.

    Args:
        workers: Number of processes; 1 yields the built-in ``map``.

    Raises:
        AvsrError: A process was killed, for example as memory ran out.
    """
    if workers == 1:
        yield map
        return
    # Spawn, do not fork: the parent may hold threads and locks of torch or OpenCV.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _start_worker, (workers, is_tuned())) as pool:

        def run(function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
            return pool.map(functools.partial(_call_worker, function), *items)

        try:
            yield run
        except BaseException as error:
            processes = [p for p in multiprocessing.active_children() if p not in others]
            pool.shutdown(wait=False, cancel_futures=True)
            _stop_workers(processes)
            if isinstance(error, BrokenProcessPool):
                raise AvsrError(
                    "a worker process was killed, perhaps as memory ran out: use fewer workers"
                ) from error
            raise


def _stop_workers(processes: Sequence[BaseProcess]) -> None:
    """Stop processes, and kill those that have not ended in time, or at the next Ctrl-C."""
    try:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()


def _start_worker(processes: int, tuned: bool) -> None:
    """Share the cores with the other workers, and tune this process if its parent is tuned."""
    if tuned:
        tune_process()
    handle_stops(_on_stop)
    end_with_parent()
    share_cores(processes)


def _on_stop(*_: object) -> None:
    """End the current call; between calls the process waits in code that must not be left."""
    global _is_stopped
    if not _is_stopped:
        _is_stopped = True
        if _is_working:
            raise KeyboardInterrupt


def _call_worker(function: Callable[..., Any], *items: Any) -> Any:
    global _is_working
    if _is_stopped:
        raise KeyboardInterrupt
    _is_working = True
    try:
        return function(*items)
    finally:
        _is_working = False


@contextlib.contextmanager
def cluster_map(address: str) -> Iterator[Map]:
    """Yield a ``map`` over all CPUs of a Ray cluster that returns results in order.

    The machines of the cluster need this package and, under the same paths, the files that the
    mapped function reads. A process that is already connected to a cluster keeps its connection.

    Args:
        address: ``host:port``, ``auto`` (the cluster that this machine belongs to) or ``local``
            (a cluster of this machine alone).

    Raises:
        AvsrError: If ray is not installed, no cluster answers at ``address``, or it fails later.
    """
    try:
        import ray
    except ImportError as error:
        raise AvsrError("a cluster needs ray: pip install 'avsr[cluster]'") from error
    _check_address(address)
    connected = ray.is_initialized()
    try:
        if not connected:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise AvsrError(f"no Ray cluster at '{address}' ({reason})") from error

    def run(function: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        task = ray.remote(num_cpus=1, max_retries=3)(_call)
        shared = ray.put(function)
        # Two tasks per CPU keep it busy; more would pile up results that nobody has taken yet.
        limit = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        pending: deque[Any] = deque()
        for item in items:
            pending.append(task.remote(shared, item))
            if len(pending) == limit:
                yield _result(ray, pending.popleft())
        while pending:
            yield _result(ray, pending.popleft())

    try:
        yield run
    finally:
        if not connected:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Raise AvsrError unless something listens there; ray itself would retry for minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise AvsrError(f"'{address}' is no address of a Ray cluster: use HOST:PORT, auto or local")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise AvsrError(f"no Ray cluster at '{address}' ({error})") from error


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise AvsrError(f"the Ray cluster has failed: {' '.join(str(error).split())}") from error
