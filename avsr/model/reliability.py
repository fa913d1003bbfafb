"""What validation data looked like to a model, and whether a recording looks like it.

A model writes words for any speech, also in languages that it has not learned. What its hypothesis
rests on then differs from its validation data, and the recording is called unreliable. ``avsr
calibrate`` writes the statistics as ``reliability.json`` into a model directory; a model without it
calls nothing reliable or unreliable.
"""

import json
import sys
from collections.abc import ItemsView, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import ModelError
from avsr.model.sense_rule import SenseRule, parse_sense_rule

FILE = "reliability.json"
FORMAT = 1
FLAGGED = 0.02  # share of the clips of a manifest that may be called unreliable
MIN_CLIPS = 50  # with fewer, 2 % are less than one clip
NO_WORDS = 10.0  # doubt, in spreads, about a recording in which no words were found

STATISTICS = {
    "word_confidence": (-1, "low confidence in the words"),
    "token_score": (-1, "low confidence in the sentence"),
    "ctc_entropy": (+1, "the sounds or lips fit no clear letters"),
    "language_certainty": (-1, "the language is unclear"),
}
"""Statistic -> the direction in which it is bad, and what it says then."""
PARTS = {
    "word_confidence": "ctc",
    "token_score": "decoder",
    "ctc_entropy": "ctc",
    "language_certainty": "classifier",
}
"""Statistic -> the part of the network that it comes from."""


@dataclass(frozen=True)
class Verdict:
    """Whether a recording is like the validation data."""

    reliable: bool | None
    """None: the model is not calibrated."""
    reasons: tuple[str, ...] = ()
    """One clause each; empty unless ``reliable`` is False."""
    doubt: float | None = None
    """How far it is from the validation data, in spreads; above 0 is not reliable."""


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A statistic over the validation clips."""

    median: float
    spread: float
    """Half the distance between the 16th and the 84th percentile, a robust standard deviation."""
    limit: float
    """Beyond it, on the bad side, are 2 % of the clips."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Content of ``reliability.json``."""

    clips: int
    """Number of validation clips."""
    statistics: Mapping[str, Norm]
    """By name, see ``STATISTICS``."""
    threshold: float
    """Mean distance of the statistics, in spreads, above which a recording is unreliable."""
    advice: str = ""
    """What to do about a recording that is not reliable, in a sentence."""
    data: Sequence[Mapping[str, Any]] = ()
    """The manifests that it was made from."""
    senses: SenseRule | None = None
    """When lips or sound are left out; None: as the bundled model does."""

    def judge(self, evidence: Mapping[str, float]) -> Verdict:
        """Compare a recording with the validation data.

        Args:
            evidence: Its statistics, from ``avsr.recognition.evidence``; empty if it has no words.

        Returns:
            The verdict, with the reasons of the statistics that are out of bounds.
        """
        if not evidence:
            return Verdict(False, ("no words were found",), NO_WORDS)
        doubt = self.distance(evidence) - self.threshold
        if doubt <= 0:
            return Verdict(True, (), doubt)
        distances = {name: _distance(name, norm, evidence) for name, norm in self._norms()}
        worst = sorted(distances, key=lambda name: -distances[name])
        outside = [
            name
            for name in worst
            if STATISTICS[name][0] * (evidence[name] - self.statistics[name].limit) > 0
        ]
        reasons = tuple(STATISTICS[name][1] for name in outside or worst[:1])
        return Verdict(False, reasons, doubt)

    def distance(self, evidence: Mapping[str, float]) -> float:
        """Mean distance of the statistics from their medians to the bad side, in spreads."""
        return float(np.mean([_distance(name, norm, evidence) for name, norm in self._norms()]))

    def _norms(self) -> ItemsView[str, Norm]:
        return self.statistics.items()

    def to_json(self) -> str:
        """Return the content of ``reliability.json``."""
        values = {"format": FORMAT, **asdict(self)}
        if self.senses is None:  # as in files of earlier versions
            del values["senses"]
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _distance(name: str, norm: Norm, evidence: Mapping[str, float]) -> float:
    return STATISTICS[name][0] * (evidence[name] - norm.median) / norm.spread


def read_reliability(folder: Path) -> Reliability | None:
    """Read the ``reliability.json`` of a model directory; None if it has none.

    Raises:
        ModelError: The file is broken, or of another format.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT:
            raise ModelError(f"{path} has format {values['format']}; this avsr reads {FORMAT}")
        return _parse(values)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{path} is broken: {' '.join(reason.split())}; delete it or run 'avsr calibrate'"
        ) from error


def _parse(values: Mapping[str, Any]) -> Reliability:
    """Build from the content of the file; an error tells what is wrong with it."""
    statistics = {
        str(name): Norm(
            median=_number(norm, "median"),
            spread=_number(norm, "spread"),
            limit=_number(norm, "limit"),
        )
        for name, norm in values["statistics"].items()
    }
    unknown = sorted(set(statistics) - set(STATISTICS))
    if unknown or not statistics:
        raise ValueError(f"unknown statistic '{unknown[0]}'" if unknown else "no statistics")
    if not all(norm.spread > 0 for norm in statistics.values()):
        raise ValueError("a spread is not above 0")
    advice, data = values["advice"], values["data"]
    if not isinstance(advice, str) or len(advice.splitlines()) > 1:
        raise ValueError("the advice is not one line of text")
    if not isinstance(data, list):
        raise ValueError("data is not a list of manifests")
    return Reliability(
        clips=int(_number(values, "clips")),
        statistics=statistics,
        threshold=_number(values, "threshold"),
        advice=advice,
        data=tuple(data),
        senses=parse_sense_rule(values["senses"]) if "senses" in values else None,
    )


def _number(values: Mapping[str, Any], name: str) -> float:
    """Return a finite number of a mapping; ValueError if it is none."""
    value = values[name]
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} is {str(value)[:20]}, not a finite number")
    return float(value)


def fit_reliability(
    clips: Sequence[Sequence[Mapping[str, float]]],
    advice: str = "",
    data: Sequence[Mapping[str, Any]] = (),
) -> Reliability:
    """Fit norms and threshold to validation clips.

    Args:
        clips: For each manifest the evidence of its clips, none of it empty.
        advice: As in ``Reliability``.
        data: As in ``Reliability``.

    Returns:
        Statistics by which at most ``FLAGGED`` of the clips of each manifest are unreliable.
    """
    rows = [evidence for manifest in clips for evidence in manifest]
    statistics = {}
    for name in rows[0]:
        sign = STATISTICS[name][0]
        values = np.array([evidence[name] for evidence in rows])
        low, median, high = np.quantile(values, (0.16, 0.5, 0.84))
        statistics[name] = Norm(
            median=round(float(median), 5),
            spread=round(max(float(high - low) / 2, 1e-4), 5),
            limit=round(sign * float(np.quantile(sign * values, 1 - FLAGGED)), 5),
        )
    fitted = Reliability(
        clips=len(rows),
        statistics=statistics,
        threshold=0.0,
        advice=" ".join(advice.split()),
        data=data,
    )
    bounds = [_bound([fitted.distance(row) for row in manifest]) for manifest in clips]
    return replace(fitted, threshold=max(bounds))


def _bound(distances: Sequence[float]) -> float:
    """The smallest value, to three digits, above which at most ``FLAGGED`` of the distances are."""
    allowed = int(FLAGGED * len(distances))
    return float(np.ceil(sorted(distances)[len(distances) - 1 - allowed] * 1000) / 1000)
