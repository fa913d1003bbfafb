"""Options of the beam search and their defaults; loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from avsr.errors import ConfigError
from avsr.settings import Bounds, Share, Weight, check_settings

# Defaults of every transcription: the Python API, the command line, evaluations and the demo.
BEAM_SIZE = 5  # hypotheses per utterance
CTC_WEIGHT = 0.3  # share of CTC in the score
LM_WEIGHT = 0.4  # of a model that has a language model
LENGTH_BONUS = 0.5  # nats per token, against a language model's preference for short texts

MAX_BEAM_SIZE = 1000
MAX_TOKENS = 1_000_000  # of a hypothesis


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of the joint CTC/attention beam search.

    A finished hypothesis of L tokens, ``</s>`` included, has the score ``((1 - ctc_weight) *
    attention + ctc_weight * ctc + lm_weight * lm) / L**length_penalty + length_bonus * L``.

    Beam size and CTC weight default to those of a transcription. Everything else is off by default,
    on purpose: a plain search without language model, as in validation during training and in
    AV-HuBERT. ``TranscribeOptions.search`` turns the language model and its length bonus on.
    """

    beam_size: Annotated[int, Bounds(1, MAX_BEAM_SIZE)] = BEAM_SIZE
    """Unfinished hypotheses per utterance; at most V - 1 of them are used."""
    ctc_weight: Share = CTC_WEIGHT
    """Share of CTC in the score, 0 (attention alone) to 1 (CTC alone, on ``ctc_candidates``)."""
    lm_weight: Weight = 0.0
    """Weight of the language model, if there is one (shallow fusion), on top of the others."""
    length_penalty: Weight = 0.0
    """0 ranks by the summed log-probability, 1 by the mean per token."""
    length_bonus: Annotated[float, Bounds(-1e6, 1e6)] = 0.0
    """Natural-log score added per token."""
    nbest: Annotated[int, Bounds(1, MAX_BEAM_SIZE)] = 1
    """Hypotheses that are returned per utterance, at most ``beam_size``."""
    patient: bool = False
    """Go on after ``beam_size`` hypotheses have finished, keeping the best of them, until the
    likeliest extension scores no better than the worst of them at its present length. This is
    ``early_stopping=False`` of transformers."""
    min_len: Annotated[int, Bounds(0, MAX_TOKENS)] = 1
    """Fewest tokens of a hypothesis, ``</s>`` not counted. 0 allows an empty transcript."""
    max_len_a: Annotated[float, Bounds(0, 1e3)] = 1.0
    """Most tokens per encoder frame; see ``max_lengths``."""
    max_len_b: Annotated[int, Bounds(0, MAX_TOKENS)] = 10
    """Tokens on top of ``max_len_a`` per frame."""
    ctc_candidates: Annotated[int, Bounds(1, MAX_TOKENS)] = 40
    """Next tokens per hypothesis, the most likely by attention, that get a CTC score."""
    temperature: Annotated[float, Bounds(0.01, 1e6)] = 1.0
    """Divides the decoder's log-probabilities and normalises them again; above 1 flattens."""
    unk_penalty: Weight = 0.0
    """Natural-log score subtracted for every unknown token."""
    no_repeat_ngram: Annotated[int, Bounds(0, MAX_TOKENS)] = 0
    """Length of the token sequences that no hypothesis contains twice; 0: everything may repeat."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check all values.

        Raises:
            ConfigError: Lists every value out of bounds.
        """
        check_settings(self, "search")
        if self.nbest > self.beam_size:
            raise ConfigError(
                f"search: nbest is {self.nbest}, it must be from 1 to {self.beam_size}"
            )

    def max_lengths(self, lengths: Sequence[int]) -> list[int]:
        """Most tokens, ``</s>`` not counted, of utterances of ``lengths`` encoder frames."""
        return [int(self.max_len_a * length + self.max_len_b) for length in lengths]
