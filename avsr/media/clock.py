"""Decode one stream of a file in bounded memory, on a clock that goes on where time stamps leap.

Recordings that were joined start their time stamps anew, and one broken stamp or delay may claim
hours. Leaps are found in the packets of both streams, which are always read, and both share what
undoes a leap: however many parts were joined, sound and picture stay in step.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.media.container import Source, container_kind, packet_end, to_seconds
from avsr.media.file_end import check_end
from avsr.media.messages import Warn
from avsr.media.safe_open import read_packets
from avsr.media.tracks import NAMES, is_encrypted
from avsr.rates import FPS

LOST_TAIL = 1.0  # s; a file is cut short if its header promises that much more than it has
STEP_BACK = 0.5  # s; decoding times that go back further were started anew
UNORDERED = 1.0  # s; the same for frames, whose packets were in order
STILL = 10.0  # s; a longer gap is looked at closely
# s; longer gaps in all, in which the other stream has nothing either, are broken time stamps
LONGEST_GAP = 600.0
LEAST_ROOM = 1.0  # s; what a frame may last where they are used up
BRIDGE = 60.0  # s; less between packets of the other stream, or at the edges of a gap, is no gap
REORDERED = 60.0  # s; a frame is never shown that much later than it is decoded
SAME_LEAP = 10.0  # s; both streams leap to about the same time
MAX_HELD = 500  # packets until it is decided whether a time stamp is broken


def timed_frames(
    source: Source, stream: VideoStream | AudioStream, warn: Warn, after_seek: bool = False
) -> Iterator[tuple[float, float, Any]]:
    """Decode one stream in bounded memory.

    A frame without a time stamp starts where the one before ends. Where time stamps leap forwards
    or back without a reason, the clock goes on from where it was.

    Args:
        source: The open file.
        stream: One of its streams.
        warn: Called at the end, with one line each, for broken packets, a missing tail and leaps
            of the time stamps.
        after_seek: Whether ``source.seek`` was called: the first frame then is not the file's.

    Yields:
        (start, duration, frame), seconds after time zero.
    """
    clock = Clock(source, after_seek)
    shift = last = expected = 0.0
    for frame in _decode(source, stream, clock, warn):
        start = expected if frame.time is None else frame.time - source.zero + shift
        if after_seek:
            last, expected, after_seek = start, start, False
        if start < last - UNORDERED:
            shift += expected - start
            start = expected
        duration = min(_frame_duration(frame, stream), clock.room(stream))
        last, expected = start, start + duration
        yield start, duration, frame
    if clock.leaps:
        leap, at = clock.leaps[0]
        times = f" {len(clock.leaps)} times, first" if len(clock.leaps) > 1 else ""
        warn(
            f"{source.path}: time stamps leap{times} by {leap:.1f} s at {at:.1f} s; read on as if "
            "there were no gap"
        )


def each_once(warn: Warn) -> Warn:
    """Return a function that passes each line on once: sound and picture are read separately."""
    lines: set[str] = set()

    def warn_once(line: str) -> None:
        if line not in lines:
            lines.add(line)
            warn(line)

    return warn_once


@dataclass(eq=False)
class _Track:
    """What is known of the time stamps of one stream; times are s on the file's own clock."""

    end: float | None
    """Where the packets so far end; None before the first one."""
    last: float | None = None
    """The last decoding time."""
    step: float = 1 / FPS
    """s; the last duration that was not too long for a frame."""
    room: float = LONGEST_GAP
    """s of gaps that may still come before stamps count as broken."""
    until: float = 0.0
    """Where the packets so far end on the mended clock."""
    segment: int = -1
    """Index of the shift in use; -1: none."""
    spans: list[list[float]] = field(default_factory=list)
    """[first, last] of the packets without a gap of more than ``BRIDGE``."""

    def leaps_to(self, time: float) -> bool:
        """Whether a packet at ``time`` comes long after the ones before it, or goes back."""
        if self.end is None:
            return False
        return time > self.end + STILL or (self.last is not None and time < self.last - STEP_BACK)


class Clock:
    """Moves the time stamps of packets so that they do not leap.

    Attributes:
        leaps: (by how many s, where in s after time zero) of each leap.
    """

    def __init__(self, source: Source, after_seek: bool = False) -> None:
        start = None if after_seek else source.zero
        self.leaps: list[tuple[float, float]] = []
        self._zero = source.zero
        self._tracks = {stream.index: _Track(start, until=source.zero) for stream in source.streams}
        if source.video is not None and (rate := source.video.average_rate):
            self._tracks[source.video.index].step = min(LEAST_ROOM, 1 / float(rate))
        self._shifts: list[tuple[float, float]] = []  # (first stamp after the leap, s to add)
        self._end = source.zero  # of both streams, on the mended clock

    def room(self, stream: VideoStream | AudioStream) -> float:
        """Seconds that a frame of a stream may last without any confirmation."""
        return self._tracks[stream.index].room

    def seconds(self, stream: VideoStream | AudioStream | None) -> float:
        """Seconds from time zero to the end of the packets of a stream so far; 0.0 without one."""
        return 0.0 if stream is None else max(0.0, self._tracks[stream.index].until - self._zero)

    def mend(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Yield the packets of both streams with mended time stamps.

        A packet that leaps is held until the next one of its stream: if that one goes on from
        before the leap, only this time stamp is broken.
        """
        held: deque[Any] = deque()  # the first one leaps
        for packet in packets:
            track = self._tracks[packet.stream.index]
            _agree(packet, track.end)
            time = _decoding_time(packet)
            if held:
                follows = packet.stream is held[0].stream
                if not follows and len(held) < MAX_HELD and packet.size:
                    held.append(packet)
                    continue
                if follows and time is not None and not track.leaps_to(time):
                    held[0].pts = held[0].dts = None
                while held:
                    yield self._mended(held.popleft())
            if time is not None and track.leaps_to(time):
                held.append(packet)
            else:
                yield self._remembered(packet, track, time)
        while held:
            yield self._mended(held.popleft())

    def _mended(self, packet: Any) -> Any:
        """Undo the leap of a packet if there is one."""
        track, time = self._tracks[packet.stream.index], _decoding_time(packet)
        if time is not None and track.leaps_to(time):
            self._undo(track, time, packet)
        return self._remembered(packet, track, time)

    def _undo(self, track: _Track, time: float, packet: Any) -> None:
        """Decide what a leap is: a join, a gap, or broken stamps."""
        assert track.end is not None
        gap = time - track.end
        if track.last is not None and time < track.last - STEP_BACK:
            shown = time if packet.pts is None else to_seconds(packet.pts, packet)
            self._leap(track, shown, gap, self._end)  # joined: after both streams
        elif not self._is_bridged(track, time):
            if gap > track.room:
                # By decoding times: the first frame shown may not be the first one decoded.
                goes_on = track.end if track.last is None else track.last + track.step
                self._leap(track, time, gap, goes_on + self._shift(track))
                track.room = LEAST_ROOM
            else:
                track.room = max(LEAST_ROOM, track.room - gap)

    def _remembered(self, packet: Any, track: _Track, time: float | None) -> Any:
        """Return the next packet with its time stamps moved, and remember them."""
        if time is None:
            if packet.size and not packet.is_discard:
                track.until += min(track.room, _packet_duration(packet))
            return self._moved(packet, track)
        shown = time if packet.pts is None else to_seconds(packet.pts, packet)
        lasts = _packet_duration(packet)
        duration = lasts if packet.duration else 0.0
        if 0 < duration < LEAST_ROOM:
            track.step = duration
        end = max(time, shown) + min(STILL, track.room, duration)
        track.last, track.end = time, end if track.end is None else max(track.end, end)
        self._end = max(self._end, end + self._shift(track))
        if packet.size and not packet.is_discard:
            until = shown + self._shift(track) + min(track.room, lasts)
            track.until = max(track.until, until)
        _extend(track.spans, time)
        return self._moved(packet, track)

    def _moved(self, packet: Any, track: _Track) -> Any:
        if shift := self._shift(track):
            ticks = round(shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        return packet

    def _shift(self, track: _Track) -> float:
        return self._shifts[track.segment][1] if track.segment >= 0 else 0.0

    def _leap(self, track: _Track, time: float, gap: float, target: float) -> None:
        """Use the shift that the other stream has for this leap, or else one to ``target``."""
        track.end, track.spans = None, []
        # The latest first: a part may have had a picture and no sound.
        for segment in reversed(range(track.segment + 1, len(self._shifts))):
            if abs(self._shifts[segment][0] - time) < SAME_LEAP:
                track.segment = segment
                return
        self._shifts.append((time, target - time))
        self.leaps.append((gap, target - self._zero))
        track.segment = len(self._shifts) - 1

    def _is_bridged(self, track: _Track, time: float) -> bool:
        """Whether the other stream goes on while ``track`` has a gap from its end to ``time``."""
        assert track.end is not None
        start = track.end
        return any(
            first <= start + BRIDGE and time - BRIDGE <= last
            for other in self._tracks.values()
            if other is not track
            for first, last in other.spans
        )


def _packet_duration(packet: Any) -> float:
    """Seconds that a packet lasts: of a picture that does not say it, one by the frame rate."""
    stream = packet.stream
    if packet.duration:
        seconds = to_seconds(packet.duration, packet)
        # The last packet of an Ogg file that is cut within it says minus a part, as 32 bits.
        return 0.0 if stream.type == "audio" and seconds > STILL else seconds
    rate = stream.average_rate or stream.guessed_rate if stream.type == "video" else None
    return 1 / float(rate) if rate else 0.0


def _agree(packet: Any, expected: float | None) -> None:
    """Give a packet one time, if its two lie too far apart: the nearer to ``expected`` (s)."""
    if packet.pts is None or packet.dts is None or packet.pts == packet.dts:
        return
    shown, decoded = to_seconds(packet.pts, packet), to_seconds(packet.dts, packet)
    if abs(shown - decoded) <= REORDERED:
        return
    if expected is not None and abs(shown - expected) < abs(decoded - expected):
        packet.dts = packet.pts
    else:
        packet.pts = packet.dts


def _decoding_time(packet: Any) -> float | None:
    """Seconds on the file's own clock; None without a time stamp that is in order."""
    is_sound = isinstance(packet.stream, AudioStream)
    ticks = packet.pts if packet.dts is None and is_sound else packet.dts
    return None if ticks is None else to_seconds(ticks, packet)


def _extend(spans: list[list[float]], time: float) -> None:
    """Add a packet's time (s) to the [first, last] of the spans without a long gap."""
    if spans and abs(time - spans[-1][1]) <= BRIDGE:
        spans[-1][1] = max(spans[-1][1], time)
    else:
        spans.append([time, time])


def _decode(
    source: Source, stream: VideoStream | AudioStream, clock: Clock, warn: Warn
) -> Iterator[Any]:
    """Decode the frames of one stream; broken packets are left out or patched by the decoder.

    ``warn`` is called at the end for broken packets and a missing tail.
    """
    name, num_broken, end, last_byte = source.path, 0, 0.0, 0
    is_first = True

    def read() -> Iterator[Any]:
        nonlocal end, last_byte
        # Both streams are read, one is decoded: only both show whether the file is complete.
        for packet in read_packets(source.container, source.streams):
            end = max(end, packet_end(packet) - source.zero)
            last_byte = max(last_byte, (packet.pos or 0) + packet.size)
            yield packet

    try:
        for packet in clock.mend(read()):
            # Not packet.stream_index: it is 0 in the packets that flush the decoders.
            if packet.stream.index != stream.index:
                continue
            if is_first and is_encrypted(packet):
                raise MediaError(f"{name}: the {NAMES[stream.type]} is encrypted")
            is_first = False
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
    check_end(name, container_kind(source.container), last_byte, warn)


def _frame_duration(frame: Any, stream: VideoStream | AudioStream) -> float:
    if isinstance(stream, AudioStream):
        return frame.samples / frame.sample_rate
    if frame.duration and frame.time_base:
        return to_seconds(frame.duration, frame)
    rate = stream.average_rate or stream.guessed_rate
    return 1 / float(rate) if rate else 1 / FPS
