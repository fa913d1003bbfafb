"""Open a media file, choose its streams, and put both on one clock.

All times are in seconds. "Time zero" is the earliest start of the chosen streams, moved by at most
half a video frame so that a whole number of frames lies between it and the first video frame: the
frames of a 25 fps file are then returned one to one.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.media.safe_open import open_container
from avsr.media.tracks import (
    ANY_TRACKS,
    NONE,
    Chosen,
    Tracks,
    choose_track,
)
from avsr.rates import FPS
from avsr.runtime.addresses import explain_no_file
from avsr.runtime.cores import usable_cores

# Formats whose header states the duration; in other_spans it is estimated from bit rate or tail.
_LENGTH_IN_HEADER = {"mov", "matroska", "avi", "wav", "flv", "asf"}
_INDEXED = {"mov", "matroska", "avi"}  # key frames are found exactly


@dataclass(frozen=True)
class Source(AbstractContextManager["Source"]):
    """An open file, its chosen streams and its clock. Close it, or use it in ``with``."""

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    zero: float
    """Time zero on the file's own clock, seconds."""
    video_choice: Chosen = NONE
    audio_choice: Chosen = NONE

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
    def tracks(self) -> Tracks:
        """The numbers of the chosen streams."""
        return Tracks(audio=self.audio_choice.number, video=self.video_choice.number)

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
        in_header = container_kind(self.container) in _LENGTH_IN_HEADER
        return self.duration if in_header else None

    def seek(self, stream: VideoStream, start: float) -> bool:
        """Seek to the last key frame before ``start`` (s).

        Returns:
            False if the format does not allow it: then decoding begins with the first frame.
        """
        if container_kind(self.container) not in _INDEXED or stream.time_base is None:
            return False
        try:
            self.container.seek(int((self.zero + start) / stream.time_base), stream=stream)
        except av.FFmpegError:
            return False
        return True


def open_source(path: str | Path, tracks: Tracks = ANY_TRACKS) -> Source:
    """Open a file and choose its streams.

    Raises:
        MediaError: The file cannot be opened, has no stream that can be decoded, or lacks a track
            that is asked for.
    """
    path = Path(path)
    _check_file(path)
    container = open_container(path)
    try:
        kind = container_kind(container)
        if kind.endswith("_pipe"):
            raise MediaError(f"{path}: is a still picture; give a video or audio file")
        video = choose_track(path, container, "video", tracks.video)
        audio = choose_track(path, container, "audio", tracks.audio)
        if video.stream is None and audio.stream is None:
            raise MediaError(
                f"{path}: holds neither picture nor sound that can be decoded: "
                f"{video.problem}; {audio.problem}"
            )
    except BaseException:
        container.close()
        raise
    for stream in (video.stream, audio.stream):
        if stream is not None:
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = usable_cores()
    zero = _time_zero(video.stream, audio.stream)
    return Source(path, container, video.stream, audio.stream, zero, video, audio)


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


def container_kind(container: InputContainer) -> str:
    """First of the format's names, such as mov, matroska or mpegts."""
    return container.format.name.split(",")[0]


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
