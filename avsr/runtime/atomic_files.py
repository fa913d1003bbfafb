"""Write files atomically: under a temporary name, which is renamed when the file is complete."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
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


@contextlib.contextmanager
def replace_files(
    folder: str | os.PathLike[str], last: Sequence[str] = (), obsolete: Sequence[str] = ()
) -> Iterator[Path]:
    """Yield an empty folder whose files replace those of ``folder`` if the block succeeds.

    Nothing is touched before all of them are written. A new ``folder`` appears whole; in one that
    exists, the files are renamed one after the other. If the block raises, ``folder`` stays as it
    was.

    Args:
        folder: Folder of the files; made if it does not exist.
        last: Names of those that are renamed last, in this order.
        obsolete: Patterns of other files of ``folder``, which are deleted in the end.
    """
    folder = Path(folder)
    exists = folder.is_dir()
    if folder.exists() and not exists:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = (folder if exists else folder.parent) / f".{folder.absolute().name}.{os.getpid()}"
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir()
        yield new
        _set_modes(new)
        if not exists:
            new.rename(folder)
            return
        names = {path.name for path in new.iterdir()}
        for name in names:
            if (folder / name).is_dir():  # before anything is renamed
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), folder / name)
        for name in (*sorted(names.difference(last)), *(name for name in last if name in names)):
            os.replace(new / name, folder / name)
        for path in {path for pattern in obsolete for path in folder.glob(pattern)}:
            if path.name not in names and not path.is_dir():
                path.unlink()
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _set_modes(folder: Path) -> None:
    """Give files the permissions of new files; some writers set others."""
    new = folder / ".mode"
    new.touch()
    mode = new.stat().st_mode
    new.unlink()
    for path in folder.iterdir():
        path.chmod(mode)
