"""How many CPU cores this process may use."""

import os

_processes = 1


def usable_cores() -> int:
    """Return the number of cores for this process, at least 1.

    After ``share_cores(n)`` it is one n-th of the cores that the process may run on.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, count // _processes)


def share_cores(processes: int) -> None:
    """Limit this process (and OpenCV in it) to its share of the cores.

    Args:
        processes: Number of processes that work in parallel, this one included.
    """
    import cv2

    global _processes
    _processes = processes
    cv2.setNumThreads(usable_cores())
