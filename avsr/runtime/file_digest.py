"""The digest of a file's content."""

import hashlib
from pathlib import Path

from avsr.errors import AvsrError


def digest_file(path: Path, error_class: type[AvsrError] = AvsrError) -> str:
    """Compute the SHA-256 of a file's content, in hexadecimal.

    Raises:
        AvsrError: The file cannot be read; of the given class, with its name.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise error_class(f"{path}: cannot be read ({error.strerror})") from error
