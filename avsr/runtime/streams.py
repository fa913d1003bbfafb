"""Standard streams that end no run: missing, full, or unable to write some character."""

import contextlib
import io
import os
import select
import sys
from typing import Any, TextIO

CLOSED_PIPE = 128 + 13  # exit status after SIGPIPE, by which other programs end at a closed pipe


class _SafeFile(io.FileIO):
    """A standard stream. Its first failing write is noted and what follows is dropped.

    Of a pipe that nobody reads any more, stdout raises BrokenPipeError once: the run should end.
    """

    def __init__(self, descriptor: int, raises: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.raises = raises
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes; say that all were written even if none can be."""
        size = memoryview(data).nbytes
        if self.failure is not None:
            return size
        try:
            while (written := super().write(data)) is None:  # it does not block, and is full now
                select.select([], [self], [])
        except OSError as error:
            self.failure = error
            if self.raises and isinstance(error, BrokenPipeError):
                raise
            return size
        return written


def guard_streams() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that take whatever is printed.

    Characters that their encoding lacks are escaped. A stream that is closed from the start becomes
    the null device: else ``print`` would send messages for stderr to stdout, and the next file that
    is opened would get them.
    """
    for descriptor in range(3):
        _open_missing(descriptor)
    sys.stdout = _guarded(sys.stdout, raises=True)
    sys.stderr = _guarded(sys.stderr, raises=False)


def stdout_failure() -> OSError | None:
    """Write out what stdout still holds and return its first error, if there was one."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _SafeFile) else None


def _open_missing(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null == descriptor:
            os.set_inheritable(null, True)
            return
        os.dup2(null, descriptor)
        os.close(null)


def _guarded(stream: TextIO | None, raises: bool) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    buffer = getattr(stream, "buffer", None)
    if not isinstance(getattr(buffer, "raw", buffer), io.FileIO):  # such as the console of Windows
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_SafeFile(stream.fileno(), raises)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(stream.line_buffering or getattr(stream, "write_through", False)),
    )
