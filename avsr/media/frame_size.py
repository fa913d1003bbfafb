"""The size of a video whose frames change size, as those of video calls, which begin small."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import av
from av.video.stream import VideoStream

from avsr.media.safe_open import open_container, read_packets

MIN_FRAMES = 25  # of a size, or a tenth of all: a broken key frame may claim any size
KEYS_APART = 25  # frames; where every frame is a key frame, one in so many is decoded

Size = tuple[int, int]
"""Width and height as stored, px."""


def largest_size(path: Path, stream: VideoStream) -> Size | None:
    """Find the largest size that a good part of the frames have, from the key frames.

    Args:
        path: The file.
        stream: Its video, just opened.

    Returns:
        The size; None if no key frame follows the first one, so that all frames have its size.
    """
    entries = stream.index_entries  # MP4 lists all frames, so the file need not be read once more
    if len(entries) == stream.frames and sum(entry.is_keyframe for entry in entries) == 1:
        return None
    status = path.stat()
    return _scan(path, stream.index, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _scan(path: Path, index: int, inode: int, num_bytes: int, changed: int) -> Size | None:
    """Read a whole stream. The last three arguments are keys of the cache only."""
    counts: Counter[Size] = Counter()  # in the order in which the sizes appear
    size: Size | None = None
    keys_in_row = since_decoded = num_keys = 0
    with open_container(path) as container:
        stream: Any = container.streams[index]
        try:
            for packet in read_packets(container, stream):
                keys_in_row = keys_in_row + 1 if packet.is_keyframe else 0
                is_due = keys_in_row <= 2 or since_decoded >= KEYS_APART
                if keys_in_row and (is_due or packet.has_sidedata("new_extradata")):
                    size, since_decoded = _decoded_size(stream, packet) or size, 0
                    num_keys += 1
                since_decoded += 1
                if size is not None and packet.size:
                    counts[size] += 1
        except av.FFmpegError:
            pass  # as far as it can be read
    if num_keys < 2:
        return None
    enough = min(MIN_FRAMES, counts.total() / 10)
    lasting = [size for size, count in counts.items() if count >= enough]
    return max(lasting, key=lambda size: size[0] * size[1], default=None)


def _decoded_size(stream: Any, packet: av.Packet) -> Size | None:
    """Decode a key frame alone; None if it cannot be decoded."""
    try:
        frames = [*packet.decode(), *stream.codec_context.decode(None)]
    except av.FFmpegError:
        frames = []
    stream.codec_context.flush_buffers()
    return (frames[-1].width, frames[-1].height) if frames else None


def fit_size(size: Size, room: Size) -> Size:
    """Scale ``size`` so that it just fits into ``room``; one that is off by a pixel fills it."""
    scale = min(room[0] / size[0], room[1] / size[1])
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    if abs(width - room[0]) <= 1 and abs(height - room[1]) <= 1:
        return room
    return width, height
