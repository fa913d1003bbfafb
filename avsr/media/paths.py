"""The path of a media file, from what a caller gave."""

import os
from pathlib import Path
from typing import Any

from avsr.errors import MediaError
from avsr.settings import show


def media_path(path: Any) -> Path:
    """Return the path of a media file.

    Args:
        path: Text, bytes (as the file system has them) or an ``os.PathLike``.

    Raises:
        MediaError: It is something else, such as an open file; the message says what to do.
    """
    if hasattr(path, "read"):
        raise MediaError(
            "an open file cannot be read here: write it to a file and give the path of that file"
        )
    try:
        name = os.fsdecode(path)
    except TypeError as error:
        raise MediaError(
            f"the path of a media file is needed, not {show(path)} (arrays are for "
            "Recognizer.transcribe_arrays)"
        ) from error
    if not name or "\0" in name:
        raise MediaError(f"{show(name)} is no path of a media file")
    return Path(name)
