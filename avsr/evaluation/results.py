"""A run's folder -> its scores."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.errors import ConfigError
from avsr.evaluation.bootstrap import rate_intervals
from avsr.evaluation.language_id import identification
from avsr.evaluation.scores import (
    UtteranceResult,
    char_errors,
    macro_average,
    score,
    word_errors,
)
from avsr.evaluation.text import normalize_text
from avsr.evaluation.word_timing import time_scores
from avsr.transcript import MODALITIES

FORMAT = 1  # of results.json


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run's folder holds."""

    folder: Path
    about: dict[str, Any]
    """The content of ``run.json``."""
    cells: dict[str, list[UtteranceResult]]
    """Every utterance under each condition, in the order of ``about["cells"]``."""

    @property
    def timing(self) -> dict[str, float]:
        """Seconds of work of each cell; "shared" is what they have in common."""
        path = self.folder / "timing.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else {}


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read the folder of a finished run; raise ConfigError if it is none."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise ConfigError(f"{folder} is no folder of an evaluation run: it has no run.json")
    about = json.loads((folder / "run.json").read_text("utf-8"))
    cells = {}
    for name in about["cells"]:
        path = folder / "cells" / f"{name}.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        if len(lines) < about["manifest"]["utterances"]:
            continue  # begun, not finished
        cells[name] = [UtteranceResult(**json.loads(line)) for line in lines]
    return Run(folder=folder, about=about, cells=cells)


def results(run: Run) -> dict[str, Any]:
    """Every score of a run, as plain values for JSON; the same whatever made the transcripts."""
    return {
        "format": FORMAT,
        "model": run.about["model"],
        "manifest": run.about["manifest"],
        "noise": run.about["noise"],
        "normalization": run.about["normalization"],
        "cells": {
            name: {**run.about["cells"][name], **cell_scores(outcomes)}
            for name, outcomes in run.cells.items()
        },
    }


def cell_scores(outcomes: Sequence[UtteranceResult]) -> dict[str, Any]:
    """Scores of one condition, by language and on average."""
    rows: dict[str, dict[str, Any]] = {}
    errors = error_counts(outcomes)
    # A model without classifier transcribes and says nothing about the language.
    detected = not any(o.modality is not None and o.detected is None for o in outcomes)
    for language, scores in score(outcomes).items():
        rows[language] = scores.to_dict(detected=detected)
    average: dict[str, Any] = dict(macro_average(rows.values()))
    for name, counts in errors.items():
        for code, bounds in rate_intervals(counts).items():
            shown = None if bounds is None else [round(bound, 6) for bound in bounds]
            (average if code is None else rows[code])[f"{name}_interval"] = shown
    used = [outcome.modality for outcome in outcomes]
    return {
        "average": average,
        "by_language": rows,
        "identification": identification(
            (o.language, o.language_probs, o.seconds) for o in outcomes if o.language_probs
        ),
        "word_times": time_scores(outcome.boundary_errors for outcome in outcomes),
        "utterances": len(outcomes),
        "used": {modality: used.count(modality) for modality in MODALITIES},
        "failed": [
            {"utterance_id": o.utterance_id, "reason": o.failure} for o in outcomes if o.failure
        ],
    }


def error_counts(
    outcomes: Iterable[UtteranceResult],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """``wer`` and ``cer`` -> language -> (errors, length of the reference) of each utterance."""
    counts: dict[str, dict[str, list[tuple[float, float]]]] = {"wer": {}, "cer": {}}
    for outcome in outcomes:
        said = normalize_text(outcome.reference, outcome.language)
        understood = normalize_text(outcome.hypothesis, outcome.language)
        for name, count in (("wer", word_errors), ("cer", char_errors)):
            edits = count(said, understood)
            rows = counts[name].setdefault(outcome.language, [])
            rows.append((edits.errors, edits.length))
    return counts
