"""Settings of the C library's memory allocator for training on a CPU."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


def disable_malloc_trim() -> bool:
    """Keep freed memory in the process instead of returning it to the system (glibc only).

    By default large blocks go back to the system, which zeroes them when they are allocated again:
    a quarter of the time of a training on video frames.

    Returns:
        Whether the allocator accepted the setting; False for other C libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
