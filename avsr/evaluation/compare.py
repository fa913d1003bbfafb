"""Compare two runs over the same utterances: which has fewer errors, and is that chance."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from avsr.errors import ConfigError
from avsr.evaluation.bootstrap import average_draws, interval, rate_draws
from avsr.evaluation.results import error_counts, without_words
from avsr.evaluation.run_folder import CONDITIONS, Run
from avsr.evaluation.scores import UtteranceResult


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of the average WER of two sides; negative: the second side is better."""

    name: str
    """Name of the condition."""
    rates: tuple[float, float]
    """Average WER of each side."""
    bounds: tuple[float, float] | None
    """95 % interval of the difference, by the paired bootstrap; None if it is undefined."""
    left_out: tuple[str, ...] = ()
    """Languages that have no error rate, because none of their texts has words."""

    @property
    def difference(self) -> float:
        """Second side minus first side; 0.01 is one point."""
        return self.rates[1] - self.rates[0]

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.bounds is not None and not self.bounds[0] <= 0 <= self.bounds[1]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "wer": [round(rate, 6) for rate in self.rates],
            "difference": round(self.difference, 6),
            "interval": None if self.bounds is None else [round(b, 6) for b in self.bounds],
            "significant": self.significant,
            "left_out": list(self.left_out),
        }


def paired_difference(
    name: str, first: list[UtteranceResult], second: list[UtteranceResult]
) -> Difference:
    """Compare transcripts of the same utterances; raise ConfigError if they cannot be compared."""
    ids = [[u.utterance_id for u in side] for side in (first, second)]
    if ids[0] != ids[1]:
        raise ConfigError(f"{name}: the two sides do not have the same utterances")
    for a, b in zip(first, second, strict=True):
        if (a.reference, a.language) != (b.reference, b.language):
            raise ConfigError(f"{name}: {a.utterance_id} has another reference on each side")
    counts = [error_counts(side)["wer"] for side in (first, second)]
    left_out = tuple(without_words(first)["languages"])
    if set(counts[0]) == set(left_out):
        raise ConfigError(f"{name}: none of the texts has words, so there is no error rate")
    draws = [average_draws(rate_draws(side)) for side in counts]
    rates = [
        float(np.mean([_rate(rows) for code, rows in side.items() if code not in left_out]))
        for side in counts
    ]
    return Difference(
        name=name,
        rates=(rates[0], rates[1]),
        bounds=interval(draws[1] - draws[0]),
        left_out=left_out,
    )


def _rate(rows: list[tuple[float, float]]) -> float:
    errors, length = np.sum(rows, 0)
    return float(errors / length)


def compare_runs(first: Run, second: Run) -> list[Difference]:
    """Compare the WER of two runs under every condition that both have.

    Args:
        first: A run, from ``read_run``.
        second: Another run with the same manifest and noise.

    Returns:
        One difference per common condition.

    Raises:
        ConfigError: No condition is common, the manifests differ, or the noise of a common
            condition differs.
    """
    names = [name for name in first.conditions if name in second.conditions]
    if not names:
        raise ConfigError(f"{first.folder} and {second.folder} have no condition in common")
    if first.about["manifest"]["sha256"] != second.about["manifest"]["sha256"]:
        raise _not_comparable(first, second, "manifest")
    if first.about["noise"] != second.about["noise"]:
        sources = [_noise_sources(run) for run in (first, second)]
        for name in names:
            noise = first.about[CONDITIONS][name]["noise"]
            if noise is not None and not _same_noise(sources, noise["kind"]):
                raise _not_comparable(first, second, f"{noise['kind']} noise")
    return [paired_difference(n, first.conditions[n], second.conditions[n]) for n in names]


def _noise_sources(run: Run) -> dict[str, Any]:
    """Read noise.json."""
    sources: dict[str, Any] = json.loads((run.folder / "noise.json").read_text("utf-8"))
    return sources


def _same_noise(sources: list[dict[str, Any]], kind: str) -> bool:
    """Tell whether two runs draw the same noise of a kind."""
    first, second = ({**source, "kinds": source["kinds"].get(kind)} for source in sources)
    return first == second


def _not_comparable(first: Run, second: Run, what: str) -> ConfigError:
    return ConfigError(
        f"{first.folder} and {second.folder} were made with another {what}; a difference between "
        "them says nothing about the models"
    )


def lips_gain(run: Run) -> list[Difference]:
    """Compare sound and lips with sound alone, under each noise and video corruption.

    Args:
        run: A run, from ``read_run``.

    Returns:
        One difference per condition with sound and lips whose counterpart with sound alone exists;
        the first side is sound alone, so that negative differences are gains.
    """
    gains = []
    conditions = {name: run.about[CONDITIONS][name] for name in run.conditions}
    for name, condition in conditions.items():
        if condition["modality"] == "av":
            audio_only = {**condition, "modality": "audio", "video_corruption": None}
            other = next((n for n, c in conditions.items() if c == audio_only), None)
            if other is not None and any(u.has_words for u in run.conditions[name]):
                sides = run.conditions[other], run.conditions[name]
                gains.append(paired_difference(name.removeprefix("av-"), *sides))
    return gains
