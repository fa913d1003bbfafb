"""Compute the scores of a run from its transcripts."""

from collections.abc import Iterable, Sequence
from typing import Any

from avsr.corpus.normalization import normalize_text
from avsr.evaluation.bootstrap import rate_intervals
from avsr.evaluation.language_id import identification
from avsr.evaluation.reliability import reliability_scores
from avsr.evaluation.run_folder import CONDITIONS, Run
from avsr.evaluation.scores import (
    UtteranceResult,
    char_errors,
    macro_average,
    score,
    word_errors,
)
from avsr.evaluation.word_timing import time_scores
from avsr.transcript import MODALITIES

FORMAT = 2  # of results.json; 1 had "cells" for "conditions"


def results(run: Run) -> dict[str, Any]:
    """Compute every score of a run.

    Args:
        run: A run, from ``read_run``.

    Returns:
        Content of ``results.json``: plain values, the scores of each condition under
        ``"conditions"``. They depend on the transcripts alone.
    """
    return {
        "format": FORMAT,
        "model": run.about["model"],
        "manifest": run.about["manifest"],
        "noise": run.about["noise"],
        "normalization": run.about["normalization"],
        CONDITIONS: {
            name: {**run.about[CONDITIONS][name], **condition_scores(utterances)}
            for name, utterances in run.conditions.items()
        },
    }


def condition_scores(utterances: Sequence[UtteranceResult]) -> dict[str, Any]:
    """Compute the scores of one condition, by language and on average."""
    by_language: dict[str, dict[str, Any]] = {}
    # A model without classifier transcribes, but predicts no language.
    detected = not any(u.modality is not None and u.detected is None for u in utterances)
    for language, scores in score(utterances).items():
        by_language[language] = scores.to_dict(detected=detected)
    average: dict[str, Any] = dict(macro_average(by_language.values()))
    for name, counts in error_counts(utterances).items():
        for code, bounds in rate_intervals(counts).items():
            interval = None if bounds is None else [round(bound, 6) for bound in bounds]
            (average if code is None else by_language[code])[f"{name}_interval"] = interval
    modalities = [utterance.modality for utterance in utterances]
    return {
        "average": average,
        "by_language": by_language,
        "identification": identification(
            (u.language, u.language_probs, u.seconds) for u in utterances if u.language_probs
        ),
        "reliability": reliability_scores(utterances),
        "word_times": time_scores(utterance.boundary_errors for utterance in utterances),
        "utterances": len(utterances),
        "without_words": without_words(utterances),
        "used": {modality: modalities.count(modality) for modality in MODALITIES},
        "senses": sense_shares(utterances),
        "failed": [
            {"utterance_id": u.utterance_id, "reason": u.failure} for u in utterances if u.failure
        ],
    }


def sense_shares(utterances: Iterable[UtteranceResult]) -> dict[str, float] | None:
    """Share of the segments that were read from each modality; None where it is not known."""
    senses = [sense for utterance in utterances for sense in utterance.senses]
    if not senses:
        return None
    return {modality: round(senses.count(modality) / len(senses), 4) for modality in MODALITIES}


def without_words(utterances: Sequence[UtteranceResult]) -> dict[str, list[str]]:
    """List what has no words to be right or wrong about.

    Returns:
        ``utterances``: ids of those whose references have no words; what was transcribed there
        counts as inserted. ``languages``: those that have no other utterance, so that they have no
        error rate and averages leave them out.
    """
    wordless = [utterance for utterance in utterances if not utterance.has_words]
    others = {utterance.language for utterance in utterances if utterance.has_words}
    return {
        "utterances": [utterance.utterance_id for utterance in wordless],
        "languages": sorted({utterance.language for utterance in wordless} - others),
    }


def error_counts(
    utterances: Iterable[UtteranceResult],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Count errors: ``wer`` and ``cer`` -> language -> (errors, reference length) by utterance."""
    counts: dict[str, dict[str, list[tuple[float, float]]]] = {"wer": {}, "cer": {}}
    for utterance in utterances:
        reference = normalize_text(utterance.reference, utterance.language)
        hypothesis = normalize_text(utterance.hypothesis, utterance.language)
        for name, count in (("wer", word_errors), ("cer", char_errors)):
            edits = count(reference, hypothesis)
            rows = counts[name].setdefault(utterance.language, [])
            rows.append((edits.errors, edits.length))
    return counts
