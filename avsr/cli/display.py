"""What the commands show on stderr: status, progress, errors, summaries."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from avsr.errors import AvsrError

Progress = Callable[[str, int, int], None]  # part of the work, items done, in all


@contextlib.contextmanager
def show_status(text: str) -> Iterator[Callable[..., None]]:
    """Show what is being done while it is being done, on a terminal only.

    Yields ``at(done, total, doing="")``, which adds the position in a recording, in seconds of it.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, doing="": None
        return
    began = time.monotonic()
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)) as status:

        def at(done: float, total: float, doing: str = "") -> None:
            where = f"{text}: {doing}, " if doing else f"{text}: "
            if done > 0:
                left = (time.monotonic() - began) * max(0.0, total / done - 1)
                where += f"{format_seconds(done)} of {format_seconds(total)}, "
                where += f"{format_seconds(left)} left"
            status.update(escape(where.removesuffix(", ")))

        yield at


def format_seconds(seconds: float) -> str:
    """``75.2`` -> ``1:15``, ``3675`` -> ``1:01:15``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """A bar on stderr per part of the work: ``advance(part, done, total)``."""
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    bars = Bars(console=Console(stderr=True), redirect_stdout=False)
    tasks: dict[str, TaskID] = {}

    def advance(part: str, done: int, total: int) -> None:
        bars.start()  # not earlier: before the first part an error should stand alone
        if part not in tasks:
            tasks[part] = bars.add_task(part, total=total)
        bars.update(tasks[part], completed=done, total=total)

    try:
        yield advance
    finally:
        if tasks:
            bars.stop()


def print_error(message: str) -> None:
    """One line on stderr."""
    print(f"avsr: {message}", file=sys.stderr, flush=True)


def split_list(text: str | None) -> list[str]:
    """Names with commas or spaces between -> a list; empty for no text."""
    return (text or "").replace(",", " ").split()


def print_summary(done: int, skipped: int, failed: int) -> int:
    """Say how several videos went; the exit status."""
    if done + skipped + failed > 1 or skipped:
        hint = " (--overwrite does them again)" if skipped else ""
        print_error(f"{done} done, {skipped} skipped{hint}, {failed} failed")
    return 1 if failed else 0


class _StderrHandler(logging.Handler):
    """Shows what the library logs for users, as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print_error(record.getMessage())


_HANDLER = _StderrHandler()


def show_log() -> None:
    """Show on stderr what ``avsr.hub`` logs: the licence of every model that is loaded."""
    logger = logging.getLogger("avsr.hub")
    logger.setLevel(logging.INFO)
    logger.addHandler(_HANDLER)  # adding it again changes nothing


def format_error(video: str, error: Exception) -> str:
    """One line about a file that failed; a bug is raised again where AVSR_DEBUG asks for it."""
    if isinstance(error, AvsrError):
        return prefix_file(video, str(error))
    if os.environ.get("AVSR_DEBUG"):
        raise error
    return prefix_file(video, f"{format_unexpected(error)}; AVSR_DEBUG=1 shows where")


def prefix_file(video: str, message: str) -> str:
    """The message with the file's name in front, unless it already names it."""
    named = message.startswith((f"{video}:", f"{Path(video)}:"))
    return message if named else f"{video}: {message}"


def format_unexpected(error: Exception) -> str:
    """One line about a bug."""
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
