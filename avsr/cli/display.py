"""What the commands print: results on stdout; status, progress, errors and summaries on stderr."""

import contextlib
import logging
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from avsr.errors import AvsrError
from avsr.runtime.progress import ItemProgress, format_bytes, listen_downloads

STOPPED = 130  # status of a command that was stopped by a signal; that of the process names it


@contextlib.contextmanager
def show_status(text: str) -> Iterator[Callable[..., None]]:
    """Show a status line while a block runs, on a terminal only; it also shows downloads.

    Args:
        text: What is being done.

    Yields:
        ``update(done, total, doing="")``, which adds the position in the recording, in seconds,
        and the remaining time.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, doing="": None
        return
    start = time.monotonic()
    from rich.console import Console
    from rich.markup import escape

    text = escape_controls(text)
    with Console(stderr=True).status(escape(text)) as status:

        def update(done: float, total: float, doing: str = "") -> None:
            line = f"{text}: {doing}, " if doing else f"{text}: "
            if done > 0:
                remaining = (time.monotonic() - start) * max(0.0, total / done - 1)
                line += f"{format_seconds(done)} of {format_seconds(total)}, "
                line += f"{format_seconds(remaining)} left"
            status.update(escape(line.removesuffix(", ")))

        begin: list[tuple[float, int]] = []  # time and bytes when the download began

        def show_download(done: int, total: int, what: str) -> None:
            now = time.monotonic()
            begin.extend([(now, done)] if not begin else [])
            line = f"downloading {what}: {format_bytes(done)} of {format_bytes(total)}"
            if done > begin[0][1]:
                speed = (done - begin[0][1]) / max(now - begin[0][0], 1e-3)
                line += f", {format_seconds((total - done) / speed)} left"
            status.update(escape(line))

        with listen_downloads(show_download):
            yield update


def format_seconds(seconds: float) -> str:
    """Format a duration: ``75.2`` -> ``1:15``, ``3675`` -> ``1:01:15``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


@contextlib.contextmanager
def show_progress() -> Iterator[ItemProgress]:
    """Show one progress bar per part of the work; yield ``advance(part, done, total)``."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    bars = Bars(console=Console(stderr=True), redirect_stdout=False)
    tasks: dict[str, TaskID] = {}

    def advance(part: str, done: int, total: int) -> None:
        bars.start()  # not earlier: an error before the first part should be the only output
        if part not in tasks:
            tasks[part] = bars.add_task(escape(escape_controls(part)), total=total)
        bars.update(tasks[part], completed=done, total=total)

    try:
        yield advance
    finally:
        if tasks:
            bars.stop()


def print_line(text: str) -> None:
    """Print one line of the results on stdout."""
    print(escape_controls(text), flush=True)


def print_error(message: str) -> None:
    """Print one line on stderr."""
    print(f"avsr: {escape_controls(message)}", file=sys.stderr, flush=True)


def escape_controls(text: str) -> str:
    """Escape line breaks and control characters, which names of files may hold.

    They would break lines and tables, and can change what a terminal shows.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in ("Cc", "Zl", "Zp")
        else char
        for char in text
    )


def split_list(text: str | None) -> list[str]:
    """Split names at commas or spaces; no text gives an empty list."""
    return (text or "").replace(",", " ").split()


def print_summary(done: int, skipped: int, failed: int) -> int:
    """Print how many of several videos are done; return the exit status."""
    if done + skipped + failed > 1 or skipped:
        hint = " (--overwrite does them again)" if skipped else ""
        print_error(f"{done} done, {skipped} skipped{hint}, {failed} failed")
    return 1 if failed else 0


class _StderrHandler(logging.Handler):
    """Prints messages of the library on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print_error(record.getMessage())


_HANDLER = _StderrHandler()


def show_log() -> None:
    """Show warnings of the library on stderr, and the licence of every model that is loaded."""
    logging.getLogger("avsr").setLevel(logging.INFO)
    logging.getLogger("avsr").addHandler(_HANDLER)  # adding it again changes nothing


def format_error(video: str, error: Exception) -> str:
    """Describe in one line why a file failed.

    Args:
        video: The file.
        error: Its error. One that is not an AvsrError is a bug, and is raised again if AVSR_DEBUG
            is set.
    """
    if isinstance(error, AvsrError):
        return prefix_file(video, str(error))
    if os.environ.get("AVSR_DEBUG"):
        raise error
    return prefix_file(video, f"{format_unexpected(error)}; AVSR_DEBUG=1 shows where")


def prefix_file(video: str, message: str) -> str:
    """Begin a message with the name of its file, unless it does already."""
    kind = "warning: " if message.startswith("warning: ") else ""
    rest = message.removeprefix(kind)
    for name in (video, str(Path(video))):
        rest = rest.removeprefix(f"{name}: ")
    return f"{video}: {kind}{rest}"


def format_unexpected(error: Exception) -> str:
    """Describe a bug in one line."""
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
