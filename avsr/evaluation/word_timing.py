"""Accuracy of word times: distance of predicted starts and ends from the true ones."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rapidfuzz.distance import Levenshtein

from avsr.corpus.normalization import normalize_text
from avsr.transcript import Word

NEAR_MS = 100  # errors up to this go unnoticed in a subtitle


def boundary_errors(
    reference: Sequence[Mapping[str, Any]], hypothesis: Sequence[Word], language: str
) -> tuple[float, ...]:
    """Measure the errors of the start and end of every word that was transcribed correctly.

    Words are paired that stay unchanged in the fewest edits between the texts (Levenshtein
    distance).

    Args:
        reference: Words of a record with ``start`` and ``end`` in seconds from its start.
        hypothesis: Words of the transcript, with times in the same unit.
        language: Code of their language.

    Returns:
        Absolute errors in milliseconds, two per paired word.
    """
    reference_words = [normalize_text(word["word"], language) for word in reference]
    hypothesis_words = [normalize_text(word.text, language) for word in hypothesis]
    errors = []
    for edit in Levenshtein.opcodes(reference_words, hypothesis_words):
        if edit.tag == "equal":
            for true, predicted in zip(
                reference[edit.src_start : edit.src_end],
                hypothesis[edit.dest_start : edit.dest_end],
                strict=True,
            ):
                errors += [predicted.start - true["start"], predicted.end - true["end"]]
    return tuple(round(1000 * abs(error), 1) for error in errors)


def time_scores(errors: Iterable[Sequence[float]]) -> dict[str, Any] | None:
    """Summarise the ``boundary_errors`` of all utterances, in ms; None if there are none."""
    every = [error for row in errors for error in row]
    if not every:
        return None
    return {
        "boundaries": len(every),
        "median_ms": round(median(every), 1),
        "near": sum(error <= NEAR_MS for error in every) / len(every),
    }
