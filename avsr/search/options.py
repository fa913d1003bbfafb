"""Options of the beam search and their defaults; loads no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from avsr.errors import ConfigError

# Defaults of every transcription: the Python API, the command line, evaluations and the demo.
BEAM_SIZE = 5  # hypotheses per utterance
CTC_WEIGHT = 0.3  # share of CTC in the score
LM_WEIGHT = 0.4  # of a model that has a language model
LENGTH_BONUS = 0.5  # nats per token, against a language model's preference for short texts


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of the joint CTC/attention beam search.

    A finished hypothesis of L tokens, ``</s>`` included, has the score ``((1 - ctc_weight) *
    attention + ctc_weight * ctc + lm_weight * lm) / L**length_penalty + length_bonus * L``.

    Beam size and CTC weight default to those of a transcription. Everything else is off by default,
    on purpose: a plain search without language model, as in validation during training and in
    AV-HuBERT. ``TranscribeOptions.search`` turns the language model and its length bonus on.
    """

    beam_size: int = BEAM_SIZE
    """Unfinished hypotheses per utterance; at most V - 1 of them are used."""
    ctc_weight: float = CTC_WEIGHT
    """Share of CTC in the score, 0 (attention alone) to 1 (CTC alone, on ``ctc_candidates``)."""
    lm_weight: float = 0.0
    """Weight of the language model, if there is one (shallow fusion), on top of the others."""
    length_penalty: float = 0.0
    """0 ranks by the summed log-probability, 1 by the mean per token."""
    length_bonus: float = 0.0
    """Natural-log score added per token."""
    nbest: int = 1
    """Hypotheses that are returned per utterance, at most ``beam_size``."""
    patient: bool = False
    """Go on after ``beam_size`` hypotheses have finished, keeping the best of them, until the
    likeliest extension scores no better than the worst of them at its present length. This is
    ``early_stopping=False`` of transformers."""
    min_len: int = 1
    """Fewest tokens of a hypothesis, ``</s>`` not counted. 0 allows an empty transcript."""
    max_len_a: float = 1.0
    """Most tokens per encoder frame; see ``max_lengths``."""
    max_len_b: int = 10
    """Tokens on top of ``max_len_a`` per frame."""
    ctc_candidates: int = 40
    """Next tokens per hypothesis, the most likely by attention, that get a CTC score."""
    temperature: float = 1.0
    """Divides the decoder's log-probabilities and normalises them again; above 1 flattens."""
    unk_penalty: float = 0.0
    """Natural-log score subtracted for every unknown token."""
    no_repeat_ngram: int = 0
    """Length of the token sequences that no hypothesis contains twice; 0: everything may repeat."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check all values.

        Raises:
            ConfigError: Lists every value out of bounds.
        """
        bounds: dict[str, tuple[float, float]] = {
            "beam_size": (1, math.inf),
            "ctc_weight": (0, 1),
            "lm_weight": (0, math.inf),
            "length_penalty": (0, math.inf),
            "length_bonus": (-math.inf, math.inf),
            "nbest": (1, self.beam_size),
            "patient": (0, 1),
            "min_len": (0, math.inf),
            "max_len_a": (0, math.inf),
            "max_len_b": (0, math.inf),
            "ctc_candidates": (1, math.inf),
            "temperature": (0.01, math.inf),
            "unk_penalty": (0, math.inf),
            "no_repeat_ngram": (0, math.inf),
        }
        problems = []
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), bounds[field.name]
            if field.type is int and not isinstance(value, int):
                problems.append(f"{field.name} is {value!r}, not a whole number")
            elif not math.isfinite(value):
                problems.append(f"{field.name} is {value}, not finite")
            elif not low <= value <= high:
                limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                problems.append(f"{field.name} is {value}, it must be {limits}")
        if problems:
            raise ConfigError("search: " + "; ".join(problems))

    def max_lengths(self, lengths: Sequence[int]) -> list[int]:
        """Most tokens, ``</s>`` not counted, of utterances of ``lengths`` encoder frames."""
        return [int(self.max_len_a * length + self.max_len_b) for length in lengths]
