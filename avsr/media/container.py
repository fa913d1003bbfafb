"""Open a media file, choose its streams, put both on one clock, and decode one as a generator.

All times are seconds. "Time zero" is the earliest start of the chosen streams, moved by at most
half a video frame so that a whole number of frames lies between it and the first picture: the
pictures of a 25 fps file then come out one to one.
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
from avsr.runtime.cores import usable_cores

logger = logging.getLogger("avsr.media")

Warn = Callable[[str], None]
"""Takes one line about something that was read only in part. The default logs it."""

LOST_TAIL = 1.0  # s; a file whose header promises this much more than it holds is cut short
# s; a longer leap is a broken time stamp, unless the header and the other stream know of it
LONGEST_GAP = 600.0
LONGEST_STEP_BACK = 1.0  # s; time stamps that go back further have been started anew

# Their headers state the length; the other formats' lengths are guesses from bit rate or tail.
_LENGTH_IN_HEADER = {"mov", "matroska", "avi", "wav", "flv", "asf"}
_INDEXED = {"mov", "matroska", "avi"}  # key frames are found exactly
_NO_MOVING_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What a file holds. Width and height are those of the upright picture, in square pixels."""

    path: Path
    duration: float
    """Seconds from time zero to the end of the longer stream."""
    has_video: bool
    has_audio: bool
    fps: float | None
    """Average frames a second as stored, before the change to 25; None without video."""
    width: int | None
    height: int | None
    rotation: int
    """Degrees, counter-clockwise, by which the stored pictures are turned: 0, 90, 180 or 270."""
    sound_tracks: int
    """How many there are; read is the one that the file calls the default, else the first."""


@dataclass(frozen=True)
class Source(AbstractContextManager["Source"]):
    """An open file, its chosen streams and its clock. Close it, or use it in `with`."""

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
        return [stream for stream in (self.video, self.audio) if stream is not None]

    @property
    def duration(self) -> float | None:
        """Seconds from time zero to the end, as the file states or implies it; None if unknown."""
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
        """The duration where the format's header states it; None where it is an estimate."""
        stated = _kind(self.container) in _LENGTH_IN_HEADER
        return self.duration if stated else None

    def seek(self, stream: VideoStream, start: float) -> bool:
        """Have decoding begin at the last key frame before ``start`` (s); False: at the first."""
        if _kind(self.container) not in _INDEXED or stream.time_base is None:
            return False
        try:
            self.container.seek(int((self.zero + start) / stream.time_base), stream=stream)
        except av.FFmpegError:
            return False
        return True


def probe(path: str | Path) -> MediaInfo:
    """Say what a file holds, from its header and the first frame of each stream.

    A stream of which nothing can be decoded does not count. Raises MediaError when the file
    cannot be opened or has neither picture nor sound.
    """
    with open_source(path) as source:
        duration = source.duration
        picture, has_audio = _first_frames(source)
        if picture is None and not has_audio:
            raise MediaError(f"{path}: none of its picture or sound can be decoded")
        orientation = UPRIGHT if picture is None else orientation_of(picture, source.video)
        width, height = (None, None) if picture is None else orientation.displayed_size(picture)
        sound_tracks = len(_usable(source.container, "audio"))
        rate = source.video.average_rate if source.video is not None and picture else None
    if duration is None:
        duration = _measure_duration(path)
    return MediaInfo(
        path=Path(path),
        duration=max(0.0, duration),
        has_video=picture is not None,
        has_audio=has_audio,
        fps=float(rate) if rate else None,
        width=width,
        height=height,
        rotation=orientation.rotation,
        sound_tracks=sound_tracks,
    )


def open_source(path: str | Path) -> Source:
    """Open a file and choose its streams. Raises MediaError, in one line, when that fails."""
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
    source: Source, stream: VideoStream | AudioStream, warn: Warn, sought: bool = False
) -> Iterator[tuple[float, float, Any]]:
    """Decode one stream: (start, duration, frame), seconds after time zero, in bounded memory.

    Frames without a time stamp follow the one before; after a broken leap of the time stamps,
    forwards or back, the clock goes on from where it was. ``sought`` says that the first frame is
    not the file's.
    """
    length = source.promised_duration or 0.0
    others: list[list[float]] = []
    shift = last = expected = 0.0
    for frame in _decode(source, stream, warn, others):
        duration = _frame_duration(frame, stream)
        start = expected if frame.time is None else frame.time - source.zero + shift
        if sought:
            last, expected, sought = start, start, False
        leaps = start > expected + LONGEST_GAP and (
            start > length
            or (len(source.streams) > 1 and not _bridged(others, expected - shift, start - shift))
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


def _bridged(runs: list[list[float]], start: float, end: float) -> bool:
    """Whether one of the other stream's stretches spans a gap of this one."""
    return any(a <= start + LONGEST_GAP and end - LONGEST_GAP <= b for a, b in runs)


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
    """The stream of a kind to read, or None: of the pictures the best, of the sound the default."""
    usable = _usable(container, kind)
    if kind == "video":
        best = container.streams.best(kind)
        return best if best in usable else next(iter(usable), None)
    marked = (stream for stream in usable if int(stream.disposition) & int(Disposition.default))
    return next(marked, next(iter(usable), None))


def _usable(container: InputContainer, kind: Literal["video", "audio"]) -> list[Any]:
    """The decodable streams of a kind, without cover art and sound tracks with nothing in them."""
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


def _extend(runs: list[list[float]], time: float) -> None:
    """Add a packet's time (s) to the [first, last] of the stretches without a long gap."""
    if runs and abs(time - runs[-1][1]) <= LONGEST_GAP:
        runs[-1][1] = max(runs[-1][1], time)
    else:
        runs.append([time, time])


def _decode(
    source: Source, stream: VideoStream | AudioStream, warn: Warn, others: list[list[float]]
) -> Iterator[Any]:
    """Frames of one stream; what is broken is left out or patched by the decoder.

    That, and a missing tail, is warned of once at the end. ``others`` gets the stretches, in
    seconds after time zero, in which the other stream has packets.
    """
    name, broken, seen = source.path, 0, 0.0
    try:
        # Both streams are read, one is decoded: together they tell whether the file is complete.
        for packet in source.container.demux(source.streams):
            seen = max(seen, _packet_end(packet) - source.zero)
            # Not packet.stream_index: it is 0 in the packets that make decoders give their rest.
            if packet.stream.index != stream.index:
                if packet.pts is not None:
                    _extend(others, _packet_start(packet) - source.zero)
                continue
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                broken += packet.is_corrupt or frame.is_corrupt
                yield frame
    except av.FFmpegError as error:
        warn(f"{name}: cannot be read past {seen:.1f} s ({error.strerror}); the rest is left out")
        return
    if broken:
        warn(f"{name}: {broken} broken packets of the {stream.type} were left out or patched")
    length = source.promised_duration
    if length is not None and seen < length - LOST_TAIL:
        warn(f"{name}: is cut short: {seen:.1f} of {length:.1f} s can be read")


def _first_frames(source: Source) -> tuple[VideoFrame | None, bool]:
    """The first picture that can be decoded, and whether any sound can be."""
    missing = {stream.index for stream in source.streams}
    picture = None
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
                picture = frames[0] if isinstance(frames[0], VideoFrame) else picture
            if not missing:
                break
    except av.FFmpegError:
        pass  # whoever reads the frames is warned; here only what came before counts
    has_audio = source.audio is not None and source.audio.index not in missing
    return picture, has_audio


def _measure_duration(path: str | Path) -> float:
    """Seconds, from every packet's time stamp or, failing that, the number of pictures."""
    end, unstamped = 0.0, 0
    with open_source(path) as source:
        rate = source.video.guessed_rate if source.video is not None else None
        try:
            for packet in source.container.demux(source.streams):
                end = max(end, _packet_end(packet) - source.zero)
                unstamped += packet.pts is None and packet.size > 0
        except av.FFmpegError:
            pass  # as far as it can be read
    return end or (unstamped / float(rate) if rate else 0.0)


def _packet_start(packet: Any) -> float:
    return _seconds(packet.pts, packet)


def _packet_end(packet: Any) -> float:
    if packet.pts is None:
        return float("-inf")
    return _packet_start(packet) + _seconds(packet.duration or 0, packet)


def _seconds(ticks: int, of: Any) -> float:
    base = of.time_base  # times ``ticks`` as a Fraction it is the same and takes ten times as long
    return float(ticks * base.numerator / base.denominator)


def _frame_duration(frame: Any, stream: VideoStream | AudioStream) -> float:
    if isinstance(stream, AudioStream):
        return frame.samples / frame.sample_rate
    if frame.duration and frame.time_base:
        return _seconds(frame.duration, frame)
    rate = stream.average_rate or stream.guessed_rate
    return 1 / float(rate) if rate else 1 / FPS
