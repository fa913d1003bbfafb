"""Open an untrusted file, and no other file or address.

Some formats are lists of other files or of addresses, not recordings. Such a file, whatever its
name, could make FFmpeg open any file of this machine and connect to any server. These formats are
refused before their content is read.
"""

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.format import ContainerFormat, formats_available

from avsr.errors import MediaError

MAX_PIXELS = 8192 * 8192
"""Limit for a frame; 8K video has half as many. A small file can hold frames of gigabytes."""

# They name files (image2 by numbers in its own name) or addresses, or draw plain text.
_NOT_RECORDINGS = {"hls", "concat", "dash", "imf", "image2", "sdp", "rtsp", "rtp", "sap", "tty"}


def open_container(path: Path, content: bytes | None = None) -> InputContainer:
    """Open a recording without reading any other file or address.

    Args:
        path: The file.
        content: The recording itself, if it is in memory; ``path`` then only names it in errors.

    Returns:
        The open container. Frames of more than ``MAX_PIXELS`` will not be decoded.

    Raises:
        MediaError: The file cannot be opened, or is not a recording.
    """
    limit = {"max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(
            # Without "file:" a colon in the name is read as a protocol.
            f"file:{path.absolute()}" if content is None else io.BytesIO(content),
            "r",
            options=limit,  # while the streams are probed
            container_options={"protocol_whitelist": "file", "format_whitelist": _recordings()},
            metadata_errors="replace",
        )
    except av.InvalidDataError as error:
        raise MediaError(
            f"{path}: is not a video or audio file, or its header is missing (cut short?)"
        ) from error
    except av.ArgumentError as error:  # FFmpeg's error for a format that is not in the whitelist
        raise MediaError(
            f"{path}: is a still picture, a text, a list of files or broken; "
            "give a video or audio file"
        ) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: cannot be opened as video or audio ({reason})") from error
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = limit
    return container


def read_packets(container: InputContainer, streams: Any) -> Iterator[Any]:
    """Yield the packets of streams, as ``container.demux``, which fails where streams appear late.

    At the end PyAV also flushes streams that a joined or damaged file began while it was read, and
    does not know them; those that were asked for come before.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(streams)


@functools.cache
def _recordings() -> str:
    """Join the names of the formats that FFmpeg may open, with commas between."""
    names = set()
    for name in formats_available:
        try:
            names.add(ContainerFormat(name, "r").name)
        except ValueError:  # FFmpeg can only write it
            continue
    return ",".join(sorted(names - _NOT_RECORDINGS))
