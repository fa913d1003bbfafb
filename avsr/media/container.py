"""Open a media file, choose its streams, put both on one clock, and decode one as a generator.

All times are in seconds. "Time zero" is the earliest start of the chosen streams, moved by at most
half a video frame so that a whole number of frames lies between it and the first video frame: the
frames of a 25 fps file are then returned one to one.
"""

import logging
from collections.abc import Callable, Iterator
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
from avsr.media.orientation import UPRIGHT, orientation_of
from avsr.media.safe_open import open_container
from avsr.rates import FPS
from avsr.runtime.addresses import explain_no_file
from avsr.runtime.cores import usable_cores

logger = logging.getLogger("avsr.media")

Warn = Callable[[str], None]
"""Called with one line for each thing that could be read only in part. The default logs it."""

LOST_TAIL = 1.0  # s; a file is cut short if its header promises that much more than it has
# s; a longer leap is a broken time stamp, unless the header and the other stream confirm it
LONGEST_GAP = 600.0
LONGEST_STEP_BACK = 1.0  # s; time stamps that go back further were started anew

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
        width: Width of the upright video in square pixels; None without video.
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
        width, height = (None, None) if frame is None else orientation.displayed_size(frame)
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


def timed_frames(
    source: Source, stream: VideoStream | AudioStream, warn: Warn, after_seek: bool = False
) -> Iterator[tuple[float, float, Any]]:
    """Decode one stream in bounded memory.

    A frame without a time stamp starts where the one before ends. Where time stamps leap forwards
    or back without a reason, the clock goes on from where it was.

    Args:
        source: The open file.
        stream: One of its streams.
        warn: Called for broken packets, a missing tail and leaps of the time stamps.
        after_seek: Whether ``source.seek`` was called: the first frame then is not the file's.

    Yields:
        (start, duration, frame), seconds after time zero.
    """
    length = source.promised_duration or 0.0
    spans: list[list[float]] = []  # of the other stream
    shift = last = expected = 0.0
    for frame in _decode(source, stream, warn, spans):
        duration = _frame_duration(frame, stream)
        start = expected if frame.time is None else frame.time - source.zero + shift
        if after_seek:
            last, expected, after_seek = start, start, False
        leaps = start > expected + LONGEST_GAP and (
            start > length
            or (len(source.streams) > 1 and not _bridged(spans, expected - shift, start - shift))
        )
        if leaps or start < last - LONGEST_STEP_BACK:
            warn(
                f"{source.path}: time stamps of the {stream.type} leap by {start - expected:.1f} s"
                f" at {expected:.1f} s; read on as if there were no gap"
            )
            shift += expected - start
            start = expected
        last, expected = start, start + duration
        yield start, duration, frame


def _bridged(spans: list[list[float]], start: float, end: float) -> bool:
    """Whether a span of the other stream covers a gap in this one."""
    return any(a <= start + LONGEST_GAP and end - LONGEST_GAP <= b for a, b in spans)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise MediaError(f"{path}: is a directory; give a video or audio file")
        if not path.exists():
            raise MediaError(explain_no_file(str(path)) or f"{path}: no such file")
        if not path.is_file():
            raise MediaError(f"{path}: is a pipe, not a regular file; save it to a file first")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty (0 bytes)")
    except (OSError, ValueError) as error:  # name too long, no permission, null byte
        reason = getattr(error, "strerror", None) or str(error)
        message = explain_no_file(str(path)) or f"{path!s:.200}: cannot be opened ({reason})"
        raise MediaError(message) from error


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


def _extend(spans: list[list[float]], time: float) -> None:
    """Add a packet's time (s) to the [first, last] of the spans without a long gap."""
    if spans and abs(time - spans[-1][1]) <= LONGEST_GAP:
        spans[-1][1] = max(spans[-1][1], time)
    else:
        spans.append([time, time])


def _decode(
    source: Source, stream: VideoStream | AudioStream, warn: Warn, other_spans: list[list[float]]
) -> Iterator[Any]:
    """Decode the frames of one stream; broken packets are left out or patched by the decoder.

    ``warn`` is called at the end for broken packets and a missing tail. ``other_spans`` is filled
    with the spans, in seconds after time zero, in which the other stream has packets.
    """
    name, num_broken, end = source.path, 0, 0.0
    try:
        # Both streams are read, one is decoded: only both show whether the file is complete.
        for packet in source.container.demux(source.streams):
            end = max(end, _packet_end(packet) - source.zero)
            # Not packet.stream_index: it is 0 in the packets that flush the decoders.
            if packet.stream.index != stream.index:
                if packet.pts is not None:
                    _extend(other_spans, _packet_start(packet) - source.zero)
                continue
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError:
                num_broken += 1
                continue
            for frame in frames:
                num_broken += packet.is_corrupt or frame.is_corrupt
                yield frame
    except av.FFmpegError as error:
        warn(f"{name}: cannot be read past {end:.1f} s ({error.strerror}); the rest is left out")
        return
    if num_broken:
        warn(f"{name}: {num_broken} broken packets of the {stream.type} were left out or patched")
    length = source.promised_duration
    if length is not None and end < length - LOST_TAIL:
        warn(f"{name}: is cut short: {end:.1f} of {length:.1f} s can be read")


def _first_frames(source: Source) -> tuple[VideoFrame | None, bool]:
    """Return the first video frame that can be decoded, and whether any audio can be."""
    missing = {stream.index for stream in source.streams}
    first = None
    try:
        for packet in source.container.demux(source.streams):
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
            for packet in source.container.demux(source.streams):
                end = max(end, _packet_end(packet) - source.zero)
                num_unstamped += packet.pts is None and packet.size > 0
        except av.FFmpegError:
            pass  # as far as it can be read
    return end or (num_unstamped / float(rate) if rate else 0.0)


def _packet_start(packet: Any) -> float:
    return _seconds(packet.pts, packet)


def _packet_end(packet: Any) -> float:
    if packet.pts is None:
        return float("-inf")
    return _packet_start(packet) + _seconds(packet.duration or 0, packet)


def _seconds(ticks: int, item: Any) -> float:
    base = item.time_base  # multiplying by it as a Fraction gives the same, ten times as slowly
    return float(ticks * base.numerator / base.denominator)


def _frame_duration(frame: Any, stream: VideoStream | AudioStream) -> float:
    if isinstance(stream, AudioStream):
        return frame.samples / frame.sample_rate
    if frame.duration and frame.time_base:
        return _seconds(frame.duration, frame)
    rate = stream.average_rate or stream.guessed_rate
    return 1 / float(rate) if rate else 1 / FPS
