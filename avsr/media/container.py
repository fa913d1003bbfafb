"""Open a media file, choose its streams, and put both on one clock.

All times are in seconds. "Time zero" is the earliest start of the chosen streams, moved by at most
half a video frame so that a whole number of frames lies between it and the first video frame: the
frames of a 25 fps file are then returned one to one.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.media.frame_size import largest_size
from avsr.media.orientation import UPRIGHT, orientation_of
from avsr.media.safe_open import open_container, read_packets
from avsr.rates import FPS
from avsr.runtime.cores import usable_cores

logger = logging.getLogger("avsr.media")

Warn = Callable[[str], None]
"""Called with one line for each thing that could be read only in part. The default logs it."""

# Formats whose header states the duration; in other_spans it is estimated from bit rate or tail.
_LENGTH_IN_HEADER = {"mov", "matroska", "avi", "wav", "flv", "asf"}
_INDEXED = {"mov", "matroska", "avi"}  # key frames are found exactly
_NO_MOVING_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """Properties of a media file.

    Attributes:
        path: The file.
        duration: Seconds from time zero to the end of the longer stream.
        has_video: Whether at least one video frame can be decoded.
        has_audio: Whether any audio can be decoded.
        fps: Average frames per second as stored, before the conversion to 25; None without video.
        width: Width of the upright video in square pixels; None without video. Of a video whose
            frames change size it is the largest one.
        height: Its height.
        rotation: Degrees, counter-clockwise, by which stored frames are turned: 0, 90, 180 or 270.
        sound_tracks: Number of audio streams. The one that the file marks as default is read, else
            the first one.
    """

    path: Path
    duration: float
    has_video: bool
    has_audio: bool
    fps: float | None
    width: int | None
    height: int | None
    rotation: int
    sound_tracks: int


@dataclass(frozen=True)
class Source(AbstractContextManager["Source"]):
    """An open file, its chosen streams and its clock. Close it, or use it in ``with``."""

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    zero: float
    """Time zero on the file's own clock, seconds."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.container.close()

    @property
    def streams(self) -> list[VideoStream | AudioStream]:
        """The chosen streams."""
        return [stream for stream in (self.video, self.audio) if stream is not None]

    @property
    def duration(self) -> float | None:
        """Seconds from time zero to the end, by the file's header or index; None if unknown."""
        ends = [
            float((stream.duration + (stream.start_time or 0)) * stream.time_base) - self.zero
            for stream in self.streams
            if stream.duration is not None and stream.time_base is not None
        ]
        if len(ends) == len(self.streams):
            return max(ends)
        if self.container.duration is None:
            return None
        start = (self.container.start_time or 0) / av.time_base
        return start + self.container.duration / av.time_base - self.zero

    @property
    def promised_duration(self) -> float | None:
        """The duration if the format's header states it; None if it is an estimate."""
        in_header = _kind(self.container) in _LENGTH_IN_HEADER
        return self.duration if in_header else None

    def seek(self, stream: VideoStream, start: float) -> bool:
        """Seek to the last key frame before ``start`` (s).

        Returns:
            False if the format does not allow it: then decoding begins with the first frame.
        """
        if _kind(self.container) not in _INDEXED or stream.time_base is None:
            return False
        try:
            self.container.seek(int((self.zero + start) / stream.time_base), stream=stream)
        except av.FFmpegError:
            return False
        return True


def probe(path: str | Path) -> MediaInfo:
    """Read the properties of a file from its header and the first frame of each stream.

    Args:
        path: A video or audio file.

    Returns:
        Its properties. A stream of which nothing can be decoded does not count.

    Raises:
        MediaError: The file cannot be opened, or neither video nor audio can be decoded.
    """
    with open_source(path) as source:
        duration = source.duration
        frame, has_audio = _first_frames(source)
        if frame is None and not has_audio:
            raise MediaError(f"{path}: none of its picture or sound can be decoded")
        orientation = UPRIGHT if frame is None else orientation_of(frame, source.video)
        width = height = None
        if frame is not None and source.video is not None:
            size = largest_size(source.path, source.video) or (frame.width, frame.height)
            width, height = orientation.displayed_size(size)
        sound_tracks = len(_usable(source.container, "audio"))
        rate = source.video.average_rate if source.video is not None and frame else None
    if duration is None:
        duration = _measure_duration(path)
    return MediaInfo(
        path=Path(path),
        duration=max(0.0, duration),
        has_video=frame is not None,
        has_audio=has_audio,
        fps=float(rate) if rate else None,
        width=width,
        height=height,
        rotation=orientation.rotation,
        sound_tracks=sound_tracks,
    )


def open_source(path: str | Path) -> Source:
    """Open a file and choose its streams.

    Raises:
        MediaError: The file cannot be opened, or has no stream that can be decoded.
    """
    path = Path(path)
    _check_file(path)
    container = open_container(path)
    try:
        kind = _kind(container)
        if kind.endswith("_pipe"):
            raise MediaError(f"{path}: is a still picture; give a video or audio file")
        video = _choose(container, "video")
        audio = _choose(container, "audio")
        if video is None and audio is None:
            raise MediaError(f"{path}: holds neither picture nor sound that can be decoded")
    except BaseException:
        container.close()
        raise
    for stream in (video, audio):
        if stream is not None:
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = usable_cores()
    return Source(path, container, video, audio, _time_zero(video, audio))


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise MediaError(f"{path}: is a directory; give a video or audio file")
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if not path.is_file():
            raise MediaError(f"{path}: is not a regular file; give a video or audio file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty (0 bytes)")
    except (OSError, ValueError) as error:  # name too long, no permission, null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path!s:.200}: cannot be opened ({reason})") from error


def _kind(container: InputContainer) -> str:
    """First of the format's names, such as mov, matroska or mpegts."""
    return container.format.name.split(",")[0]


def _choose(container: InputContainer, kind: Literal["video", "audio"]) -> Any:
    """Return the stream to read: FFmpeg's best of video, the default of audio; None if none."""
    usable = _usable(container, kind)
    if kind == "video":
        best = container.streams.best(kind)
        return best if best in usable else next(iter(usable), None)
    marked = (stream for stream in usable if int(stream.disposition) & int(Disposition.default))
    return next(marked, next(iter(usable), None))


def _usable(container: InputContainer, kind: Literal["video", "audio"]) -> list[Any]:
    """List the decodable streams of a kind, without cover art and empty audio streams."""
    streams: list[Any] = list(container.streams)
    return [
        stream
        for stream in streams
        if stream.type == kind
        and stream.codec_context is not None
        and not int(stream.disposition) & int(_NO_MOVING_PICTURE)
        and (kind == "video" or stream.codec_context.sample_rate)
    ]


def _time_zero(video: VideoStream | None, audio: AudioStream | None) -> float:
    starts = {
        stream.type: float(stream.start_time * stream.time_base)
        for stream in (video, audio)
        if stream is not None and stream.start_time is not None and stream.time_base is not None
    }
    if "video" not in starts:
        return starts.get("audio", 0.0)
    lead = starts["video"] - min(starts.values())
    return starts["video"] - round(lead * FPS) / FPS


def _first_frames(source: Source) -> tuple[VideoFrame | None, bool]:
    """Return the first video frame that can be decoded, and whether any audio can be."""
    missing = {stream.index for stream in source.streams}
    first = None
    try:
        for packet in read_packets(source.container, source.streams):
            if packet.stream.index not in missing:
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            if frames:
                missing.remove(packet.stream.index)
                first = frames[0] if isinstance(frames[0], VideoFrame) else first
            if not missing:
                break
    except av.FFmpegError:
        pass  # reading the frames will warn; here only what came before counts
    has_audio = source.audio is not None and source.audio.index not in missing
    return first, has_audio


def _measure_duration(path: str | Path) -> float:
    """Measure seconds by the time stamps of all packets, or else by the number of video frames."""
    end, num_unstamped = 0.0, 0
    with open_source(path) as source:
        rate = source.video.guessed_rate if source.video is not None else None
        try:
            for packet in read_packets(source.container, source.streams):
                end = max(end, packet_end(packet) - source.zero)
                num_unstamped += packet.pts is None and packet.size > 0
        except av.FFmpegError:
            pass  # as far as it can be read
    return end or (num_unstamped / float(rate) if rate else 0.0)


def packet_start(packet: Any) -> float:
    """Return the time stamp of a packet that has one, s on the file's clock."""
    return to_seconds(packet.pts, packet)


def packet_end(packet: Any) -> float:
    """Return where a packet ends, s on the file's clock; minus infinity without a time stamp."""
    if packet.pts is None:
        return float("-inf")
    return packet_start(packet) + to_seconds(packet.duration or 0, packet)


def to_seconds(ticks: int, item: Any) -> float:
    """Convert ticks of the time base of a packet or frame to seconds."""
    base = item.time_base  # multiplying by it as a Fraction gives the same, ten times as slowly
    return float(ticks * base.numerator / base.denominator)
