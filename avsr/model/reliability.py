"""What validation data looked like to a model, and whether a recording looks like it.

A model writes words for any speech, also for what it has not learned. Its evidence then differs
from that on its validation data, and the recording is called unreliable. ``avsr calibrate`` writes
the statistics as ``reliability.json`` into a model directory; a model without it calls nothing
reliable or unreliable.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import ModelError
from avsr.transcript import MODALITIES

FILE = "reliability.json"
FORMAT = 1
FLAGGED = 0.02  # share of the clips of a manifest that may be called unreliable
MIN_CLIPS = 50  # of a modality; with fewer, 2 % are less than one clip
NO_WORDS = 10.0  # doubt, in spreads, about a recording in which no words were found

STATISTICS = {
    "word_confidence": (-1, "the words are not sure"),
    "token_score": (-1, "the words do not follow from what was heard or seen"),
    "ctc_entropy": (+1, "the sounds are not clear"),
    "language_certainty": (-1, "no language is clear"),
}
"""Statistic -> the direction in which it is bad, and what it says then."""


@dataclass(frozen=True)
class Verdict:
    """Whether a recording is like the validation data."""

    reliable: bool | None
    """None: the model has no statistics for it."""
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
class Calibration:
    """The validation clips of one modality."""

    clips: int
    """Number of clips."""
    threshold: float
    """Mean of the standardised statistics above which a recording is unreliable."""
    statistics: Mapping[str, Norm]
    """By name, see ``STATISTICS``."""

    def score(self, evidence: Mapping[str, float]) -> float:
        """Mean of the statistics of a recording, in spreads from the median to the bad side."""
        return float(np.mean([self.distance(name, evidence) for name in self.statistics]))

    def distance(self, name: str, evidence: Mapping[str, float]) -> float:
        """One statistic of a recording, in spreads from the median to the bad side."""
        norm = self.statistics[name]
        return STATISTICS[name][0] * (evidence[name] - norm.median) / norm.spread


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Content of ``reliability.json``."""

    modalities: Mapping[str, Calibration]
    """``av``, ``audio`` or ``video`` -> its validation clips; some may be missing."""
    advice: str = ""
    """What to do about a recording that is not reliable, in a sentence."""
    data: Sequence[Mapping[str, Any]] = ()
    """The manifests that it was made from."""

    def judge(self, evidence: Mapping[str, float], modality: str) -> Verdict:
        """Compare a recording with the validation data.

        Args:
            evidence: Its statistics, from ``avsr.recognition.evidence``; empty if it has no words.
            modality: What was used of it.

        Returns:
            The verdict, with the reasons of the statistics that are out of bounds.
        """
        calibration = self.modalities.get(modality)
        if calibration is None:
            return Verdict(None)
        if not evidence:
            return Verdict(False, ("no words were found",), NO_WORDS)
        doubt = calibration.score(evidence) - calibration.threshold
        if doubt <= 0:
            return Verdict(True, (), doubt)
        distances = {name: calibration.distance(name, evidence) for name in calibration.statistics}
        worst = sorted(distances, key=lambda name: -distances[name])
        outside = [name for name in worst if self._is_outside(calibration, name, evidence)]
        names = outside or worst[:1]
        return Verdict(False, tuple(STATISTICS[name][1] for name in names), doubt)

    @staticmethod
    def _is_outside(calibration: Calibration, name: str, evidence: Mapping[str, float]) -> bool:
        sign = STATISTICS[name][0]
        return sign * evidence[name] > sign * calibration.statistics[name].limit

    def to_json(self) -> str:
        """Return the content of ``reliability.json``."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


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
            raise ModelError(f"{path} is of format {values['format']}, avsr reads format {FORMAT}")
        modalities = {
            name: Calibration(
                clips=int(calibration["clips"]),
                threshold=float(calibration["threshold"]),
                statistics={
                    key: Norm(**{field: float(value) for field, value in norm.items()})
                    for key, norm in calibration["statistics"].items()
                },
            )
            for name, calibration in values["modalities"].items()
        }
        reliability = Reliability(
            modalities=modalities, advice=str(values["advice"]), data=tuple(values["data"])
        )
        unknown = {name for entry in modalities.values() for name in entry.statistics} - {
            *STATISTICS
        }
        if unknown or not set(modalities) <= set(MODALITIES):
            raise ValueError(f"unknown {', '.join(sorted(unknown)) or 'modality'}")
        return reliability
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is broken: {error}") from error


def fit_calibration(clips: Sequence[Sequence[Mapping[str, float]]]) -> Calibration:
    """Fit the norms and the threshold to validation clips of one modality.

    Args:
        clips: For each manifest the evidence of its clips, none of it empty.

    Returns:
        The calibration whose threshold flags at most ``FLAGGED`` of the clips of each manifest.
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
    calibration = Calibration(clips=len(rows), threshold=0.0, statistics=statistics)
    scores = [[calibration.score(evidence) for evidence in manifest] for manifest in clips]
    threshold = max(_bound(manifest) for manifest in scores)
    return Calibration(clips=len(rows), threshold=threshold, statistics=statistics)


def _bound(scores: Sequence[float]) -> float:
    """The smallest value, to three digits, above which at most ``FLAGGED`` of the scores are."""
    allowed = int(FLAGGED * len(scores))
    return float(np.ceil(sorted(scores)[len(scores) - 1 - allowed] * 1000) / 1000)
