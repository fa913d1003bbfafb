"""Which media files a run has transcribed: digests of their content, in ``media.json``.

Results count for the bytes that they were made from. A file whose size, times and number on the
disk are as before is not read again; the system sets the time of change (ctime), and nobody else.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avsr.corpus import Record
from avsr.errors import MediaError
from avsr.runtime.file_digest import digest_file

FILE = "media.json"

logger = logging.getLogger(__name__)

Entries = dict[str, dict[str, Any]]  # by media path, as records name it: sha256, and state


def digest_media(records: Sequence[Record], root: Path, known: Entries) -> Entries:
    """Digest the media files of records.

    Args:
        records: The records.
        root: Folder to which their media paths are relative.
        known: Earlier result; files that are in the state that it says are not read.

    Raises:
        MediaError: A file cannot be read.
    """
    entries: Entries = {}
    for media in dict.fromkeys(record.media for record in records):
        path = root / media
        try:
            state = _state(path)
            entry = known.get(media, {})
            if entry.get("state") != state:
                entry = {"sha256": digest_file(path, MediaError)}
        except OSError as error:
            raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
        entries[media] = {"sha256": entry["sha256"], "state": state}
    return entries


def _state(path: Path) -> list[int]:
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def read_digests(folder: Path) -> Entries:
    """Read what ``digest_media`` returned in an earlier run; nothing if it is missing or broken."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
        if not all(isinstance(entry["sha256"], str) for entry in content.values()):
            raise ValueError("a digest is no text")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s is broken (%s): it is made anew", path, error)
        return {}
    return content


def find_replaced(records: Sequence[Record], old: Entries, new: Entries) -> list[str]:
    """Return the ids of the records whose media had other bytes, or are not known from before."""
    return [
        record.utterance_id
        for record in records
        if old.get(record.media, {}).get("sha256") != new[record.media]["sha256"]
    ]
