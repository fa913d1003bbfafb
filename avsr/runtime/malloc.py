"""Memory that is freed between the steps of a training on a CPU, and needed again in the next."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


def disable_malloc_trim() -> bool:
    """Have this process keep what it frees, if its C library is glibc; gives whether it does.

    By default large blocks go back to the system, which fills them with zeros when they are taken
    again: a quarter of the time of a training through pictures.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
