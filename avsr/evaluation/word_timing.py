"""When words are said: how far the times that were found lie from those that are known."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rapidfuzz.distance import Levenshtein

from avsr.evaluation.text import normalize_text
from avsr.transcript import Word

NEAR_MS = 100  # an error that nobody sees in a subtitle


def boundary_errors(
    said: Sequence[Mapping[str, Any]], found: Sequence[Word], language: str
) -> tuple[float, ...]:
    """Milliseconds between true and found start, and end, of every word that was understood.

    ``said`` are a record's words, both in seconds from its start. Words belong together that stay
    as they are in the fewest edits from one text to the other (Levenshtein distance).
    """
    true = [normalize_text(word["word"], language) for word in said]
    understood = [normalize_text(word.text, language) for word in found]
    errors = []
    for edit in Levenshtein.opcodes(true, understood):
        if edit.tag == "equal":
            for word, hit in zip(
                said[edit.src_start : edit.src_end],
                found[edit.dest_start : edit.dest_end],
                strict=True,
            ):
                errors += [hit.start - word["start"], hit.end - word["end"]]
    return tuple(round(1000 * abs(error), 1) for error in errors)


def time_scores(errors: Iterable[Sequence[float]]) -> dict[str, Any] | None:
    """Median of all utterances' ``boundary_errors``, in milliseconds; None without any."""
    every = [error for row in errors for error in row]
    if not every:
        return None
    return {
        "boundaries": len(every),
        "median_ms": round(median(every), 1),
        "near": sum(error <= NEAR_MS for error in every) / len(every),
    }
