"""N-gram language models against numbers by hand, a slow twin made of dictionaries, and sums."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.errors import ConfigError, ModelError
from avsr.search import NgramModel, load_ngrams, pack_ngrams
from avsr.search.ngram import ROOT, NgramPrefixes

BOS, PAD, EOS, A, B = range(5)
SIZE = 5
ROUNDED = 1e-3  # numbers are kept with 11 bits

texts = st.lists(st.lists(st.integers(A, 7), max_size=6), min_size=1, max_size=12)


def train(sentences, order, vocabulary_size=SIZE, min_count=1):
    return NgramModel.train(
        sentences,
        order=order,
        vocabulary_size=vocabulary_size,
        bos=BOS,
        eos=EOS,
        min_count=min_count,
    )


def test_numbers_by_hand():
    # Bigrams: <s> a twice; a a, a </s>, a b, b </s> once. D = 4 / (4 + 2) = 2/3.
    # Predecessors: of a two, of </s> two, of b one. D = 1 / (1 + 4) = 0.2; 0.12 is left for four.
    model = train([[A, A], [A, B]], order=2)
    assert np.exp(model.row(ROOT)) == pytest.approx([0, 0.03, 0.39, 0.39, 0.19], abs=ROUNDED)
    after_a = model.step(model.start(), A)
    one = 1 / 9  # (1 - 2/3) / 3; 2/3 is left for the unigrams
    expected = [0, 0.02, one + 0.26, one + 0.26, one + 0.38 / 3]
    assert np.exp(model.row(after_a)) == pytest.approx(expected, abs=ROUNDED)
    assert math.exp(model.row(model.start())[A]) == pytest.approx(2 / 3 + 0.13, abs=ROUNDED)
    assert model.log_prob([A, EOS]) == pytest.approx(
        math.log(2 / 3 + 0.13) + math.log(one + 0.26), abs=ROUNDED
    )


class Slow:
    """The same model by dictionaries, one probability at a time."""

    def __init__(self, sentences, order, size):
        self.order, self.size = order, size
        streams = [(BOS, *sentence, EOS) for sentence in sentences]
        occurrences = [Counter() for _ in range(order + 1)]
        for stream in streams:
            for k in range(1, order + 1):
                occurrences[k].update(stream[i : i + k] for i in range(len(stream) - k + 1))
        self.counts, self.discounts = [Counter()], [0.0]
        for k in range(1, order + 1):
            before = defaultdict(set)
            if k < order:
                for gram in occurrences[k + 1]:
                    before[gram[1:]].add(gram[0])
            counts = Counter()
            for gram, count in occurrences[k].items():
                raw = k == order or (gram[0] == BOS and k > 1)
                counts[gram] = count if raw else len(before[gram])
            once, twice = (sum(c == n for c in counts.values()) for n in (1, 2))
            self.counts.append(counts)
            self.discounts.append(once / (once + 2 * twice) if once and twice else 0.5)

    def prob(self, context, token):
        context = tuple(context[-(self.order - 1) :]) if context else ()
        lower = (
            self.prob(context[1:], token)
            if context
            else (0 if token == BOS else 1 / (self.size - 1))
        )
        k = len(context) + 1
        children = {g: c for g, c in self.counts[k].items() if g[:-1] == context}
        total = sum(children.values())
        if not total:
            return lower
        shares = {g: max(c - self.discounts[k], 0) / total for g, c in children.items()}
        return shares.get((*context, token), 0) + (1 - sum(shares.values())) * lower


@settings(deadline=None, max_examples=60)
@given(texts, st.integers(2, 5), st.lists(st.integers(A, 7), max_size=6))
def test_equals_the_slow_twin(sentences, order, text):
    model, slow = train(sentences, order, 8), Slow(sentences, order, 8)
    node, history = model.start(), [BOS]
    for token in [*text, EOS]:
        expected = [slow.prob(history, t) for t in range(8)]
        assert np.exp(model.row(node)) == pytest.approx(expected, abs=2 * ROUNDED)
        node = model.step(node, token)
        history.append(token)


@settings(deadline=None, max_examples=40)
@given(texts, st.integers(2, 5), st.integers(1, 4))
def test_what_follows_a_context_sums_to_one(sentences, order, min_count):
    model = train(sentences, order, 8, min_count)
    for node in np.flatnonzero(model.num_children):
        assert np.exp(model.row(int(node))).sum() == pytest.approx(1, abs=8 * ROUNDED)


def test_rare_ngrams_are_left_out():
    sentences = [[A, B, A], [A, B, A], [B, B, B, A]]
    all_ngrams, common = train(sentences, 3), train(sentences, 3, min_count=2)
    pairs = {(BOS, A), (A, B), (B, A), (A, EOS), (BOS, B), (B, B)}
    assert len(common.tokens) == 1 + SIZE + len(pairs) + len({(BOS, A, B), (A, B, A), (B, A, EOS)})
    assert len(all_ngrams.tokens) > len(common.tokens)
    node = common.step(common.step(common.start(), B), B)  # nothing is kept after <s> b or b b
    assert node == common.step(ROOT, B)


def test_no_text_and_no_order_are_refused():
    with pytest.raises(ConfigError, match="no text"):
        train([], 3)
    with pytest.raises(ConfigError, match="at least 2"):
        train([[A]], 1)


def test_a_file_gives_the_same_models(tmp_path):
    models = {"de": train([[A, B], [B]], 3), "el": train([[A]], 2)}
    path = tmp_path / "lm.safetensors"
    path.write_bytes(pack_ngrams(models))
    read = load_ngrams(path, BOS)
    assert list(read) == ["de", "el"]
    for code, model in models.items():
        assert read[code].vocabulary_size == SIZE
        assert read[code].log_prob([B, A, EOS]) == model.log_prob([B, A, EOS])


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "lm.safetensors"
    whole = pack_ngrams({"de": train([[A, B], [B]], 3)})
    path.write_bytes(whole[:-3])
    with pytest.raises(ModelError, match="broken"):
        load_ngrams(path, BOS)
    model = train([[A, B], [B]], 3)
    short = NgramModel(
        bos=BOS,
        tokens=model.tokens[:-1],
        num_children=model.num_children,
        log_probs=model.log_probs,
        backoffs=model.backoffs,
    )
    path.write_bytes(pack_ngrams({"de": short}))
    with pytest.raises(ModelError, match="arrays for 'de'"):
        load_ngrams(path, BOS)


def test_prefixes_are_scored_in_any_order_of_rows():
    models = [train([[A, B], [A, A]], 3), None, train([[B, B]], 2)]
    prefixes = NgramPrefixes.start(models, SIZE, EOS, torch.device("cpu"))
    rows, tokens = torch.tensor([2, 0, 0, 1]), torch.tensor([B, A, B, A])
    prefixes = prefixes.extend(rows, tokens)
    prefixes = prefixes.extend(torch.tensor([1, 0, 3, 1]), torch.tensor([B, B, A, A]))
    scores = prefixes.scores(torch.full((4, 1), EOS))[:, 0].tolist()
    expected = [
        models[0].log_prob([A, B, EOS]),
        models[2].log_prob([B, B, EOS]),
        0.0,
        models[0].log_prob([A, A, EOS]),
    ]
    assert scores == pytest.approx(expected, abs=1e-5)
