"""Open a file from anywhere, and nothing but that file.

Some formats are no recordings but lists: of other files, or of addresses. A file of such a kind,
whatever it is called, could make its reader open any file of this machine and call any server, so
they are refused before their content is looked at.
"""

import functools
from pathlib import Path

import av
from av.container import InputContainer
from av.format import ContainerFormat, formats_available

from avsr.errors import MediaError

MAX_PIXELS = 8192 * 8192
"""Of a picture; 8K video has half as many. A small file can hold pictures of gigabytes."""

# They name files (image2 by numbers in its own name) or addresses, or make pictures of plain text.
_NOT_RECORDINGS = {"hls", "concat", "dash", "imf", "image2", "sdp", "rtsp", "rtp", "sap", "tty"}


def open_container(path: Path) -> InputContainer:
    """Open a recording. Raises MediaError, in one line, for anything else.

    No file but this one is read, no address is called, and pictures of more than MAX_PIXELS are
    not decoded.
    """
    limit = {"max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(
            f"file:{path.absolute()}",  # else a colon in the name is read as a protocol
            options=limit,  # of the first look at the streams
            container_options={"protocol_whitelist": "file", "format_whitelist": _recordings()},
            metadata_errors="replace",
        )
    except av.InvalidDataError as error:
        raise MediaError(
            f"{path}: is not a video or audio file, or its header is missing (cut short?)"
        ) from error
    except av.ArgumentError as error:  # what FFmpeg says of a format that is not in its whitelist
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


@functools.cache
def _recordings() -> str:
    """Names of the formats that FFmpeg may open, with commas between."""
    names = set()
    for name in formats_available:
        try:
            names.add(ContainerFormat(name, "r").name)
        except ValueError:  # it can only be written
            continue
    return ",".join(sorted(names - _NOT_RECORDINGS))
