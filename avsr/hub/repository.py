"""Download a repository of the hub: small files first, then a check, then the weights.

Files lie in the cache of huggingface_hub, which also has the settings for it: ``HF_HOME`` (its
folder), ``HF_ENDPOINT`` (mirror), ``HF_HUB_OFFLINE=1``. Models of other formats are imported
once, into ``HF_HOME/avsr``.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from avsr.errors import AvsrError, ModelError
from avsr.hub.names import find_address, find_public, parse_address
from avsr.hub.public_models import PublicModel
from avsr.hub.transfer import (
    RemoteFile,
    check_space,
    download_file,
    explain_errors,
    find_file,
    parse_header,
    read_header,
)
from avsr.model.directory import (
    CONFIG,
    IN_SHARDS,
    SHARDS,
    TOKENIZER,
    WEIGHTS,
    check_directory,
    read_licence,
)
from avsr.runtime.atomic_files import replace_text
from avsr.runtime.progress import DownloadProgress, download_listener, format_bytes

logger = logging.getLogger("avsr.hub")

# In the order of the download. What stands before the weights is needed to check them; they come
# last, so that a repository that has them in the cache is whole.
SMALL_FILES = (
    *(CONFIG, "README.md", "tokenizer.model", "reliability.json"),
    *("vocab.json", "sentencepiece.bpe.model"),  # of the Hugging Face port
)
MODEL_FILES = ("lm.safetensors", WEIGHTS)
LANGUAGE_FILES = ("README.md", "label_encoder.txt", "classifier.ckpt", "embedding_model.ckpt")
COMMIT = re.compile(r"[0-9a-f]{40}")
LOGGED_SHARES = 10  # lines that tell the progress of a download where nobody else shows it


def fetch(address: str, progress: DownloadProgress | None = None) -> Path:
    """Download a model from the hub, unless it is in the cache.

    Names and shapes of the weights are checked before they are downloaded. A download that was
    broken off goes on where it stopped.

    Args:
        address: ``hf://owner/name`` or ``hf://owner/name@revision``, or a short name.
        progress: Called with (bytes done, bytes in all, name of the model), often; small files do
            not count. What it raises cancels the download. Default: the listener of
            ``listen_downloads``, or else lines in the log.

    Returns:
        The model directory in the cache.

    Raises:
        ModelError: The address has another form, the repository cannot be downloaded, or it is
            neither a model directory, nor of AV-HuBERT's Hugging Face port, nor a language-ID
            model of VoxLingua107's kind.
    """
    repository = Repository(find_address(address) or address, address)
    if (found := repository.find_on_hub()) is None:
        return repository.convert(repository.cached_commit())
    commit, sizes = found
    if not repository.is_imported(commit):
        repository.download(commit, sizes, progress)
    repository.write_reference(commit)
    return repository.convert(commit)


class Repository:
    """A repository of the hub, and its place in the cache."""

    def __init__(self, address: str, title: str | None = None) -> None:
        """Find its folders; nothing is read.

        Args:
            address: ``hf://owner/name`` or ``hf://owner/name@revision``.
            title: What messages call it. Default: its address.

        Raises:
            ModelError: The address is none.
        """
        from huggingface_hub.constants import HF_HOME, HF_HUB_CACHE
        from huggingface_hub.file_download import repo_folder_name

        self.title = title or address
        self.name, revision = parse_address(address)
        self.revision = revision or "main"
        public: PublicModel | None = find_public(address)
        self._licence = None if public is None else public.licence
        self._published = {} if public is None else public.sha256  # digests by name of file
        self._others: list[str] = []  # files that were downloaded and have another digest
        folder = repo_folder_name(repo_id=self.name, repo_type="model")
        cache = Path(HF_HUB_CACHE).expanduser()
        self.folder = cache / folder
        self.locks = cache / ".locks" / folder
        self._imports = Path(HF_HOME) / "avsr" / self.name.replace("/", "--")

    def snapshot(self, commit: str) -> Path:
        """Folder of a commit's files in the cache."""
        return self.folder / "snapshots" / commit

    def imported(self, commit: str) -> Path:
        """Folder of the model directory that a commit was imported as."""
        return self._imports / commit

    def is_imported(self, commit: str) -> bool:
        """Whether a commit was imported, and no file of it is lost or cut since."""
        folder = self.imported(commit)
        settings = read_settings(folder)
        has_tokenizer = (folder / TOKENIZER).is_file() or "decoder" not in settings.get("parts", ())
        return bool(settings) and has_tokenizer and _is_whole(folder / WEIGHTS)

    def is_here(self) -> bool:
        """Whether the revision can be used without a network."""
        try:
            self.cached_commit()
        except ModelError:
            return False
        return True

    def cached_commit(self) -> str:
        """Return the commit of the revision that is in the cache.

        Raises:
            ModelError: There is none, or its weights are missing.
        """
        commit = self.revision
        if not COMMIT.fullmatch(commit):
            with contextlib.suppress(OSError):
                commit = (self.folder / "refs" / self.revision).read_text().strip()
        weights = (self.snapshot(commit) / name for name in (WEIGHTS, LANGUAGE_FILES[-1]))
        if self.is_imported(commit) or any(path.is_file() for path in weights):
            return commit
        raise ModelError(f"cannot download {self.title}: it is not in the cache")

    def find_on_hub(self) -> tuple[str, dict[str, int | None]] | None:
        """Ask the hub for the revision's commit and the sizes of its files by name, where it says.

        Returns:
            None if it does not answer with them and the model is in the cache.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RevisionNotFoundError

        with explain_errors(self.title):
            try:
                info = HfApi().model_info(
                    self.name, revision=self.revision, timeout=10, files_metadata=True
                )
                if not COMMIT.fullmatch(info.sha or ""):  # it becomes the name of a folder
                    raise ModelError(f"{self.title}: the hub does not say its commit")
                return str(info.sha), {file.rfilename: file.size for file in info.siblings or ()}
            except RevisionNotFoundError:
                raise
            except Exception:  # of the hub, the network, or offline mode
                if self.is_here():
                    return None
                raise

    def download(
        self, commit: str, sizes: Mapping[str, int | None], progress: DownloadProgress | None
    ) -> None:
        """Download the files of a commit that are not in the cache, or not whole.

        Args:
            commit: The commit.
            sizes: Bytes of all files of the repository by name; None: not known.
            progress: As for ``fetch``.
        """
        from huggingface_hub import hf_hub_download

        snapshot = self.snapshot(commit)
        wanted = self._choose(sizes.keys())
        missing = [name for name in wanted if not _has_size(snapshot / name, sizes[name])]
        if not missing:
            return
        with explain_errors(self.title):
            files = [find_file(self.name, commit, name) for name in missing]
        large = [file for file in files if file.name not in SMALL_FILES]
        report = _Report(self.title, sum(file.size for file in large), progress)
        for file in files:
            is_large = file in large
            if is_large and file is large[0]:
                self._announce(snapshot, large)
            self._download_file(file, report if is_large else lambda done: None)
            if is_large:
                report.finish(file)
            with explain_errors(self.title):
                if not _has_size(snapshot / file.name, file.size):
                    (snapshot / file.name).unlink(missing_ok=True)
                hf_hub_download(self.name, file.name, revision=commit)  # links it
        if self._others:
            others = ", ".join(self._others)
            logger.warning("%s: not the published %s (by its SHA-256)", self.title, others)

    def _choose(self, names: Collection[str]) -> list[str]:
        """Return the files that a model needs, in the order of the download."""
        if LANGUAGE_FILES[-1] in names:
            return [name for name in LANGUAGE_FILES if name in names]
        if WEIGHTS not in names and SHARDS in names:
            raise ModelError(f"{self.title}: {IN_SHARDS}")
        for name in (CONFIG, WEIGHTS):
            if name not in names:
                raise ModelError(
                    f"{self.title} is neither a model directory nor a language-ID model, and it "
                    f"is not a model of the Hugging Face port: it has no {name}"
                )
        return [name for name in (*SMALL_FILES, *MODEL_FILES) if name in names]

    def _announce(self, snapshot: Path, files: list[RemoteFile]) -> None:
        """Check that the large files fit the small ones and the disk, and log what comes."""
        is_foreign = not is_model_directory(snapshot)
        for file in files:
            if file.name == WEIGHTS:
                self._check(snapshot, file, is_foreign)
        size = sum(file.size for file in files)
        with explain_errors(self.title):
            self.folder.mkdir(parents=True, exist_ok=True)
            parts = [self._blob(f).with_name(f.etag + ".incomplete") for f in files]
            present = sum(part.stat().st_size for part in parts if part.is_file())
        # A model of another format takes its size again when it is imported.
        check_space(self.folder, size * (1 + is_foreign) - present, self.title)
        licence = self._licence or read_licence(snapshot)
        note = f", {format_bytes(present)} of it are here" if present else ""
        logger.info(
            "%s: %s to download%s; licence: %s", self.title, format_bytes(size), note, licence
        )

    def _check(self, snapshot: Path, file: RemoteFile, is_foreign: bool) -> None:
        """Check that weights fit the other files, as their import or loading would."""
        try:
            weights = read_header(file)
            if is_foreign:
                from avsr.interop import check_port

                check_port(snapshot, weights)
            elif "encoder" in read_settings(snapshot):
                check_directory(snapshot, weights)
        except AvsrError as error:
            message = str(error).replace(f"{snapshot}/", "").replace(str(snapshot), "it")
            raise ModelError(f"{self.title} was not downloaded: {message}") from error

    def _blob(self, file: RemoteFile) -> Path:
        return self.folder / "blobs" / file.etag

    def _download_file(self, file: RemoteFile, report: Callable[[int], None]) -> None:
        """Bring a file into the cache."""
        blob = self._blob(file)
        with explain_errors(self.title):
            blob.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(file.etag):
            if _has_size(blob, file.size):  # another process was faster, or another revision has it
                return
            with explain_errors(self.title):
                blob.unlink(missing_ok=True)  # it was cut
            digest = download_file(file, blob, self.title, report)
        if self._published.get(file.name, digest) != digest:
            self._others.append(file.name)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Keep other processes from the same work."""
        from huggingface_hub.utils import WeakFileLock

        with contextlib.ExitStack() as stack:
            with explain_errors(self.title):
                self.locks.mkdir(parents=True, exist_ok=True)
                stack.enter_context(WeakFileLock(self.locks / f"avsr-{name}.lock"))
            yield

    def write_reference(self, commit: str) -> None:
        """Note the commit of the revision, for times without a network."""
        path = self.folder / "refs" / self.revision
        if COMMIT.fullmatch(self.revision) or (path.is_file() and path.read_text() == commit):
            return
        with explain_errors(self.title):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, commit)

    def convert(self, commit: str) -> Path:
        """Return the model directory of a commit that is in the cache; import it if need be."""
        snapshot = self.snapshot(commit)
        if is_model_directory(snapshot):
            return snapshot
        if not self.is_imported(commit):
            with self._lock("import"):
                if not self.is_imported(commit):
                    self._import(snapshot, self.imported(commit))
        return self.imported(commit)

    def _import(self, snapshot: Path, out: Path) -> None:
        from avsr.interop import import_model

        try:
            import_model(snapshot, out)
        except ModelError as error:
            if isinstance(error.__cause__, OSError):  # a full disk, not a damaged cache
                raise
            raise ModelError(f"{error}; to download it again, delete {self.folder}") from error


class _Report:
    """Progress of one download of several files."""

    def __init__(self, title: str, total: int, progress: DownloadProgress | None) -> None:
        self.title, self.total = title, total
        self._progress = progress or download_listener() or self._log
        self._finished = 0
        self._logged = 0  # share that was logged last, of LOGGED_SHARES

    def __call__(self, done: int) -> None:
        """Report bytes of the current file."""
        self._progress(self._finished + done, self.total, self.title)

    def finish(self, file: RemoteFile) -> None:
        """Count a file as done."""
        self._finished += file.size
        self(0)

    def _log(self, done: int, total: int, title: str) -> None:
        share = done * LOGGED_SHARES // max(total, 1)
        if share > self._logged:
            self._logged = share
            logger.info("%s: %s of %s", title, format_bytes(done), format_bytes(total))


def _has_size(path: Path, size: int | None) -> bool:
    """Whether there is a file of a size, or of any if None."""
    return path.is_file() and size in (None, path.stat().st_size)


def _is_whole(weights: Path) -> bool:
    """Whether there is a safetensors file as long as its header says."""
    try:
        with weights.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            return 8 + length <= size == 8 + length + parse_header(file.read(length))[1]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def is_model_directory(folder: Path) -> bool:
    """Return whether a folder is a model directory of avsr, and of no other format."""
    settings = read_settings(folder)
    return "encoder" in settings or "architecture" in settings


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a folder; empty if there is none that is a mapping."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}
