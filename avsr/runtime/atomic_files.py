"""Write files atomically: under a temporary name beside them, and renamed when they are complete.

A temporary file is named after its machine and process, so that one whose process was killed is
deleted by the next process that writes into the same folder. Its name is random, so that nobody can
put a link there first.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from avsr.errors import WriteError

TEMPORARY = re.compile(r"\.avsr-(\w{8})-(\w{8})-(\d+)-\w{16}(\.\w+)?")  # host, boot, process id
PENDING = ".avsr-pending"  # folder of new files that are complete, inside the one they belong to
OBSOLETE = ".obsolete.json"  # in it: a list of the old files that go
DAY = 24 * 3600  # s

_swept: set[str] = set()  # folders in which this process has deleted what others left


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to and rename it to ``path`` if the block succeeds.

    The file gets the permissions of a new file, even if the writer sets others. If the block
    raises, the temporary file is deleted and an existing ``path`` stays as it was. If ``path`` is a
    link, the file that it names is replaced.

    Args:
        path: File to create or replace.

    Raises:
        WriteError: The file cannot be written: the disk is full, for example.
    """
    target = Path(os.path.realpath(path))
    with explain_write(path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        if target.exists() and not target.is_file():  # a device would be gone
            raise OSError(errno.EINVAL, "Not a regular file", target)
        temporary = temporary_beside(target)
    try:
        with explain_write(path, temporary):
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
        with explain_write(path):
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def replace_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file atomically; an existing file stays until the new one is complete.

    Raises:
        WriteError: As ``atomic_write``.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file atomically; an existing file stays until the new one is complete.

    Raises:
        WriteError: As ``atomic_write``.
    """
    replace_bytes(path, text.encode())


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those that it lies in, unless it exists.

    Raises:
        WriteError: It cannot be made.
    """
    with explain_write(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def explain_write(
    path: str | os.PathLike[str], temporary: str | os.PathLike[str] | None = None
) -> Iterator[None]:
    """Turn an OSError of the block into a WriteError that names ``path``.

    Args:
        path: What cannot be written.
        temporary: Where the block writes to. Errors that name any other file pass; None: none does.
    """
    try:
        yield
    except (WriteError, ConnectionError):  # of a file inside the block, of a closed pipe
        raise
    except OSError as error:
        if temporary is not None and error.filename not in (None, os.fspath(temporary)):
            raise
        raise WriteError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def temporary_beside(path: str | os.PathLike[str], suffix: str = ".part") -> Path:
    """Create an empty file beside ``path`` that nobody else has, and return its path.

    What killed processes have left in that folder is deleted first, once in each process.

    Args:
        path: File that it will become.
        suffix: Ending of its name.

    Raises:
        OSError: It cannot be created.
    """
    folder = Path(path).parent
    sweep(folder)
    temporary = folder / _temporary_name(suffix)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return temporary


def sweep(folder: Path) -> None:
    """Delete what processes of this machine that have ended have left in a folder, once."""
    name = os.path.realpath(folder)
    if name in _swept:
        return
    _swept.add(name)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (match := TEMPORARY.fullmatch(entry.name)) and _is_left(entry, match):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    os.unlink(entry)


def _is_left(entry: os.DirEntry[str], name: re.Match[str]) -> bool:
    """Whether the process that made a temporary file or folder has ended."""
    host, boot = _machine()
    if name[1] != host:
        return False  # another machine shares this disk
    if name[2] == boot:
        return not _is_running(int(name[3]))
    # The machine was started anew, or it is another container with the same name.
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY


def _is_running(process: int) -> bool:
    """Whether a process of this machine runs. One that has ended and waits for nobody does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
        return state.rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        pass
    if os.name != "posix":  # a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to somebody else
        return True
    return True


@functools.cache
def _machine() -> tuple[str, str]:
    """Names of this host, and of what a process id counts in: its boot, or a container."""
    boot = []
    with contextlib.suppress(OSError):
        boot.append(Path("/proc/sys/kernel/random/boot_id").read_text("utf-8"))
        boot.append(os.readlink("/proc/self/ns/pid"))
    texts = (platform.node(), "\n".join(boot))
    host, number = (hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts)
    return host, number


def _temporary_name(suffix: str = ".part") -> str:
    """A random name of 60 bytes: short enough wherever a file can have a name at all."""
    host, boot = _machine()
    return f".avsr-{host}-{boot}-{os.getpid()}-{secrets.token_hex(8)}{suffix}"


@contextlib.contextmanager
def replace_files(folder: str | os.PathLike[str], obsolete: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder whose files replace those of ``folder`` if the block succeeds.

    Nothing is touched before all of them are written; if the block raises, ``folder`` stays as it
    was. A new ``folder`` appears whole. In one that exists, the complete files are put into a
    folder of their own, in one step, and moved from there to their places one after the other. If
    that is interrupted, ``finish_replacing`` goes on with it; who reads ``folder`` calls it first.

    Args:
        folder: Folder of the files; made if it does not exist.
        obsolete: Patterns of other files of ``folder``, which are deleted.

    Raises:
        OSError: A file cannot be written, or ``folder`` is a file.
    """
    folder = Path(folder)
    exists = folder.is_dir()
    if folder.exists() and not exists:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder if exists else folder.parent
    sweep(beside)
    new = beside / _temporary_name()
    try:
        new.mkdir()
        yield new
        _set_modes(new)
        if not exists:
            new.rename(folder)
            return
        finish_replacing(folder)
        names = {path.name for path in new.iterdir()}
        for name in names:
            if (folder / name).is_dir():  # before anything is moved
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), folder / name)
        others = {path for pattern in obsolete for path in folder.glob(pattern)}
        old = sorted(p.name for p in others if p.name not in names and not p.is_dir())
        (new / OBSOLETE).write_text(json.dumps(old), "utf-8")
        new.rename(folder / PENDING)
        finish_replacing(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def finish_replacing(folder: str | os.PathLike[str]) -> None:
    """Move new files to their places if ``replace_files`` was interrupted while it did that.

    Args:
        folder: Folder of the files; it need not exist.

    Raises:
        OSError: A file cannot be moved.
    """
    folder = Path(folder)
    pending = folder / PENDING
    if pending.is_symlink() or not pending.is_dir():
        return
    listed = pending / OBSOLETE
    # Another process may be doing the same: whatever is gone, it has done.
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        for name in json.loads(listed.read_text("utf-8")):
            if os.path.basename(name) == name and not (folder / name).is_dir():
                (folder / name).unlink(missing_ok=True)
    for path in sorted(pending.iterdir()):
        if path != listed:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, folder / path.name)
    listed.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        pending.rmdir()


def _set_modes(folder: Path) -> None:
    """Give files the permissions of new files; some writers set others."""
    new = folder / ".mode"
    new.touch()
    mode = new.stat().st_mode
    new.unlink()
    for path in folder.iterdir():
        path.chmod(mode)
