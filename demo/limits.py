"""What one visitor may ask of the server, and the check of a file before a model sees it."""

import math
import os
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import av

from avsr.errors import ConfigError, MediaError
from avsr.media import MediaInfo, probe
from avsr.media.container import Source, open_source
from avsr.settings import build_settings, read_settings

MOST_PACKETS = 400  # a second: Opus at 2.5 ms; slow motion of a phone has 240 pictures
HUNDREDTH = 1.01  # headers and rounding may be that far off


@dataclass(frozen=True, kw_only=True)
class Limits:
    """All are enforced on the server, whatever the page or another program says."""

    upload_megabytes: float = 500
    """Size of one upload, in units of 1,000,000 bytes."""
    minutes: float = 10
    """Length of a recording."""
    megapixels: float = 9
    """Width times height of the upright picture, in millions; 4096 x 2160 has 8.8."""
    jobs: int = 1
    """Recordings that are worked on at once; they share one model."""
    waiting: int = 20
    """Requests that may wait in the queue; the next one is told to come back later."""
    keep_minutes: float = 60
    """Uploads and results are deleted when they have not been used for so long."""
    store_gigabytes: float = 5
    """All uploads and results together; when it is full, uploads are refused."""
    uploads_at_once: int = 16
    """Uploads that are under way at the same time, of all visitors together."""
    uploads_per_minute: int = 20
    """Of one address."""
    calls_per_minute: int = 120
    """Of one address: transcripts and other things that the page or a program asks for."""
    logins_per_minute: int = 10
    """Attempts of one address."""
    connections: int = 500
    """Open at the same time, of all visitors together; each open page holds one or two."""

    def __post_init__(self) -> None:
        """Raise ConfigError that names everything that is wrong."""
        wrong = []
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type is int
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 < value < math.inf or (whole and value != int(value)):
                kind = "whole number" if whole else "number"
                wrong.append(f"{field.name} must be a {kind} above 0, not {value!r}")
        if wrong:
            raise ConfigError("limits of the demo: " + "; ".join(wrong))

    @property
    def upload_bytes(self) -> int:
        return round(self.upload_megabytes * 1_000_000)

    @property
    def store_bytes(self) -> int:
        return round(self.store_gigabytes * 1_000_000_000)

    @property
    def sentence(self) -> str:
        """For the page: what is allowed, and when it is deleted."""
        return (
            f"A file may have {self.upload_megabytes:g} MB, {self.minutes:g} minutes and pictures "
            f"of {self.megapixels:g} megapixels. It stays on the server, is read by nobody but the "
            f"model, and is deleted {self.keep_minutes:g} minutes after its last use, and so is "
            "all that was made of it."
        )


def read_limits(path: Path | None) -> Limits:
    """Overrides of the defaults in a YAML file; raise ConfigError in one line for what is wrong."""
    return Limits() if path is None else build_settings(Limits, read_settings(path), str(path))


def plainly(error: Exception, path: str | Path) -> str:
    """What an error says of a file, by its name and not by where the server keeps it."""
    return str(error).replace(str(path), Path(path).name)


def check_upload(path: str | Path, limits: Limits) -> MediaInfo:
    """What a file holds; raise MediaError, in one line, if it is too large, too long or no video.

    The length is counted, not taken from the header. The file's time of last use is set.
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
    """Once for each file: when it comes. An upload's name holds the hash of its content."""
    try:
        info = probe(path)
    except MediaError as error:
        raise MediaError(plainly(error, path)) from error
    width, height = info.width or 0, info.height or 0
    if width * height > limits.megapixels * 1e6:
        raise MediaError(
            f"{path.name}: its picture of {width} x {height} has more than the "
            f"{limits.megapixels:g} megapixels that are allowed here; make it smaller first"
        )
    longest = limits.minutes * 60
    with open_source(path) as source:
        fits = info.duration <= longest * HUNDREDTH and _fits(source, longest)
    if not fits:
        raise MediaError(
            f"{path.name}: is longer than the {limits.minutes:g} minutes that are allowed here; "
            "cut it into parts"
        )
    return info


def _fits(source: Source, longest: float) -> bool:
    """Whether time stamps, durations and number of packets keep within ``longest`` seconds.

    Time stamps are as easily forged as headers, so the durations of each stream's packets are
    added up, too, and the packets are counted. Nothing is decoded.
    """
    most = longest * HUNDREDTH
    lengths = {stream.index: 0.0 for stream in source.streams}
    counts = dict.fromkeys(lengths, 0)
    try:
        for packet in source.container.demux(source.streams):
            index, base = packet.stream_index, float(packet.time_base)
            lengths[index] += (packet.duration or 0) * base
            counts[index] += packet.size > 0
            end = 0.0 if packet.pts is None else packet.pts * base - source.zero
            if max(lengths[index], end) > most or counts[index] > most * MOST_PACKETS:
                return False
    except av.FFmpegError:
        pass  # whoever decodes it stops there, too
    return True
