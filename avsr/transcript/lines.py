"""Words -> lines of a subtitle."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINE = 42  # characters
MAX_LINES = 2
BREAK_WEIGHT = 0.5  # a break between two lines hurts half as much as one between two cues
RAGGED = 1.0  # per line, times the square of its empty share


@dataclass(frozen=True, order=True)
class Folding:
    """Words folded into lines; of two foldings the smaller is the better one."""

    excess: int
    """Characters beyond 42 in all lines together: of single words longer than a line."""
    num_lines: int
    cost: float
    """Of the line breaks: half of what they cost between cues, and how uneven the lines are."""
    starts: tuple[int, ...]
    """Index of the first word of each line."""


def text_width(text: str) -> int:
    """Characters of a text as they are counted on screen: marks upon letters take no room."""
    return sum(not unicodedata.combining(c) and unicodedata.category(c) != "Cf" for c in text)


def fold(widths: Sequence[int], costs: Sequence[float]) -> Folding:
    """The best folding of words into lines of at most 42 characters, as few lines as possible.

    ``widths`` (n,) are the words' characters, ``costs`` (n - 1,) those of breaks after words.
    Words are never cut; one longer than a line stands alone. Raises ValueError without words.
    """
    if not widths:
        raise ValueError("no words to fold")
    total = sum(widths) + len(widths) - 1
    if total <= MAX_LINE:
        return Folding(0, 1, 0.0, (0,))
    return _fold_in_two(widths, costs, total) or _fold_in_many(widths, costs)


def _fold_in_two(widths: Sequence[int], costs: Sequence[float], total: int) -> Folding | None:
    """The best two lines; None where they are not enough. Most cues have two: this is quick."""
    found, least = 0, math.inf
    first = -1
    for start in range(1, len(widths)):
        first += widths[start - 1] + 1
        if first > MAX_LINE:
            break
        second = total - first - 1
        if second <= MAX_LINE:
            cost = _raggedness(first) + _raggedness(second) + BREAK_WEIGHT * costs[start - 1]
            if cost < least:
                found, least = start, cost
    return Folding(0, 2, least, (0, found)) if found else None


def _fold_in_many(widths: Sequence[int], costs: Sequence[float]) -> Folding:
    # best[k]: the words before k, folded; by dynamic programming over the last line's start.
    best: list[Folding | None] = [Folding(0, 0, 0.0, ())]
    for stop in range(1, len(widths) + 1):
        found: Folding | None = None
        width = -1
        for start in range(stop - 1, -1, -1):
            width += widths[start] + 1
            if width > MAX_LINE and start < stop - 1:
                break
            before = best[start]
            assert before is not None
            cost = before.cost + _raggedness(width)
            cost += BREAK_WEIGHT * costs[start - 1] if start else 0.0
            candidate = Folding(
                before.excess + max(0, width - MAX_LINE),
                before.num_lines + 1,
                cost,
                (*before.starts, start),
            )
            if found is None or candidate < found:
                found = candidate
        best.append(found)
    result = best[-1]
    assert result is not None
    return result


def _raggedness(width: int) -> float:
    """What the empty part of a line costs, 0 to 1."""
    return RAGGED * (max(0, MAX_LINE - width) / MAX_LINE) ** 2
