"""Files that are whole or not there: written under a temporary name, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name to write to; where that went well, it becomes ``path`` at the end.

    The file gets the usual permissions, whatever its writer thinks of them.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file; an old one of that name stays until the new one is complete."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file; an old one of that name stays until the new one is complete."""
    replace_bytes(path, text.encode())
