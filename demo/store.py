"""The private folder of uploads and results, limited in size and cleaned up regularly."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from demo.limits import Limits

BLOCK = 4096  # bytes; block size of most file systems
ABANDONED_SECONDS = 60.0  # after its last use, for which the file of a client that left is kept


class Store:
    """A folder for uploads and results that no other user of this machine can read."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits
        self._abandoned: set[str] = set()  # files whose clients left before their job was done

    def abandon(self, paths: Iterable[str]) -> None:
        """Note files that nobody waits for any more: they are deleted soon."""
        self._abandoned.update(paths)

    def claim(self, paths: Iterable[str]) -> None:
        """Note files that somebody wants to have read: they are kept as usual."""
        self._abandoned.difference_update(paths)

    def lacks(self, paths: Iterable[str]) -> bool:
        """Whether one of the paths would be a file of the store, but is none (any more)."""
        inside = (path for path in paths if self.holds(path))
        return not all(os.path.isfile(path) for path in inside)

    def holds(self, path: str) -> bool:
        """Whether a path leads into the store."""
        return Path(os.path.abspath(path)).is_relative_to(self.folder)

    @property
    def sweep_seconds(self) -> float:
        """Time between two sweeps, so that no file stays more than a tenth longer."""
        return min(self.limits.keep_minutes * 60 / 10, ABANDONED_SECONDS / 2)

    def size(self) -> int:
        """Bytes of all files; each takes at least one block, and its folder another."""
        return sum(max(stat.st_size, BLOCK) + BLOCK for _, stat in self._files())

    def sweep(self, keep: set[str]) -> int:
        """Delete files that were not used for ``keep_minutes``, or are abandoned.

        Args:
            keep: Paths that are never deleted.

        Returns:
            The number of deleted files.
        """
        deleted = 0
        now, kept = time.time(), self.limits.keep_minutes * 60
        oldest = now - kept
        for path, stat in list(self._files()):
            name = str(path)
            seconds = min(kept, ABANDONED_SECONDS) if name in self._abandoned else kept
            if stat.st_ctime < now - seconds and name not in keep:
                path.unlink(missing_ok=True)
                self._abandoned.discard(name)
                deleted += 1
        for folder, _, _ in os.walk(self.folder, topdown=False):
            with contextlib.suppress(OSError):  # not empty, or deleted meanwhile
                if folder != str(self.folder) and os.stat(folder).st_ctime < oldest:
                    os.rmdir(folder)
        return deleted

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield path, path.lstat()


@contextlib.contextmanager
def open_store(limits: Limits) -> Iterator[Store]:
    """Make a new store in GRADIO_TEMP_DIR or the system's temporary folder; delete it at the end.

    Gradio finds it through its environment variable, so open it before the page is built.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    folder = Path(tempfile.mkdtemp(prefix="avsr-demo-", dir=before or None))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield Store(folder, limits)
    finally:
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)
