"""Words -> lines of a subtitle."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINE = 42  # characters
MAX_LINES = 2
BREAK_WEIGHT = 0.5  # a break between two lines costs half of one between two cues
RAGGED = 1.0  # per line, times the square of the share of it that is empty


@dataclass(frozen=True, order=True)
class Folding:
    """Words folded into lines; the smaller of two foldings is the better one."""

    excess: int
    """Characters beyond 42, summed over lines; only a word longer than a line has any."""
    num_lines: int
    cost: float
    """Costs of the line breaks (half of those between cues) and of uneven lines."""
    starts: tuple[int, ...]
    """Index of the first word of each line."""


def text_width(text: str) -> int:
    """Count the characters of a text on screen: combining marks and invisible ones take no room."""
    return sum(not unicodedata.combining(c) and unicodedata.category(c) != "Cf" for c in text)


def fold(widths: Sequence[int], costs: Sequence[float]) -> Folding:
    """Fold words into as few lines of at most 42 characters as possible, in the best way.

    Words are never cut; one longer than a line has a line of its own.

    Args:
        widths: (n,) characters of each word.
        costs: (n - 1,) cost of a break after each word but the last.

    Raises:
        ValueError: There are no words.
    """
    if not widths:
        raise ValueError("no words to fold")
    total = sum(widths) + len(widths) - 1
    if total <= MAX_LINE:
        return Folding(0, 1, 0.0, (0,))
    return _fold_in_two(widths, costs, total) or _fold_in_many(widths, costs)


def _fold_in_two(widths: Sequence[int], costs: Sequence[float], total: int) -> Folding | None:
    """The best two lines, or None if two are not enough. A shortcut, since most cues have two."""
    best_start, least = 0, math.inf
    first = -1
    for start in range(1, len(widths)):
        first += widths[start - 1] + 1
        if first > MAX_LINE:
            break
        second = total - first - 1
        if second <= MAX_LINE:
            cost = _raggedness(first) + _raggedness(second) + BREAK_WEIGHT * costs[start - 1]
            if cost < least:
                best_start, least = start, cost
    return Folding(0, 2, least, (0, best_start)) if best_start else None


def _fold_in_many(widths: Sequence[int], costs: Sequence[float]) -> Folding:
    """The best lines by dynamic programming over the start of the last line."""
    # best[k]: the best folding of the words before k.
    best: list[Folding | None] = [Folding(0, 0, 0.0, ())]
    for stop in range(1, len(widths) + 1):
        folding: Folding | None = None
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
            if folding is None or candidate < folding:
                folding = candidate
        best.append(folding)
    result = best[-1]
    assert result is not None
    return result


def _raggedness(width: int) -> float:
    """Cost of the empty part of a line, 0 to 1."""
    return RAGGED * (max(0, MAX_LINE - width) / MAX_LINE) ** 2
