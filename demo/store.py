"""The folder of uploads and of what is made of them: private, bounded, and swept."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from demo.limits import Limits

BLOCK = 4096  # bytes, of most file systems


class Store:
    """A folder that nobody else on this machine can read, for uploads and what is made of them."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits

    def size(self) -> int:
        """Bytes that all files take: a small one, too, takes a block, and its folder another."""
        return sum(max(stat.st_size, BLOCK) + BLOCK for _, stat in self._files())

    def sweep(self, keep: set[str]) -> int:
        """Delete what has not been used for ``keep_minutes``, but for ``keep``; how many files."""
        deleted = 0
        oldest = time.time() - self.limits.keep_minutes * 60
        for path, stat in list(self._files()):
            if stat.st_ctime < oldest and str(path) not in keep:
                path.unlink(missing_ok=True)
                deleted += 1
        for folder, _, _ in os.walk(self.folder, topdown=False):
            with contextlib.suppress(OSError):  # not empty, or gone
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
    """A new folder below GRADIO_TEMP_DIR or the system's temporary folder; deleted at the end.

    Gradio is told of it by its environment variable, so open it before the page is built.
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
