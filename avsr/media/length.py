"""How long the streams of a file are by their packets: headers lie, and clocks start anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

LONGEST_STEP_BACK = 1.0  # s; time stamps that go back further were started anew
# s; a longer leap is a broken time stamp, unless the header and the other stream confirm it
LONGEST_GAP = 600.0


@dataclass
class _Clock:
    """The time of one stream, in seconds after time zero."""

    tick: float
    """Seconds of a unit of its time stamps."""
    step: float
    """Seconds of a packet that does not say how long it lasts."""
    shift: float = 0.0
    """Added to the stamps, since they started anew."""
    last: float | None = None
    """Decoding time of the last packet, by its stamp."""
    spans: list[list[float]] = field(default_factory=lambda: [[0.0, 0.0]])
    """[first, last] without a gap of more than LONGEST_GAP."""

    def add(self, pts: int | None, dts: int | None, duration: int | None, zero: float) -> None:
        """Go on by one packet."""
        end = self.spans[-1][1]
        stamp, order = pts if pts is not None else dts, dts if dts is not None else pts
        start = end
        if stamp is not None and order is not None:
            start = stamp * self.tick - zero + self.shift
            decoded = order * self.tick
            if self.last is not None and decoded < self.last - LONGEST_STEP_BACK:
                self.shift += end - start
                start = end
            self.last = decoded
        if start > end + LONGEST_GAP:
            self.spans.append([start, start])
        seconds = duration * self.tick if duration else self.step
        self.spans[-1][1] = max(self.spans[-1][1], start + seconds)


class LengthMeter:
    """Adds up the packets of a file's streams: nothing is decoded, and no header is believed.

    Time stamps are followed as ``container.timed_frames`` follows them.

    Args:
        streams: The streams that count.
        zero: Time zero on the file's clock, s.
        promised: Seconds that the header states; it confirms gaps before its end.
    """

    def __init__(self, streams: Sequence[Any], zero: float, promised: float) -> None:
        self.zero, self.promised = zero, promised
        self._clocks: dict[int, _Clock] = {}
        self._types: dict[int, str] = {stream.index: stream.type for stream in streams}
        for stream in streams:
            rate = None
            if stream.type == "video":
                rate = stream.average_rate or stream.guessed_rate
            step = 1 / float(rate) if rate else 0.0
            self._clocks[stream.index] = _Clock(float(stream.time_base or 0), step)

    def add(self, packet: Any) -> None:
        """Count a packet; those that flush a decoder are nothing."""
        clock = self._clocks.get(packet.stream.index)
        if clock is not None and packet.size and not packet.is_discard:
            clock.add(packet.pts, packet.dts, packet.duration, self.zero)

    def seconds(self, kind: str) -> float:
        """Seconds from time zero to the end of the ``audio`` or ``video``; 0.0 without."""
        index = next((i for i, each in self._types.items() if each == kind), None)
        if index is None:
            return 0.0
        spans = self._clocks[index].spans
        others = [clock.spans for i, clock in self._clocks.items() if i != index]
        length = spans[-1][1]
        for (_, end), (start, _) in pairwise(spans):
            bridged = not others or any(
                first <= end + LONGEST_GAP and start - LONGEST_GAP <= last
                for first, last in others[0]
            )
            if start > self.promised or not bridged:
                length -= start - end
        return length
