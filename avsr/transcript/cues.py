"""Timed words -> subtitle cues, cut the way subtitlers do.

Every way of cutting the words of a passage into cues has a cost, and dynamic programming finds the
cheapest. First come the limits that a viewer needs, in this order: characters that do not fit into
two lines of 42, then seconds by which the words of a cue last longer than 7. Among cuttings that
are equal in both, the cheapest has the lowest sum over its cues of:

- CUE, so that there are few;
- EMPTY times the square of the share of the two lines that is empty, so that cues are alike;
- the cost of the break after its last word (phrases.py: 0 after a sentence, most between an article
  and its noun, less at a pause);
- half the cost of the break between its lines, and how uneven these are (lines.py);
- FAST for each character per second above 17;
- SHORT times the share by which it is on screen for less than 5/6 s;
- PAUSE for each second of silence in it beyond 0.5 s: a reader must not be ahead of the speaker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from avsr.transcript.lines import MAX_LINE, MAX_LINES, Folding, fold, text_width
from avsr.transcript.phrases import break_costs
from avsr.transcript.result import Transcript, Word

MAX_DURATION = 7.0  # s
MIN_DURATION = 5 / 6  # s: 20 frames of film; less is a flash
READING_SPEED = 17.0  # characters per second, with spaces
LEAST_STEP = 0.04  # s, one video frame, between the starts of two cues

CUE = 1.0
EMPTY = 1.0
FAST = 0.5
SHORT = 3.0
PAUSE = 3.0
PAUSE_ALLOWED = 0.5  # s
ROUNDING = 1e-6  # s
WIDEST = MAX_LINES * MAX_LINE + MAX_LINES - 1  # characters; the line break counts as a space


@dataclass(frozen=True)
class Cue:
    """A subtitle with its time on screen. Text is in logical order, without direction marks."""

    start: float
    """Seconds."""
    end: float
    """Seconds, after ``start``."""
    lines: tuple[str, ...]
    """At most two, or more for a long passage without times."""
    language: str = ""
    """ISO 639-1 code; empty if unknown."""

    @property
    def text(self) -> str:
        """All lines, joined by spaces."""
        return " ".join(self.lines)


@dataclass(frozen=True)
class Passage:
    """A part of a recording in one language."""

    text: str
    """Used if there are no ``words``."""
    language: str
    """ISO 639-1 code."""
    start: float
    """Seconds."""
    end: float
    """Seconds; a cue may stay on screen until then."""
    words: tuple[Word, ...] = ()
    """In the order of speech."""


def transcript_cues(transcript: Transcript) -> tuple[Cue, ...]:
    """Make the subtitle cues of a recording.

    If every face has segments of its own, each segment starts with the speaker's name, and cues of
    different faces may be on screen at the same time.

    Args:
        transcript: Transcript of the whole recording.

    Returns:
        Cues in the order of their starts; none if nothing is said.

    Raises:
        ValueError: A time is not finite.
    """
    whole = Passage(
        transcript.text, transcript.language, 0.0, float(transcript.duration), transcript.words
    )
    speakers: dict[str, list[Passage]] = {}
    for segment in transcript.segments:
        words, speaker = segment.words, segment.speaker
        if speaker and words:
            words = (replace(words[0], text=f"{speaker}: {words[0].text}"), *words[1:])
        passage = Passage(segment.spoken_text, segment.language, segment.start, segment.end, words)
        speakers.setdefault(speaker, []).append(passage)
    if not speakers:
        return make_cues([whole])
    cues = [cue for passages in speakers.values() for cue in make_cues(passages)]
    return tuple(sorted(cues, key=lambda cue: cue.start))


def make_cues(passages: Sequence[Passage]) -> tuple[Cue, ...]:
    """Cut passages into cues that do not overlap; each cue has words of one passage.

    A cue starts with its first word and ends with its last one. If it would be too short to read
    (5/6 s, or 17 characters per second) it ends later, but not after the next cue starts, the
    passages end or 7 s have passed. A passage without words' times is one cue from its start to its
    end. A word that starts before the previous one starts with it instead.

    Args:
        passages: Passages in order of time.

    Returns:
        Cues in order of time.

    Raises:
        ValueError: A time is not finite.
    """
    parts: list[_Part] = []
    floor = 0.0
    for passage in passages:
        part = _timed(passage, floor)
        if part is not None:
            parts.append(part)
            floor = part.starts[-1] + LEAST_STEP
    cues: list[Cue] = []
    for i, part in enumerate(parts):
        last = part.starts[-1] + LEAST_STEP
        limit = parts[i + 1].starts[0] if i + 1 < len(parts) else max(part.until, last)
        cues.extend(_whole(part, limit) if part.untimed else _cut(part, limit))
    return tuple(cues)


@dataclass(frozen=True)
class _Part:
    """A passage whose words start and end in order."""

    words: list[str]
    starts: list[float]
    ends: list[float]
    until: float
    """Seconds; when its last cue must end."""
    language: str
    untimed: bool = False


def _timed(passage: Passage, floor: float) -> _Part | None:
    """Put the times in order, none before ``floor`` (s); None if there are no words."""
    times = [passage.start, passage.end, *(t for w in passage.words for t in (w.start, w.end))]
    if not all(math.isfinite(time) for time in times):
        raise ValueError("the times of a passage and its words must be finite")
    texts: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    for word in passage.words:
        text = " ".join(word.text.split())
        if text:
            floor = max(floor, word.start)
            texts.append(text)
            starts.append(floor)
            ends.append(max(word.end, floor, *ends[-1:]))
    if texts:
        return _Part(texts, starts, ends, max(passage.end, ends[-1]), passage.language)
    words = passage.text.split()
    if not words:
        return None
    start = max(floor, passage.start)
    end = passage.end if passage.end > start else start + MIN_DURATION
    return _Part(words, [start], [end], end, passage.language, untimed=True)


def _whole(part: _Part, limit: float) -> list[Cue]:
    """One cue for words without times, with as many lines as they need."""
    folding = fold(
        [text_width(word) for word in part.words],
        break_costs(part.words, [0.0] * (len(part.words) - 1), part.language),
    )
    lines = _lines(part.words, folding.starts)
    return [Cue(part.starts[0], min(part.ends[0], limit), lines, part.language)]


def _cut(part: _Part, limit: float) -> list[Cue]:
    """The cheapest cues of timed words; the last one ends at ``limit`` (s) at the latest."""
    cutter = _Cutter(part, limit)
    count = len(part.words)
    # cheapest[j]: (cost, start of the last cue, its folding) for the words before j.
    cheapest: list[tuple[_Cost, int, Folding | None] | None] = [((0, 0.0, 0.0), -1, None)]
    cheapest += [None] * count
    for i in range(count):
        start = cheapest[i]
        if start is None:  # the word starts together with the previous one: no cue starts here
            continue
        for j in cutter.stops(i):
            cost, folded = cutter.cost(i, j)
            total = (start[0][0] + cost[0], start[0][1] + cost[1], start[0][2] + cost[2])
            best = cheapest[j]
            if best is None or total < best[0]:
                cheapest[j] = (total, i, folded)
    cues: list[Cue] = []
    stop = count
    while stop:
        best = cheapest[stop]
        assert best is not None
        _, first, folding = best
        assert folding is not None
        lines = _lines(part.words[first:stop], folding.starts)
        times = cutter.times(first, stop)
        cues.append(Cue(*times, lines, part.language))
        stop = first
    return cues[::-1]


_Cost = tuple[int, float, float]  # excess characters, excess seconds, style


class _Cutter:
    """Costs and times of the cue with the words i to j - 1."""

    def __init__(self, part: _Part, limit: float) -> None:
        self.starts, self.ends, self.limit = part.starts, part.ends, limit
        self.widths = [text_width(word) for word in part.words]
        self.before = list(accumulate((width + 1 for width in self.widths), initial=0))
        nexts = zip(part.ends, part.starts[1:], strict=False)
        pauses = [max(0.0, start - end) for end, start in nexts]
        self.breaks = break_costs(part.words, pauses, part.language)
        self.silences = [max(0.0, pause - PAUSE_ALLOWED) for pause in pauses]

    def stops(self, i: int) -> list[int]:
        """Indices j where a cue from word i may stop; one beyond a limit only if there is no other.

        Two cues start at least a frame apart, so words that start together stay together.
        """
        stops: list[int] = []
        for j in range(i + 1, len(self.starts) + 1):
            too_much = self.width(i, j) > WIDEST or self.ends[j - 1] - self.starts[i] > (
                MAX_DURATION + ROUNDING
            )
            if too_much and stops:
                break
            if j == len(self.starts) or self.starts[j] - self.starts[i] >= LEAST_STEP - ROUNDING:
                stops.append(j)
        return stops

    def width(self, i: int, j: int) -> int:
        """Characters of the words on one line, with spaces."""
        return self.before[j] - self.before[i] - 1

    def times(self, i: int, j: int) -> tuple[float, float]:
        """Start and end on screen in seconds."""
        start = self.starts[i]
        reading = self.width(i, j) / READING_SPEED
        end = max(self.ends[j - 1], start + max(MIN_DURATION, reading))
        following = self.starts[j] if j < len(self.starts) else self.limit
        return start, min(end, following, start + MAX_DURATION)

    def cost(self, i: int, j: int) -> tuple[_Cost, Folding]:
        """The cost, see the head of this file, and the best lines of the cue."""
        folding = fold(self.widths[i:j], self.breaks[i : j - 1])
        width = self.width(i, j)
        excess = folding.excess
        if folding.num_lines > MAX_LINES:
            excess += self.width(i + folding.starts[MAX_LINES], j)
        spoken = self.ends[j - 1] - self.starts[i]
        too_long = max(0.0, spoken - MAX_DURATION) if j > i + 1 else 0.0
        start, end = self.times(i, j)
        duration = end - start
        style = CUE + folding.cost
        style += EMPTY * max(0.0, 1 - width / (MAX_LINES * MAX_LINE)) ** 2
        style += self.breaks[j - 1] if j < len(self.starts) else 0.0
        style += FAST * max(0.0, width / duration - READING_SPEED)
        style += SHORT * max(0.0, 1 - duration / MIN_DURATION)
        style += PAUSE * sum(self.silences[i : j - 1])
        return (excess, too_long if too_long > ROUNDING else 0.0, style), folding


def _lines(words: Sequence[str], starts: Sequence[int]) -> tuple[str, ...]:
    stops = [*starts[1:], len(words)]
    return tuple(" ".join(words[a:b]) for a, b in zip(starts, stops, strict=True))
