"""Progress reports, and cancelling through them.

The long loops of all stages report at least once per video frame, encoder layer and search step.
What a listener raises ends the work and reaches the caller of ``transcribe``. A listener belongs to
its thread (a context variable), so that jobs running in parallel do not report to each other.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from avsr.errors import ConfigError
from avsr.rates import FPS

Progress = Callable[[float, float, str], None]
"""Progress of one recording: (seconds done, seconds in all, stage)."""

ItemProgress = Callable[[str, int, int], None]
"""Progress through a corpus: (part of the work, items done, items in all)."""

DownloadProgress = Callable[[int, int, str], None]
"""Progress of a download: (bytes done, bytes in all, name of the model)."""

READING = "reading the lips"
WRITING = "finding the words"

Frame = TypeVar("Frame")


class _Subscription:
    """A listener and the last report that it received."""

    def __init__(self, listener: Progress) -> None:
        self.listener = listener
        self.last_report = (0.0, 0.0, READING)


_subscription: ContextVar[_Subscription | None] = ContextVar("avsr_progress", default=None)


@contextmanager
def listen_progress(listener: Progress | None) -> Iterator[None]:
    """Send all reports from within the block to ``listener``.

    Args:
        listener: Called with (seconds done, seconds in all, stage). It may raise to cancel the
            work. None silences an outer listener.

    Raises:
        ConfigError: The listener cannot be called.
    """
    if listener is not None and not callable(listener):
        raise ConfigError("progress must be a function of (seconds done, seconds in all, stage)")
    token = _subscription.set(None if listener is None else _Subscription(listener))
    try:
        yield
    finally:
        _subscription.reset(token)


def report(done: float, total: float, stage: str) -> None:
    """Report progress to the current listener, if there is one.

    Args:
        done: Seconds of the recording that are done.
        total: Seconds in all.
        stage: What is being done now, such as ``READING``.
    """
    subscription = _subscription.get()
    if subscription is not None:
        subscription.last_report = (done, total, stage)
        subscription.listener(*subscription.last_report)


def check_cancelled() -> None:
    """Report unchanged progress. The listener may raise here to cancel."""
    subscription = _subscription.get()
    if subscription is not None:
        subscription.listener(*subscription.last_report)


def report_frames(frames: Iterable[Frame], total: float) -> Iterator[Frame]:
    """Yield frames unchanged and report each as progress of the stage ``READING``.

    Args:
        frames: Video frames at 25 Hz.
        total: Duration of the recording in seconds.
    """
    for number, frame in enumerate(frames):
        report(number / FPS, total, READING)
        yield frame


_download_listener: ContextVar[DownloadProgress | None] = ContextVar("avsr_download", default=None)


@contextmanager
def listen_downloads(listener: DownloadProgress) -> Iterator[None]:
    """Send the progress of downloads that the block starts to ``listener``.

    Args:
        listener: Called with (bytes done, bytes in all, name of the model). It may raise to cancel
            the download.
    """
    token = _download_listener.set(listener)
    try:
        yield
    finally:
        _download_listener.reset(token)


def download_listener() -> DownloadProgress | None:
    """Return the current listener of ``listen_downloads``."""
    return _download_listener.get()


def format_bytes(count: float) -> str:
    """Format a file size: ``1549310528`` -> ``1.55 GB``, ``85248000`` -> ``85 MB``."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
