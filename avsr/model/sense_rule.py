"""Which of sound, lips or both a segment is read from: a rule fitted to validation data.

Both together have the score 0, sound alone and lips alone a weighted sum of the statistics of
``avsr.recognition.senses``; the highest score decides, and a tie is for both. The weights minimise
the word errors that are expected when a sense is chosen with the softmax of the scores:

    sum_i  sum_s  softmax(scores_i)_s * errors_is / words_i

over clips i, each heard in quiet and in noise, with lips that are right, wrong or damaged. Sound or
lips whose letters are not clear in themselves never decide alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.transcript import Modality

BIAS = "bias"
LETTERS = ("agreement", "sound_letters")
"""Statistics of the letters that CTC reads; see ``avsr.recognition.senses``."""
CLARITY: Mapping[Modality, str] = {"audio": "sound_clarity", "video": "lips_clarity"}
"""Statistics of the letters that tell whether sound or lips may decide alone."""
SCORES = ("sound_score", "lips_score")
"""Statistics of the scores that the decoder gives one hypothesis; see there as well."""
GAIN = {"audio": "sound_gain", "video": "lips_gain"}
"""Statistics that tell whether another search, from sound or lips alone, found a likelier text."""
ALONE: tuple[Modality, ...] = ("audio", "video")
CLEAR = -1.6  # nats: letters of one in five, which a model that is not trained does not reach
LIMIT = 2.0  # nats; statistics are clipped to it on both sides
NEVER = -1e9  # score of a sense that may not decide
DECAY = 1e-5  # of the weights
STARTS, STEPS = 8, 200  # random starts of the search for the weights, and its steps


@dataclass(frozen=True, kw_only=True)
class SenseWeights:
    """Weights of the statistics in the scores of sound alone and lips alone."""

    audio: Mapping[str, float]
    """By name of the statistic; ``bias`` is added."""
    video: Mapping[str, float]

    def choose(
        self, statistics: Mapping[str, float], allowed: Sequence[Modality] = ALONE
    ) -> Modality:
        """Choose what a segment is read from: both, or one of the senses that are ``allowed``."""
        best: Modality = "av"
        highest = 0.0
        for modality, weights in zip(ALONE, (self.audio, self.video), strict=True):
            score = weights[BIAS] + sum(
                weight * _clip(statistics[name]) for name, weight in weights.items() if name != BIAS
            )
            if score > highest and modality in allowed:
                best, highest = modality, score
        return best


def clear_senses(statistics: Mapping[str, float]) -> list[Modality]:
    """The senses that may decide alone by their letters, because these are ``CLEAR``."""
    return [modality for modality in ALONE if statistics[CLARITY[modality]] >= CLEAR]


def choose_by_letters(weights: SenseWeights, statistics: Mapping[str, float]) -> Modality:
    """Choose by ``LETTERS``, of the ``clear_senses``."""
    return weights.choose(statistics, clear_senses(statistics))


def choose_by_scores(weights: SenseWeights, statistics: Mapping[str, float]) -> Modality:
    """Choose by ``SCORES``; one sense only where its own text is likelier than that from both."""
    choice = weights.choose(statistics)
    return "av" if choice != "av" and statistics[GAIN[choice]] <= 0 else choice


@dataclass(frozen=True, kw_only=True)
class SenseRule:
    """The part ``senses`` of ``reliability.json``."""

    letters: SenseWeights | None
    """On ``LETTERS``, for models with a CTC head; None if it was fitted to one without."""
    scores: SenseWeights
    """On ``SCORES``, for models without CTC head."""
    report: Mapping[str, Any]
    """How many clips it was made from, and the word error rates of those set aside."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)


def parse_sense_rule(values: Mapping[str, Any]) -> SenseRule:
    """Build from plain values.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: They are broken.
    """
    letters = values["letters"]
    report = values["report"]
    if not isinstance(report, dict):
        raise ValueError("the report of senses is no mapping")
    return SenseRule(
        letters=None if letters is None else _parse_weights(letters, LETTERS),
        scores=_parse_weights(values["scores"], SCORES),
        report=report,
    )


def _parse_weights(values: Mapping[str, Any], names: Sequence[str]) -> SenseWeights:
    by_sense = {}
    for sense in ALONE:
        weights = values[sense]
        unknown = sorted(set(weights) - {BIAS, *names})
        if unknown:
            raise ValueError(f"unknown statistic '{unknown[0]}'")
        if BIAS not in weights:
            raise ValueError(f"no {BIAS} for {sense}")
        for name, weight in weights.items():
            if type(weight) not in (int, float) or not np.isfinite(weight):
                raise ValueError(f"{name} is {str(weight)[:20]}, not a finite number")
        by_sense[sense] = {name: float(weight) for name, weight in weights.items()}
    return SenseWeights(audio=by_sense["audio"], video=by_sense["video"])


def fit_sense_weights(
    statistics: Sequence[Mapping[str, float]],
    errors: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    margin: float,
    allowed: np.ndarray | None = None,
) -> SenseWeights:
    """Fit the weights of the rule to clips.

    Args:
        statistics: Of each of N clips under one condition.
        errors: (N, 3) word errors per word from both senses, from sound and from lips.
        weights: (N,) how much each counts.
        names: The statistics to use.
        margin: By how many errors per word less a sense alone must be better than both.
        allowed: (N, 2) bool, whether sound and lips may decide alone; None: they may.

    Returns:
        The weights, rounded to four digits.
    """
    values = np.array([[_clip(row[name]) for name in names] for row in statistics])
    spread = values.std(0) + 1e-6
    inputs = torch.from_numpy(values / spread)
    costs = torch.from_numpy(errors + margin * np.array([0.0, 1.0, 1.0]))
    shares = torch.from_numpy(weights / weights.sum())
    forbidden = torch.zeros(len(values), 2, dtype=torch.bool)
    if allowed is not None:
        forbidden = torch.from_numpy(~allowed)

    def expected(parameters: Tensor) -> Tensor:
        slopes = parameters[:-1]
        scores = F.pad((inputs @ slopes + parameters[-1]).masked_fill(forbidden, NEVER), (1, 0))
        return (shares @ (scores.softmax(1) * costs)).sum() + DECAY * slopes.square().mean()

    fitted = [_minimize(expected, len(names) + 1, seed) for seed in range(STARTS)]
    best = min(fitted, key=lambda parameters: float(expected(parameters))).numpy()
    slopes, biases = best[:-1] / spread[:, None], best[-1]
    audio, video = (
        {BIAS: round(float(biases[i]), 4)}
        | {name: round(float(slope), 4) for name, slope in zip(names, slopes[:, i], strict=True)}
        for i in range(2)
    )
    return SenseWeights(audio=audio, video=video)


def _minimize(function: Callable[[Tensor], Tensor], rows: int, seed: int) -> Tensor:
    """Minimise a function of parameters (rows, 2) from a random start."""
    start = np.random.default_rng(seed).normal(0, 1, (rows, 2))
    parameters = torch.from_numpy(start).requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = function(parameters)
        loss.backward()
        return loss

    optimizer.step(step)
    return parameters.detach()


def _clip(value: float) -> float:
    return min(LIMIT, max(-LIMIT, value))
