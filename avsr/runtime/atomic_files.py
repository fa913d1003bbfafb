"""Write files atomically: under a temporary name, which is renamed when the file is complete."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to and rename it to ``path`` if the block succeeds.

    The file gets the permissions of a new file, even if the writer sets others. If the block
    raises, the temporary file is deleted and an existing ``path`` stays as it was.

    Args:
        path: File to create or replace.
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
    """Write a file atomically; an existing file stays until the new one is complete."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file atomically; an existing file stays until the new one is complete."""
    replace_bytes(path, text.encode())
