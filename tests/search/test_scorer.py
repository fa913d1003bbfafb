"""Scorers that the search does not know, beside those that it starts itself."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from avsr.errors import ConfigError
from avsr.search import CtcPrefixes, NgramModel, SearchOptions, WeightedScorer, beam_search
from avsr.search.attention_scorer import AttentionScorer
from avsr.search.ngram import NgramPrefixes

PAD, EOS, SIZE = 1, 2, 9


class Memoryless:
    """A decoder whose next token does not depend on the ones before."""

    def __init__(self, log_probs):
        self.log_probs = log_probs

    def step(self, tokens, state):
        return self.log_probs.expand(len(tokens), -1), state

    def select(self, rows):
        return self


@dataclass
class Planted:
    """Takes 10 for each token that is not the one of a text at its position."""

    text: tuple[int, ...]
    mistakes: torch.Tensor
    length: int = 0

    def scores(self, tokens):
        return -10.0 * (self.mistakes[:, None] + (tokens != self.text[self.length]))

    def ends(self):
        return self.scores(torch.full((len(self.mistakes), 1), EOS))[:, 0]

    def extend(self, rows, tokens):
        mistakes = self.mistakes[rows] + (tokens != self.text[self.length])
        return Planted(self.text, mistakes, self.length + 1)


class Never:
    """Rules one token out."""

    def __init__(self, token, num, ruled_out=None):
        self.token = token
        self.ruled_out = torch.zeros(num, dtype=torch.bool) if ruled_out is None else ruled_out

    def scores(self, tokens):
        ruled_out = self.ruled_out[:, None] | (tokens == self.token)
        return torch.zeros(tokens.shape).double().masked_fill(ruled_out, -torch.inf)

    def ends(self):
        return torch.zeros(len(self.ruled_out)).double().masked_fill(self.ruled_out, -torch.inf)

    def extend(self, rows, tokens):
        return Never(self.token, 0, self.ruled_out[rows] | (tokens == self.token))


def log_probs(seed=0):
    return torch.randn(1, SIZE, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def search(scorers=(), num=1, limit=6, options=None, **more):
    decoder = Memoryless(log_probs())
    return beam_search(
        decoder.step,
        decoder,
        sos=EOS,
        eos=EOS,
        pad=PAD,
        max_lengths=torch.full((num,), limit),
        options=options or SearchOptions(beam_size=8, ctc_weight=0.0, nbest=4),
        scorers=scorers,
        **more,
    )


def language_model():
    texts = [[5, 6, 7], [5, 6], [8, 5, 6, 7, 7]]
    return NgramModel.train(texts, order=3, vocabulary_size=SIZE, bos=0, eos=EOS)


def test_another_scorer_decides():
    text = (5, 0, 8, 5, EOS, EOS, EOS)
    planted = Planted(text, torch.zeros(1, dtype=torch.float64))
    (best, second, *_) = search([WeightedScorer("planted", planted, 2.0)])[0]
    assert best.tokens == text[:4]
    assert best.scores == {"planted": 0.0}
    assert best.score == pytest.approx(best.attention_score)
    assert second.scores == {"planted": -10.0}
    assert second.score == pytest.approx(second.attention_score - 20.0)
    assert (best.ctc_score, best.lm_score) == (None, None)


def test_a_language_model_from_outside_equals_the_one_that_the_search_starts():
    models = [language_model(), None]
    options = SearchOptions(beam_size=5, ctc_weight=0.0, nbest=5, lm_weight=0.7)
    inside = search(num=2, options=options, language_models=models)
    prefixes = NgramPrefixes.start(models, SIZE, EOS, torch.device("cpu"))
    outside = search([WeightedScorer("lm", prefixes, 0.7)], num=2, options=options)
    assert inside == outside
    assert inside[0][0].lm_score == pytest.approx(models[0].log_prob([*inside[0][0].tokens, EOS]))


@pytest.mark.parametrize("weight", [0.0, 1.0, -1.0])
def test_minus_infinity_rules_out_whatever_the_weight(weight):
    best = search(limit=3)[0][0].tokens[0]
    hypotheses = search([WeightedScorer("never", Never(best, 1), weight)], limit=3)[0]
    assert len(hypotheses) == 4
    assert all(best not in h.tokens for h in hypotheses)


def test_names_must_differ():
    scorers = [WeightedScorer("x", Never(3, 1), 1.0), WeightedScorer("x", Never(4, 1), 1.0)]
    with pytest.raises(ConfigError, match="different names"):
        search(scorers)


def started():
    decoder = Memoryless(log_probs())
    ctc = torch.randn(2, 7, SIZE, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    models = [language_model(), None]
    return {
        "attention": AttentionScorer.start(
            decoder.step, decoder, torch.tensor([EOS, EOS]), EOS, PAD
        ),
        "ctc": CtcPrefixes.start(ctc, None, 0),
        "lm": NgramPrefixes.start(models, SIZE, EOS, torch.device("cpu")),
    }


@pytest.mark.parametrize("name", ["attention", "ctc", "lm"])
def test_every_scorer_keeps_to_the_protocol(name):
    """Rows may repeat; scores are float64; what was scored is what the extension starts from."""
    scorer = started()[name]
    rows, tokens = torch.tensor([1, 0, 0]), torch.tensor([5, 6, 5])
    longer = scorer.extend(rows, tokens)
    assert scorer.scores(torch.full((2, 4), 3)).shape == (2, 4)
    assert longer.ends().shape == (3,)
    assert longer.ends().dtype == longer.scores(tokens[:, None]).dtype == torch.float64
    again = longer.extend(torch.tensor([2, 2]), torch.tensor([7, 8]))
    alone = scorer.extend(torch.tensor([0]), torch.tensor([5]))
    expected = alone.scores(torch.tensor([[7, 8]]))[0]
    for row, token in enumerate((7, 8)):
        one = alone.extend(torch.tensor([0]), torch.tensor([token]))
        torch.testing.assert_close(again.ends()[row], one.ends()[0])
        assert bool(expected[row] >= one.ends()[0])  # a text is not likelier than its beginning


def test_the_search_reports_every_step_and_may_be_ended_there():
    calls = []
    search(limit=4, on_step=lambda: calls.append(1), options=SearchOptions(ctc_weight=0, min_len=4))
    assert len(calls) == 5

    def end():
        raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        search(on_step=end)


def test_options_load_no_torch():
    code = "import sys, avsr.search.options; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)
