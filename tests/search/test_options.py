import inspect

import pytest

from avsr.cli.transcribe import transcribe
from avsr.errors import ConfigError
from avsr.evaluation.config import EvaluationConfig
from avsr.recognition.options import TranscribeOptions
from avsr.search import SearchOptions


def test_defaults_are_valid_and_frozen():
    options = SearchOptions()
    assert (options.beam_size, options.ctc_weight, options.nbest) == (5, 0.3, 1)
    with pytest.raises(AttributeError):
        options.beam_size = 3


def test_a_transcription_an_evaluation_and_the_command_line_have_the_same_defaults():
    transcribing = TranscribeOptions()
    evaluating = EvaluationConfig(manifest="x.jsonl")
    commands = inspect.signature(transcribe).parameters
    for name, value in (("beam_size", 5), ("ctc_weight", 0.3), ("lm_weight", 0.4)):
        assert getattr(transcribing, name) == getattr(evaluating, name) == value
        assert commands[name].default == value
    search = transcribing.search()
    assert (search.beam_size, search.ctc_weight, search.lm_weight) == (5, 0.3, 0.4)
    assert (search.length_bonus, search.min_len) == (0.5, 0)


def test_all_errors_are_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        SearchOptions(beam_size=0, ctc_weight=1.5, length_penalty=-1.0, min_len=-1)
    for name in ("beam_size is 0", "ctc_weight is 1.5", "length_penalty", "min_len"):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beam_size": 2, "nbest": 3}, "nbest is 3, it must be from 1 to 2"),
        ({"length_bonus": float("nan")}, "length_bonus is nan, not finite"),
        ({"temperature": 0.0}, r"temperature is 0.0, it must be at least 0.01"),
        ({"unk_penalty": -1.0}, "unk_penalty is -1.0, it must be at least 0"),
        ({"no_repeat_ngram": 1.5}, "no_repeat_ngram is 1.5, not a whole number"),
        ({"beam_size": 2.5}, "beam_size is 2.5, not a whole number"),
    ],
)
def test_wrong_values(wrong, message):
    with pytest.raises(ConfigError, match=message):
        SearchOptions(**wrong)


def test_max_lengths_are_truncated():
    assert SearchOptions(max_len_a=0.5, max_len_b=3).max_lengths([0, 1, 5]) == [3, 3, 5]
