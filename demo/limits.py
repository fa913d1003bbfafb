"""The limits of one visitor, and the check of a file before a model reads it."""

import math
import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import av

from avsr.errors import ConfigError, MediaError
from avsr.media import MediaInfo, probe
from avsr.media.container import Source, open_source
from avsr.media.safe_open import read_packets
from avsr.settings import build_settings, read_settings

MAX_PACKETS_PER_SECOND = 400  # Opus at 2.5 ms has 400; slow motion of a phone has 240 frames
# Of a path that begins with a slash; not of an address, "km/h" or a fraction.
ABSOLUTE_FOLDER = re.compile(r"(?<![\w/:.)])/(?:[^\s/:'\"]+/)+")
TOLERANCE = 1.01  # headers and rounding may be that far off


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that the server enforces, for the page and for programs alike."""

    upload_megabytes: float = 500
    """Size of one upload, in units of 1,000,000 bytes."""
    minutes: float = 10
    """Length of a recording."""
    megapixels: float = 9
    """Width times height of the upright picture, in millions; 4096 x 2160 has 8.8."""
    jobs: int = 1
    """Recordings that are worked on at once; they share one model."""
    waiting: int = 20
    """Requests that may wait in the queue; any further one is refused."""
    keep_minutes: float = 60
    """Uploads and results are deleted when they have not been used for so long."""
    store_gigabytes: float = 5
    """All uploads and results together; when it is full, uploads are refused."""
    uploads_at_once: int = 16
    """Uploads in progress at the same time, of all visitors together; of one address half."""
    uploads_per_minute: int = 20
    """From one address."""
    calls_per_minute: int = 120
    """From one address: transcripts and everything else that the page or a program requests."""
    logins_per_minute: int = 10
    """Login attempts from one address."""
    connections: int = 500
    """Requests answered at the same time, of all visitors together; of one address half. An open
    page has one or two. Idle connections do not count, and are closed beyond this number."""
    downloads: bool | tuple[str, ...] | None = None
    """Public models that visitors may have downloaded to this server: all, none, or those of these
    names. None: all if only this computer can open the page and no login is needed, else none."""

    def __post_init__(self) -> None:
        """Raise ConfigError that lists all errors at once."""
        errors = []
        names = self.downloads
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            object.__setattr__(self, "downloads", tuple(names))
        elif not isinstance(names, bool | None):
            errors.append(f"downloads must be true, false or a list of models, not {names!r}")
        for field in fields(self):
            if field.name == "downloads":
                continue
            value = getattr(self, field.name)
            is_whole = field.type is int
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 < value < math.inf or (is_whole and value != int(value)):
                kind = "whole number" if is_whole else "number"
                errors.append(f"{field.name} must be a {kind} above 0, not {value!r}")
        if errors:
            raise ConfigError("limits of the demo: " + "; ".join(errors))

    @property
    def upload_bytes(self) -> int:
        return round(self.upload_megabytes * 1_000_000)

    @property
    def store_bytes(self) -> int:
        return round(self.store_gigabytes * 1_000_000_000)

    @property
    def summary(self) -> str:
        """For the page: what may be uploaded, and when it is deleted."""
        return (
            f"A file can have up to {self.upload_megabytes:g} MB, {self.minutes:g} minutes and "
            f"{self.megapixels:g} megapixels. It stays on this server, only the model reads it, "
            f"and it is deleted {self.keep_minutes:g} minutes after its last use, together with "
            "the results."
        )


def read_limits(path: Path | None) -> Limits:
    """Read limits from a YAML file (None: the defaults).

    Raises:
        ConfigError: The file cannot be read, or names or values are wrong.
    """
    return Limits() if path is None else build_settings(Limits, read_settings(path), str(path))


def hide_folder(message: object, path: str | Path) -> str:
    """Return a message in which files have their names only, not their folders on the server.

    Args:
        message: A text or an error.
        path: The uploaded file that it is about.
    """
    text = str(message).replace(str(path), Path(path).name)
    return ABSOLUTE_FOLDER.sub("", text)


def check_upload(path: str | Path, limits: Limits) -> MediaInfo:
    """Check a file against the limits and set its time of last use.

    The length is counted, not taken from the header.

    Args:
        path: The uploaded file.
        limits: Largest size, length and picture.

    Returns:
        What the file contains.

    Raises:
        MediaError: The file is too large, too long, or no video or audio file.
    """
    path = Path(path)
    inode = size = 0
    if path.is_file():
        os.utime(path)  # its deletion counts from here
        status = path.stat()
        inode, size = status.st_ino, status.st_size
    if size > limits.upload_bytes:
        raise MediaError(
            f"{path.name}: has {size / 1e6:.0f} MB; at most {limits.upload_megabytes:g} MB "
            "are allowed here"
        )
    return _check_content(path, inode, size, limits)


@lru_cache(maxsize=1000)
def _check_content(path: Path, inode: int, size: int, limits: Limits) -> MediaInfo:
    """Check a file once. ``inode`` and ``size`` are keys of the cache only."""
    try:
        info = probe(path)
    except MediaError as error:
        raise MediaError(hide_folder(error, path)) from error
    width, height = info.width or 0, info.height or 0
    if width * height > limits.megapixels * 1e6:
        raise MediaError(
            f"{path.name}: its picture of {width} x {height} has more than the "
            f"{limits.megapixels:g} megapixels that are allowed here; make it smaller first"
        )
    max_seconds = limits.minutes * 60
    with open_source(path) as source:
        fits = info.duration <= max_seconds * TOLERANCE and _fits(source, max_seconds)
    if not fits:
        raise MediaError(
            f"{path.name}: is longer than the {limits.minutes:g} minutes that are allowed here; "
            "cut it into parts"
        )
    return info


def _fits(source: Source, max_seconds: float) -> bool:
    """Whether time stamps, durations and number of packets stay within ``max_seconds``.

    Time stamps are as easily forged as headers, so this also adds up the durations of each stream's
    packets and counts the packets. Nothing is decoded.
    """
    max_end = max_seconds * TOLERANCE
    lengths = {stream.index: 0.0 for stream in source.streams}
    counts = dict.fromkeys(lengths, 0)
    try:
        for packet in read_packets(source.container, source.streams):
            index, base = packet.stream_index, float(packet.time_base)
            lengths[index] += (packet.duration or 0) * base
            counts[index] += packet.size > 0
            end = 0.0 if packet.pts is None else packet.pts * base - source.zero
            too_many = counts[index] > max_end * MAX_PACKETS_PER_SECOND
            if max(lengths[index], end) > max_end or too_many:
                return False
    except av.FFmpegError:
        pass  # decoding will stop at the same packet
    return True
