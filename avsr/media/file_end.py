"""How much of a file lies behind what its header describes, as in files that were only joined."""

from pathlib import Path

from avsr.media.messages import Warn

MUCH = 0.2  # share of a file; indexes, tags and padding behind its last packet are less
_MEDIA_BOXES = {b"mdat", b"moof"}  # of MP4; others may be large, such as an index with a cover


def check_end(path: Path, kind: str, end: int, warn: Warn) -> None:
    """Warn if much of a file belongs to no packet, though there may be media in it.

    Args:
        path: The file.
        kind: Short name of its format.
        end: Byte behind the last packet; 0 if it is not known.
        warn: Called with the warning.
    """
    if end <= 0:
        return
    size = path.stat().st_size
    unread = _media_bytes_behind(path, size, end) if kind == "mov" else size - end
    if unread > MUCH * size:
        warn(
            f"{path}: {unread / size:.0%} of the file lies behind the end that its header gives "
            "and is not read; if files were joined, convert them to one or give each alone"
        )


def _media_bytes_behind(path: Path, size: int, end: int) -> int:
    """Bytes of the boxes with media in an MP4 or MOV that begin at ``end`` or later."""
    position = unread = 0
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # 64 bits follow
                length = int.from_bytes(head[8:16], "big")
            elif length == 0:  # up to the end
                length = size - position
            if length < 8:
                break
            if head[4:8] in _MEDIA_BOXES and position >= end:
                unread += min(length, size - position)
            position += length
    return unread
