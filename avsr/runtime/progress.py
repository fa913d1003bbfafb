"""How far the work on a recording is: told to whoever asked for it, who may stop it.

The long loops of all stages come by here, at least once a frame, a layer and a step of the search.
What the listener raises there ends the work and reaches the caller of ``transcribe``. A listener
belongs to its thread, so that works side by side do not hear of one another.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from avsr.rates import FPS

Progress = Callable[[float, float, str], None]
"""(seconds of the recording that are done, seconds in all, what is being done now)."""

READING = "reading the lips"
WRITING = "finding the words"

Frame = TypeVar("Frame")


class _Told:
    """A listener and what it was told last."""

    def __init__(self, listener: Progress) -> None:
        self.listener = listener
        self.last = (0.0, 0.0, READING)


_told: ContextVar[_Told | None] = ContextVar("avsr_progress", default=None)


@contextmanager
def listen_progress(listener: Progress | None) -> Iterator[None]:
    """Within the block ``listener`` is told; None: nobody is."""
    token = _told.set(None if listener is None else _Told(listener))
    try:
        yield
    finally:
        _told.reset(token)


def report(done: float, total: float, doing: str) -> None:
    """Tell how far the work is, seconds of the recording."""
    told = _told.get()
    if told is not None:
        told.last = (done, total, doing)
        told.listener(*told.last)


def check_cancelled() -> None:
    """Tell the same once more: a moment in which the work may be stopped."""
    told = _told.get()
    if told is not None:
        told.listener(*told.last)


def report_frames(frames: Iterable[Frame], total: float) -> Iterator[Frame]:
    """``frames`` at 25 Hz as they are, each of them reported; ``total`` seconds in all."""
    for number, frame in enumerate(frames):
        report(number / FPS, total, READING)
        yield frame
