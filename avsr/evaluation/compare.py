"""Two runs over the same utterances: which one errs less, and whether that is chance."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from avsr.errors import ConfigError
from avsr.evaluation.bootstrap import interval, rate_draws
from avsr.evaluation.results import Run, error_counts
from avsr.evaluation.scores import UtteranceResult


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What one side's average WER has more than the other's; negative: the second is better."""

    name: str
    """The condition."""
    rates: tuple[float, float]
    """Average WER of each side."""
    bounds: tuple[float, float] | None
    """95 % interval of the difference, by the paired bootstrap."""

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.rates[1] - self.rates[0]

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.bounds is not None and not self.bounds[0] <= 0 <= self.bounds[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "wer": [round(rate, 6) for rate in self.rates],
            "difference": round(self.difference, 6),
            "interval": None if self.bounds is None else [round(b, 6) for b in self.bounds],
            "significant": self.significant,
        }


def paired_difference(
    name: str, first: list[UtteranceResult], second: list[UtteranceResult]
) -> Difference:
    """Compare two transcripts of the same utterances; raise ConfigError if they are not."""
    ids = [[o.utterance_id for o in side] for side in (first, second)]
    if ids[0] != ids[1]:
        raise ConfigError(f"{name}: the two sides are not of the same utterances")
    for a, b in zip(first, second, strict=True):
        if (a.reference, a.language) != (b.reference, b.language):
            raise ConfigError(f"{name}: {a.utterance_id} has another reference on each side")
    counts = [error_counts(side)["wer"] for side in (first, second)]
    draws = [np.mean(list(rate_draws(side).values()), 0) for side in counts]
    rates = [float(np.mean([_rate(rows) for rows in side.values()])) for side in counts]
    return Difference(name=name, rates=(rates[0], rates[1]), bounds=interval(draws[1] - draws[0]))


def _rate(rows: list[tuple[float, float]]) -> float:
    errors, length = np.sum(rows, 0)
    return float(errors / length) if length else float("nan")


def compare_runs(first: Run, second: Run) -> list[Difference]:
    """Every condition that both runs have; raise ConfigError if there is none.

    Raises ConfigError too if the runs are of other utterances, or a common condition's noise was
    made otherwise.
    """
    names = [name for name in first.cells if name in second.cells]
    if not names:
        raise ConfigError(f"{first.folder} and {second.folder} have no condition in common")
    if first.about["manifest"]["sha256"] != second.about["manifest"]["sha256"]:
        raise _unlike(first, second, "manifest")
    if first.about["noise"] != second.about["noise"]:
        sources = [_noise_sources(run) for run in (first, second)]
        for name in names:
            noise = first.about["cells"][name]["noise"]
            if noise is not None and not _same(sources, noise["kind"]):
                raise _unlike(first, second, f"{noise['kind']} noise")
    return [paired_difference(n, first.cells[n], second.cells[n]) for n in names]


def _noise_sources(run: Run) -> dict[str, Any]:
    """What noise.json says."""
    sources: dict[str, Any] = json.loads((run.folder / "noise.json").read_text("utf-8"))
    return sources


def _same(sources: list[dict[str, Any]], kind: str) -> bool:
    """Whether two runs take and place a kind of noise alike."""
    one, other = ({**found, "kinds": found["kinds"].get(kind)} for found in sources)
    return one == other


def _unlike(first: Run, second: Run, what: str) -> ConfigError:
    return ConfigError(
        f"{first.folder} and {second.folder} were made with another {what}; a difference between "
        "them says nothing about the models"
    )


def lips_gain(run: Run) -> list[Difference]:
    """Sound alone (first) against sound and lips (second), under each noise and picture."""
    found = []
    cells = {name: run.about["cells"][name] for name in run.cells}
    for name, cell in cells.items():
        if cell["modality"] == "av":
            alone = {**cell, "modality": "audio", "picture": None}
            other = next((n for n, c in cells.items() if c == alone), None)
            if other is not None:
                heard = name.removeprefix("av-")
                found.append(paired_difference(heard, run.cells[other], run.cells[name]))
    return found
