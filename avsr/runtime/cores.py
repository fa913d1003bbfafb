"""How many cores a process may keep busy."""

import os

_processes = 1


def usable_cores() -> int:
    """The cores of this process, at least one, where it does not work alone its share of them."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, count // _processes)


def share_cores(processes: int) -> None:
    """Be one of so many processes that work side by side: OpenCV keeps to this one's share, too."""
    import cv2

    global _processes
    _processes = processes
    cv2.setNumThreads(usable_cores())
