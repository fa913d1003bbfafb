"""Settings of the whole process: only the command line, to which its process belongs, changes them.

A library must not touch the standard error, the garbage collector or the environment of the program
that uses it. Code that would gain from changing them checks ``is_tuned`` first.
"""

import contextlib
import gc
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

from avsr.runtime.streams import guard_streams

# New objects before Python looks for garbage among them. PyTorch and mediapipe make 360,000 that
# stay as they are imported; by default looking through them takes 0.3 s.
NEW_OBJECTS = 20_000
# Such looks before objects that outlived one are looked through again. While everything is imported
# all of them do: with 10, as by default, that happens four times and takes 0.1 s.
YOUNG_LOOKS = 50
# Turns that an idle thread of GNU OpenMP waits for more work before it sleeps. With many more, as
# by default, it keeps its core from loaders and decoders: 3 % in training.
SPINS = "10000"

_tuned = False
_stderr_lock = threading.Lock()  # two threads that redirect stderr in turns would lose it


def tune_process() -> None:
    """Let avsr change settings of this process to start faster and to keep stderr readable.

    The command line calls it, and so do the worker processes that it starts. It sets the waiting
    time of idle OpenMP threads (unless the environment does) and the threshold of the garbage
    collector, and lets stdout and stderr take whatever is printed. It also permits the changes that
    depend on ``is_tuned``: mediapipe's log messages are hidden, and the garbage collector is paused
    while a model is loaded.
    """
    global _tuned
    _tuned = True
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    gc.set_threshold(NEW_OBJECTS, YOUNG_LOOKS)
    guard_streams()


def is_tuned() -> bool:
    """Whether ``tune_process`` was called, so that settings of the process may be changed."""
    return _tuned


@contextlib.contextmanager
def hide_stderr_lines(beginnings: tuple[bytes, ...], enabled: bool = True) -> Iterator[None]:
    """Inside the block, keep lines with these beginnings off stderr; other lines still appear.

    Nothing is done unless ``is_tuned()``. For libraries whose C++ threads write messages before
    their loggers can be configured: only redirecting the file descriptor stops those, so the block
    should hold no more than the calls that are known to write them. Other lines appear when the
    block ends.

    Args:
        beginnings: What the lines to hide begin with.
        enabled: False does nothing.
    """
    if not (enabled and is_tuned()):
        yield
        return
    with _stderr_lock:
        yield from _filter_stderr(beginnings)


def _filter_stderr(beginnings: tuple[bytes, ...]) -> Iterator[None]:
    sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # no stderr at all (a service): nothing to hide
        yield
        return
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            buffer.seek(0)
            for line in buffer:
                if not line.startswith(beginnings):
                    with contextlib.suppress(OSError):  # nobody can be told
                        os.write(2, line)
