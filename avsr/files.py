"""Files that are whole or not there: written under a temporary name, then renamed."""

import os
from pathlib import Path


def replace_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file; an old one of that name stays until the new one is complete."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file; an old one of that name stays until the new one is complete."""
    replace_bytes(path, text.encode())
