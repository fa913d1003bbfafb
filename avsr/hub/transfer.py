"""Download one file of a repository on the hub, going on where an earlier try has stopped.

huggingface_hub finds the file, knows the proxy and the token, and owns the cache. Its own download
(2.4) begins anew in each process, and nothing can cancel it, so the bytes are moved here.
"""

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import torch
from torch import Tensor

from avsr.errors import ModelError
from avsr.runtime.progress import format_bytes

RETRIES = 4  # in a row, without a new byte
PAUSE = 1.0  # s, before a retry
TIMEOUT = 20.0  # s, without a byte
HEADER_GUESS = 1 << 17  # bytes; the header of a Large model has about 100,000
MAX_HEADER = 100_000_000  # bytes, the limit of safetensors
SHA256 = re.compile(r"[0-9a-f]{64}")
ETAG = re.compile(r"[\w-][\w.-]*")  # it becomes the name of a file
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}  # others are refused


class _ConnectionLostError(Exception):
    """The connection broke; the message says how."""


class _RefusedError(Exception):
    """The hub refuses; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on the hub."""

    name: str
    """Name in its repository."""
    url: str
    size: int
    """Bytes."""
    etag: str
    """Name in the cache: the SHA-256 of a large file, the hub's own name of a small one."""


@contextlib.contextmanager
def explain_errors(title: str) -> Iterator[None]:
    """Turn an error of huggingface_hub, its HTTP client or the system into one line.

    Args:
        title: What the line calls the model.

    Raises:
        ModelError: In place of any other exception; these have no common base.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"cannot download {title}: {describe_error(error)}") from error


def describe_error(error: Exception) -> str:
    """Describe in one line why a request failed, and what to do."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "log in with 'hf auth login' and accept the terms of its owner first"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository; or it is private: then log in with 'hf auth login'"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, OfflineModeIsEnabled):
        return "it is not in the cache, and HF_HUB_OFFLINE is set"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"the hub refuses it ({status}): log in with 'hf auth login'"
        return f"the hub answers with an error ({status}): try again later"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    host = urlsplit(ENDPOINT).hostname or ENDPOINT
    wrong_answer = isinstance(error, (ValueError, TypeError, LookupError, AttributeError))
    if wrong_answer and not isinstance(error, OSError):
        return f"{host} answers, but not as a hub does ({reason})"
    return f"it is not in the cache, and there is no connection to {host} ({reason})"


def find_file(repository: str, commit: str, name: str) -> RemoteFile:
    """Ask the hub for size and digest of a file."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repository, name, revision=commit)
    metadata = get_hf_file_metadata(url)
    if metadata.size is None or not ETAG.fullmatch(metadata.etag or ""):
        raise ModelError(f"{url}: the hub says neither size nor digest of the file")
    return RemoteFile(name=name, url=url, size=metadata.size, etag=str(metadata.etag))


def read_header(file: RemoteFile) -> dict[str, Tensor]:
    """Read the header of a safetensors file on the hub, and nothing else of it.

    Args:
        file: The file.

    Returns:
        Tensors on ``meta`` with the names, shapes and types of those in the file.

    Raises:
        ModelError: It is no such file, or the hub cannot be reached.
    """
    content = _read_start(file, HEADER_GUESS)
    length = int.from_bytes(content[:8], "little")
    if 8 + length > min(file.size, MAX_HEADER):
        raise ModelError(f"{file.name} is not a safetensors file")
    if 8 + length > len(content):
        content = _read_start(file, 8 + length)
    try:
        entries, end = parse_header(content[8 : 8 + length])
        weights = {
            name: torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]], device="meta")
            for name, entry in entries.items()
        }
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{file.name} is not a safetensors file") from error
    if 8 + length + end != file.size:
        raise ModelError(
            f"{file.name} is broken: its header is of a file of {8 + length + end} bytes, it has "
            f"{file.size}"
        )
    return weights


def parse_header(content: bytes) -> tuple[dict[str, Any], int]:
    """Return the entries of the header of a safetensors file, and the bytes that follow it.

    Content that is none ends in one of several errors of Python.
    """
    entries = json.loads(content)
    entries.pop("__metadata__", None)
    return entries, max((entry["data_offsets"][1] for entry in entries.values()), default=0)


def _read_start(file: RemoteFile, count: int) -> bytes:
    """Read the first ``count`` bytes of a file, or all if it has fewer."""
    content = bytearray()
    count = min(count, file.size)
    try:
        with contextlib.closing(_read_from(file.url, 0, count)) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) >= count:
                    break
    except (_ConnectionLostError, _RefusedError) as error:
        raise ModelError(f"{file.name} cannot be read: {error}") from error
    if len(content) < count:
        raise ModelError(f"{file.name} cannot be read: the connection broke")
    return bytes(content[:count])


def download_file(file: RemoteFile, path: Path, title: str, report: Callable[[int], None]) -> str:
    """Download a file; it appears under its name only when it is whole.

    Until then it is ``path`` with the ending ``.incomplete``. That stays when the connection breaks
    or the download is cancelled, and the next call goes on at its end.

    Args:
        file: The file.
        path: Where to write it.
        title: What messages call the model.
        report: Called with the number of bytes so far. It may raise to cancel the download.

    Returns:
        Its SHA-256.

    Raises:
        ModelError: The connection breaks again and again, the disk is full, or the bytes are not
            those that the hub states.
    """
    part = path.with_name(path.name + ".incomplete")
    try:
        output = part.open("a+b", buffering=0)
    except OSError as error:
        raise ModelError(f"{title}: cannot write {part}: {error.strerror}") from error
    with output:
        done, digest = _read_part(output, file.size)
        report(done)
        failures, reason = 0, "the server closed it"
        while done < file.size:
            before = done
            try:
                with contextlib.closing(_read_from(file.url, done)) as chunks:
                    for chunk in chunks:
                        if len(chunk) > file.size - done:
                            done = file.size + 1  # it is another file
                            break
                        _write(output, chunk, part, title)
                        digest.update(chunk)
                        done += len(chunk)
                        report(done)
            except _RefusedError as error:
                raise ModelError(f"cannot download {title}: {file.name}: {error}") from error
            except _ConnectionLostError as error:
                reason = str(error)
            failures = 0 if done > before else failures + 1
            if failures > RETRIES:
                raise ModelError(
                    f"{title}: the connection broke at {format_bytes(done)} of "
                    f"{format_bytes(file.size)} ({reason}): run it again, and it goes on there"
                )
            if done < file.size:
                time.sleep(PAUSE)
    result = digest.hexdigest()
    if done != file.size or (SHA256.fullmatch(file.etag) and result != file.etag):
        part.unlink()
        raise ModelError(
            f"{title}: what came as {file.name} is not the file that the hub states (another size "
            "or SHA-256), and was deleted: run it again"
        )
    part.replace(path)
    return result


def _read_part(output: BinaryIO, size: int) -> tuple[int, "hashlib._Hash"]:
    """Return the bytes of an earlier try and their digest; too many of them are deleted."""
    digest = hashlib.sha256()
    if output.seek(0, 2) > size:
        output.truncate(0)
    output.seek(0)
    done = 0
    while chunk := output.read(1 << 20):
        digest.update(chunk)
        done += len(chunk)
    return done, digest


def _write(output: BinaryIO, chunk: bytes, part: Path, title: str) -> None:
    """Append to a file; a disk that is full gets its space back."""
    view = memoryview(chunk)
    try:
        while view:
            view = view[output.write(view) :]
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ModelError(
            f"{title}: cannot write to {part.parent}: {error.strerror}; free some space, or set "
            "HF_HOME to a folder on another disk"
        ) from error


def check_space(folder: Path, needed: int, title: str) -> None:
    """Raise ModelError unless a disk has so many bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{title} needs {format_bytes(needed)}, and {folder} has {format_bytes(free)} free: "
            "free some space, or set HF_HOME to a folder on another disk"
        )


def _read_from(url: str, first: int, count: int | None = None) -> Generator[bytes, None, None]:
    """Yield the bytes of a file from ``first`` on, ``count`` of them if the server can do that.

    What a server without ranges sends before ``first`` is passed over.

    Raises:
        _RefusedError: The hub refuses.
        _ConnectionLostError: Anything else that a retry may mend.
    """
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    last = "" if count is None else str(first + count - 1)
    headers = build_hf_headers() | {"Accept-Encoding": "identity", "Range": f"bytes={first}-{last}"}
    try:
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            hf_raise_for_status(response)
            skipped = first if response.status_code == 200 else 0
            for chunk in response.iter_raw():
                kept = chunk[skipped:]
                skipped -= len(chunk) - len(kept)
                if kept:
                    yield kept
    except HfHubHTTPError as error:
        if error.response.status_code >= 500 or error.response.status_code in (408, 429):
            raise _ConnectionLostError(describe_error(error)) from error
        raise _RefusedError(describe_error(error)) from error
    except Exception as error:  # of httpx or httpx2, by the version of huggingface_hub
        raise _ConnectionLostError(" ".join(f"{type(error).__name__}: {error}".split())) from error
