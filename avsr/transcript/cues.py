"""Timed words -> subtitle cues, the way subtitlers cut them.

Every way of cutting the words of a passage into cues has a cost, and dynamic programming finds
the cheapest. First count the limits that a viewer needs, in this order: characters that do not
fit into two lines of 42, then seconds by which the words of a cue last longer than 7. Among
cuttings equal in those, the sum over all cues of:

- CUE, so that there are few;
- EMPTY times the square of the share of the two lines that is empty, so that they are alike;
- what it costs to break after its last word (phrases.py: nothing after a sentence, most between an
  article and its noun; a pause makes it cheaper);
- the same, halved, for the break between its lines, and how uneven these are (lines.py);
- FAST for each character a second above 17;
- SHORT times the share by which it stays on screen for less than 5/6 s;
- PAUSE for each second of silence within it beyond 0.5 s: a reader must not be ahead of the
  speaker.
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
READING_SPEED = 17.0  # characters a second, spaces counted
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
    """A subtitle: what is on screen and when. Text is in logical order, without marks."""

    start: float
    """Seconds."""
    end: float
    """Seconds, after ``start``."""
    lines: tuple[str, ...]
    language: str = ""
    """ISO 639-1 code; empty if not known."""

    @property
    def text(self) -> str:
        """The lines as one."""
        return " ".join(self.lines)


@dataclass(frozen=True)
class Passage:
    """A part of a recording that is spoken in one language."""

    text: str
    """Used where there are no ``words``."""
    language: str
    """ISO 639-1 code."""
    start: float
    """Seconds."""
    end: float
    """Seconds; a cue may stay on screen until then."""
    words: tuple[Word, ...] = ()
    """In the order in which they are spoken."""


def transcript_cues(transcript: Transcript) -> tuple[Cue, ...]:
    """Subtitle cues of a whole recording; none if nothing is said.

    Where every face has segments of its own, each of these begins with who speaks, and cues of
    different faces may be on screen at the same time.
    """
    whole = Passage(
        transcript.text, transcript.language, 0.0, float(transcript.duration), transcript.words
    )
    speakers: dict[str, list[Passage]] = {}
    for part in transcript.segments:
        words = part.words
        if part.speaker and words:
            words = (replace(words[0], text=f"{part.speaker}: {words[0].text}"), *words[1:])
        passage = Passage(part.spoken_text, part.language, part.start, part.end, words)
        speakers.setdefault(part.speaker, []).append(passage)
    if not speakers:
        return make_cues([whole])
    cues = [cue for passages in speakers.values() for cue in make_cues(passages)]
    return tuple(sorted(cues, key=lambda cue: cue.start))


def make_cues(passages: Sequence[Passage]) -> tuple[Cue, ...]:
    """Cut passages, in order of time, into cues that do not overlap. No cue has words of two.

    A cue starts with its first word and ends with its last one, later only if it would be too
    short to read (5/6 s, or 17 characters a second) and no longer than until the next cue, the
    end of the passages or 7 s. A passage without times of words is one cue from its start to its
    end. Words whose times go back start with the one before them. Raises ValueError for times
    that are not finite.
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
    """A passage with its times made to go forward."""

    words: list[str]
    starts: list[float]
    ends: list[float]
    until: float
    language: str
    untimed: bool = False


def _timed(passage: Passage, floor: float) -> _Part | None:
    """The passage with no start before ``floor``; None without words."""
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
    """One cue for words without times, on as many lines as they need."""
    folding = fold(
        [text_width(word) for word in part.words],
        break_costs(part.words, [0.0] * (len(part.words) - 1), part.language),
    )
    lines = _lines(part.words, folding.starts)
    return [Cue(part.starts[0], min(part.ends[0], limit), lines, part.language)]


def _cut(part: _Part, limit: float) -> list[Cue]:
    """The cheapest cues of timed words; ``limit`` (s) is when the last one must be gone."""
    cutter = _Cutter(part, limit)
    count = len(part.words)
    # cheapest[j]: (cost, start of the last cue, its folding) for the words before j.
    cheapest: list[tuple[_Cost, int, Folding | None] | None] = [((0, 0.0, 0.0), -1, None)]
    cheapest += [None] * count
    for i in range(count):
        here = cheapest[i]
        if here is None:  # its word starts with the one before: no cue can begin here
            continue
        for j in cutter.stops(i):
            cost, folded = cutter.cost(i, j)
            total = (here[0][0] + cost[0], here[0][1] + cost[1], here[0][2] + cost[2])
            known = cheapest[j]
            if known is None or total < known[0]:
                cheapest[j] = (total, i, folded)
    cues: list[Cue] = []
    stop = count
    while stop:
        found = cheapest[stop]
        assert found is not None
        _, start, folding = found
        assert folding is not None
        lines = _lines(part.words[start:stop], folding.starts)
        times = cutter.times(start, stop)
        cues.append(Cue(*times, lines, part.language))
        stop = start
    return cues[::-1]


_Cost = tuple[int, float, float]  # characters too many, seconds too many, style


class _Cutter:
    """Costs and times of the cue that has the words i to j, j left out."""

    def __init__(self, part: _Part, limit: float) -> None:
        self.starts, self.ends, self.limit = part.starts, part.ends, limit
        self.widths = [text_width(word) for word in part.words]
        self.before = list(accumulate((width + 1 for width in self.widths), initial=0))
        nexts = zip(part.ends, part.starts[1:], strict=False)
        pauses = [max(0.0, start - end) for end, start in nexts]
        self.breaks = break_costs(part.words, pauses, part.language)
        self.silences = [max(0.0, pause - PAUSE_ALLOWED) for pause in pauses]

    def stops(self, i: int) -> list[int]:
        """Where a cue from word i on may stop; none that breaks a limit unless it is the only one.

        Two cues start at least a frame apart, so words that start together stay together.
        """
        found: list[int] = []
        for j in range(i + 1, len(self.starts) + 1):
            too_much = self.width(i, j) > WIDEST or self.ends[j - 1] - self.starts[i] > (
                MAX_DURATION + ROUNDING
            )
            if too_much and found:
                break
            if j == len(self.starts) or self.starts[j] - self.starts[i] >= LEAST_STEP - ROUNDING:
                found.append(j)
        return found

    def width(self, i: int, j: int) -> int:
        """Characters of the words on one line, spaces between them counted."""
        return self.before[j] - self.before[i] - 1

    def times(self, i: int, j: int) -> tuple[float, float]:
        """Start and end on screen, seconds."""
        start = self.starts[i]
        reading = self.width(i, j) / READING_SPEED
        end = max(self.ends[j - 1], start + max(MIN_DURATION, reading))
        following = self.starts[j] if j < len(self.starts) else self.limit
        return start, min(end, following, start + MAX_DURATION)

    def cost(self, i: int, j: int) -> tuple[_Cost, Folding]:
        """As the head of this file says; and the best lines of the cue."""
        folding = fold(self.widths[i:j], self.breaks[i : j - 1])
        width = self.width(i, j)
        excess = folding.excess
        if folding.num_lines > MAX_LINES:
            excess += self.width(i + folding.starts[MAX_LINES], j)
        spoken = self.ends[j - 1] - self.starts[i]
        too_long = max(0.0, spoken - MAX_DURATION) if j > i + 1 else 0.0
        start, end = self.times(i, j)
        shown = end - start
        style = CUE + folding.cost
        style += EMPTY * max(0.0, 1 - width / (MAX_LINES * MAX_LINE)) ** 2
        style += self.breaks[j - 1] if j < len(self.starts) else 0.0
        style += FAST * max(0.0, width / shown - READING_SPEED)
        style += SHORT * max(0.0, 1 - shown / MIN_DURATION)
        style += PAUSE * sum(self.silences[i : j - 1])
        return (excess, too_long if too_long > ROUNDING else 0.0, style), folding


def _lines(words: Sequence[str], starts: Sequence[int]) -> tuple[str, ...]:
    stops = [*starts[1:], len(words)]
    return tuple(" ".join(words[a:b]) for a, b in zip(starts, stops, strict=True))
