"""Beam search against enumeration, hand-written cases and itself.

More than 400 lines, because all of them share the two decoders made up here.
"""

import itertools
import math
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.errors import ConfigError
from avsr.search import CtcPrefixes, NgramModel, SearchOptions, beam_search

PAD, EOS, UNK = 1, 2, 3
NEG_INF = -math.inf
NO_LIMIT = 100  # hypotheses in tests are shorter


@dataclass
class Histories:
    """A decoder's state that is the whole history, so that a wrong row shows."""

    rows: list[tuple[int, tuple[int, ...]]]
    selected: list[int] = field(default_factory=list)

    def select(self, rows):
        assert rows.dtype == torch.int64
        histories = [self.rows[i] for i in rows.tolist()]
        return Histories(histories, [*self.selected, len(histories)])


class RandomDecoder:
    """Next-token log-probabilities that depend on utterance and history alone.

    Ids in `live` share the probability; all others have none.
    """

    def __init__(self, vocabulary, live, sharpness=2.0, eos_bias=0.0):
        self.vocabulary, self.live = vocabulary, list(live)
        self.sharpness, self.eos_bias = sharpness, eos_bias
        self.steps = 0

    def start(self, utterances):
        return Histories([(u, ()) for u in utterances])

    def log_probs(self, utterance, history):
        rng = np.random.default_rng([utterance, 77, *history])
        logits = np.full(self.vocabulary, NEG_INF)
        logits[self.live] = rng.normal(size=len(self.live)) * self.sharpness
        logits[EOS] += self.eos_bias
        return torch.from_numpy(logits).log_softmax(-1).float()

    def step(self, tokens, state):
        assert tokens.shape == (len(state.rows),)
        self.steps += 1
        rows = [(u, (*h, t)) for (u, h), t in zip(state.rows, tokens.tolist(), strict=True)]
        state = Histories(rows, state.selected)
        return torch.stack([self.log_probs(u, h) for u, h in rows]), state


class TableDecoder(RandomDecoder):
    """Next-token probabilities written by hand: history without sos -> {token: probability}."""

    def __init__(self, vocabulary, table):
        super().__init__(vocabulary, range(vocabulary))
        self.table = table

    def log_probs(self, utterance, history):
        probs = torch.zeros(self.vocabulary)
        for token, prob in self.table.get(history[1:], {}).items():
            probs[token] = prob
        return probs.log()


def search(
    decoder,
    utterances=(0,),
    limit=NO_LIMIT,
    ctc=None,
    ctc_lengths=None,
    blank=0,
    language_models=None,
    prefix_tokens=None,
    **options,
):
    limits = torch.tensor([limit] * len(utterances) if isinstance(limit, int) else limit)
    return beam_search(
        decoder.step,
        decoder.start(utterances),
        sos=EOS,
        eos=EOS,
        pad=PAD,
        max_lengths=limits,
        options=SearchOptions(**{"ctc_weight": 0.0, "nbest": 1, **options}),
        ctc_log_probs=ctc,
        ctc_lengths=ctc_lengths,
        blank=blank,
        language_models=language_models,
        unk=UNK,
        prefix_tokens=prefix_tokens,
    )


def random_lm(seed, vocabulary, live):
    texts = np.random.default_rng(seed).choice(live, (20, 5)).tolist()
    return NgramModel.train(texts, order=3, vocabulary_size=vocabulary, bos=0, eos=EOS)


def random_ctc(seed, num_frames, num_labels, live=None):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_frames, num_labels)) * 2
    if live is not None:
        dead = np.setdiff1d(np.arange(num_labels), live)
        logits[:, dead] = NEG_INF
    return torch.from_numpy(logits).log_softmax(-1).float()


def ctc_score(log_probs, tokens, blank):
    prefixes = CtcPrefixes.start(log_probs[None], None, blank)
    for token in tokens:
        prefixes = prefixes.extend(torch.tensor([0]), torch.tensor([token]))
    return float(prefixes.ends())


def repeats(tokens, size):
    """Whether `size` tokens in a row occur twice."""
    ngrams = [tokens[i : i + size] for i in range(len(tokens) - size + 1)]
    return len(set(ngrams)) < len(ngrams)


def enumerate_all(decoder, utterance, limit, options, ctc=None, blank=0, lm=None, beginning=()):
    """Every token sequence up to `limit`, ranked by its definition."""
    scored = []
    live = [v for v in decoder.live if v not in (EOS, PAD, blank if ctc is not None else PAD)]
    for length in range(options.min_len, limit + 1):
        for tokens in itertools.product(live, repeat=length):
            if tokens[: len(beginning)] != beginning:
                continue
            if options.no_repeat_ngram and repeats(tokens, options.no_repeat_ngram):
                continue
            history, by_token = (EOS,), []
            for token in (*tokens, EOS):
                log_probs = decoder.log_probs(utterance, history) / options.temperature
                by_token.append(float(log_probs.log_softmax(-1)[token]))
                by_token[-1] -= options.unk_penalty * (token == UNK)
                history = (*history, token)
            score = sum(by_token)
            if ctc is not None:
                weight = options.ctc_weight
                score = (1 - weight) * score + weight * ctc_score(ctc, tokens, blank)
            if lm is not None:
                score += options.lm_weight * lm.log_prob([*tokens, EOS])
            score = score / (length + 1) ** options.length_penalty
            scored.append((score + options.length_bonus * (length + 1), tokens, by_token))
    scored = [f for f in scored if f[0] > NEG_INF]
    return sorted(scored, key=lambda f: -f[0])


# Only 3 of 200 ids are alive, so a beam of 150 holds every sequence of up to 4 tokens, even
# though a beam is never wider than V - 1.
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_penalty": 1.0},
        {"length_penalty": 0.6, "length_bonus": 0.5},
        {"length_bonus": 3.0},
        {"length_bonus": -1.0, "min_len": 0},
        {"min_len": 3},
        {"ctc_weight": 0.3},
        {"ctc_weight": 1.0, "min_len": 0},
        {"ctc_weight": 0.5, "length_penalty": 1.0, "length_bonus": 0.2},
        {"lm_weight": 0.7, "length_bonus": 0.9},
        {"lm_weight": 2.0, "ctc_weight": 0.3, "length_penalty": 0.5, "min_len": 0},
        {"temperature": 3.0},
        {"temperature": 0.4, "length_penalty": 1.0},
        {"unk_penalty": 1.5},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2, "length_bonus": 2.0},
        {"no_repeat_ngram": 3, "length_bonus": 2.0},
        {"beginning": (60,)},
        {"beginning": (199, UNK), "min_len": 0, "length_penalty": 1.0},
        {"beginning": (UNK,), "temperature": 2.0, "unk_penalty": 0.5, "no_repeat_ngram": 1}
        | {"ctc_weight": 0.3, "lm_weight": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("nbest", [1, 6])
def test_equals_enumeration_of_all_sequences(options, nbest):
    live = [UNK, 60, 199]
    decoder = RandomDecoder(200, [*live, EOS])
    beginning = options.get("beginning", ())
    options = {key: value for key, value in options.items() if key != "beginning"}
    options = {"ctc_weight": 0.0, **options, "beam_size": 150, "nbest": nbest}
    search_options = SearchOptions(**options)
    for utterance in range(3):
        # The blank has a row of its own behind the vocabulary.
        ctc = random_ctc(utterance, 6, 201, [*live, 200]) if search_options.ctc_weight else None
        lm = random_lm(utterance, 200, live) if search_options.lm_weight else None
        expected = enumerate_all(
            decoder, utterance, 4, search_options, ctc, blank=200, lm=lm, beginning=beginning
        )[:nbest]
        (results,) = search(
            decoder,
            [utterance],
            limit=4,
            ctc=None if ctc is None else ctc[None],
            blank=200,
            language_models=[lm],
            prefix_tokens=[beginning],
            **options,
        )
        assert [h.tokens for h in results] == [tokens for _, tokens, _ in expected]
        for hypothesis, (score, tokens, by_token) in zip(results, expected, strict=True):
            assert hypothesis.score == pytest.approx(score, abs=1e-5)
            assert hypothesis.token_scores == pytest.approx(by_token, abs=1e-5)
            assert hypothesis.attention_score == pytest.approx(sum(by_token), abs=1e-5)
            if ctc is None:
                assert hypothesis.ctc_score is None
            else:
                assert hypothesis.ctc_score == pytest.approx(ctc_score(ctc, tokens, 200), abs=1e-5)
            if lm is None:
                assert hypothesis.lm_score in (None, 0.0)
            else:
                assert hypothesis.lm_score == pytest.approx(lm.log_prob([*tokens, EOS]), abs=1e-5)


def assert_same(results, expected):
    assert len(results) == len(expected)
    for hypotheses, others in zip(results, expected, strict=True):
        assert [h.tokens for h in hypotheses] == [h.tokens for h in others]
        for a, b in zip(hypotheses, others, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-6)
            assert a.token_scores == pytest.approx(b.token_scores, abs=1e-6)
            assert a.ctc_score == pytest.approx(b.ctc_score, abs=1e-5)
            assert a.lm_score == pytest.approx(b.lm_score, abs=1e-6)


CONSTRAINTS = {"temperature": 1.4, "unk_penalty": 0.8, "no_repeat_ngram": 2}


@pytest.mark.parametrize("nbest", [1, 4])
@pytest.mark.parametrize(
    ("ctc_weight", "lm_weight", "more"),
    [(0.0, 0.0, {}), (0.3, 0.0, {}), (0.3, 0.6, {}), (0.0, 0.0, CONSTRAINTS)],
)
def test_batch_equals_one_by_one(ctc_weight, lm_weight, more, nbest):
    decoder = RandomDecoder(12, range(12), eos_bias=-1.0)
    lengths, limits = [9, 2, 5, 7, 1, 9, 4], [9, 2, 15, 7, 1, 3, 0]
    ctc = torch.full((7, 9, 12), math.nan)  # the padding must not matter
    for i, length in enumerate(lengths):
        ctc[i, :length] = random_ctc(i, length, 12)
    options = {"beam_size": 4, "nbest": nbest, "ctc_weight": ctc_weight, "ctc_candidates": 6}
    options |= {"lm_weight": lm_weight, **more}
    prefix_tokens = [(), (5, 5, 7, 4), (3,), (), (9, 4), (6, 6, 6, 8), (7,)] if more else None
    lms = [random_lm(i, 12, range(3, 12)) if i != 2 else None for i in range(7)]
    together = search(
        decoder,
        range(7),
        limits,
        ctc,
        torch.tensor(lengths),
        language_models=lms,
        prefix_tokens=prefix_tokens,
        **options,
    )
    alone = [
        search(
            decoder,
            [i],
            limits[i],
            ctc[i : i + 1, :length],
            language_models=[lms[i]],
            prefix_tokens=prefix_tokens and [prefix_tokens[i]],
            **options,
        )[0]
        for i, length in enumerate(lengths)
    ]
    assert_same(together, alone)
    for i, results in enumerate(together if more else []):  # a beginning is cut to the limit
        for h in results:
            assert h.tokens[: len(prefix_tokens[i])] == prefix_tokens[i][: limits[i]]


def test_utterances_leave_the_batch_when_half_of_them_are_done():
    decoder = RandomDecoder(12, range(12), eos_bias=-9.0)
    sizes = []

    def step(tokens, state):
        sizes.append(len(tokens))
        return decoder.step(tokens, state)

    beam_search(
        step,
        decoder.start(range(4)),
        sos=EOS,
        eos=EOS,
        pad=PAD,
        max_lengths=torch.tensor([1, 2, 4, 6]),
        options=SearchOptions(beam_size=3, ctc_weight=0.0),
    )
    assert sizes == [4, 12, 12, 6, 6, 3, 3]


def test_a_beam_that_attention_alone_would_miss_is_found_with_ctc():
    table = {(): {3: 0.6, 4: 0.4}, (3,): {EOS: 1.0}, (4,): {EOS: 1.0}}
    ctc = torch.tensor([[0.1, 1e-9, 1e-9, 0.1, 0.8]]).log()[None]
    decoder = TableDecoder(5, table)
    assert search(decoder, beam_size=2)[0][0].tokens == (3,)
    (best,) = search(decoder, ctc=ctc, beam_size=2, ctc_weight=0.5)[0]
    assert best.tokens == (4,)
    assert best.score == pytest.approx(0.5 * math.log(0.4) + 0.5 * math.log(0.8), abs=1e-5)


# Hand-written cases of the reference's semantics (no CTC). Tokens 3 and 4, and 5 which never comes.


def test_score_is_the_mean_log_probability_and_counts_eos():
    table = {(): {3: 0.5, 4: 0.5}, (3,): {EOS: 0.5, 4: 0.5}, (4,): {3: 1.0}}
    table |= {(3, 4): {EOS: 1.0}, (4, 3): {EOS: 1.0}}
    (results,) = search(TableDecoder(6, table), beam_size=3, nbest=3, length_penalty=1.0)
    assert [h.tokens for h in results] == [(4, 3), (3, 4), (3,)]
    half = math.log(0.5)
    assert [h.score for h in results] == pytest.approx([half / 3, 2 * half / 3, 2 * half / 2])
    assert results[0].token_scores == pytest.approx([half, 0.0, 0.0])


def test_the_first_token_is_not_eos_unless_min_len_is_zero():
    table = {(): {EOS: 0.9, 3: 0.1}, (3,): {EOS: 1.0}}
    assert search(TableDecoder(5, table))[0][0].tokens == (3,)
    (best,) = search(TableDecoder(5, table), min_len=0)[0]
    assert best.tokens == ()
    assert best.score == pytest.approx(math.log(0.9))


def test_eos_outside_of_the_first_beam_candidates_does_not_finish():
    # With beam 1, "3" goes on with 4: its eos is second and lost, "3 4" ends for certain.
    table = {(): {3: 0.7, 4: 0.3}, (3,): {EOS: 0.4, 4: 0.6}, (3, 4): {EOS: 1.0}}
    (results,) = search(TableDecoder(6, table), beam_size=1)
    assert [h.tokens for h in results] == [(3, 4)]
    # With beam 2 the eos is among the first two.
    (results,) = search(TableDecoder(6, table), beam_size=2, nbest=2)
    assert [h.tokens for h in results] == [(3, 4), (3,)]


def test_it_stops_when_beam_hypotheses_have_finished():
    # Two finish after one token, before the better "5 3" (by mean) can: it is not waited for.
    table = {
        (): {3: 0.4, 4: 0.4, 5: 0.2},
        (3,): {EOS: 1.0},
        (4,): {EOS: 1.0},
        (5,): {3: 1.0},
        (5, 3): {EOS: 1.0},
    }
    decoder = TableDecoder(7, table)
    (results,) = search(decoder, beam_size=2, nbest=2, length_penalty=5.0)
    assert {h.tokens for h in results} == {(3,), (4,)}
    assert decoder.steps == 2
    (results,) = search(decoder, beam_size=3, nbest=3, length_penalty=5.0)
    assert results[0].tokens == (5, 3)


def test_it_stops_early_only_when_the_nbest_can_no_longer_change():
    table = {(): {3: 0.9, 4: 0.1}, (3,): {EOS: 0.9, 3: 0.1}, (4,): {4: 1.0}, (4, 4): {4: 1.0}}
    decoder = TableDecoder(6, table)
    (results,) = search(decoder, beam_size=3)
    assert (results[0].tokens, decoder.steps) == ((3,), 2)
    # Divided by its length to the fifth a long hypothesis could still beat it.
    decoder = TableDecoder(6, table)
    search(decoder, beam_size=3, length_penalty=5.0, limit=7)
    assert decoder.steps == 4  # here the last live hypothesis dies


def test_pad_is_never_chosen():
    table = {(): {PAD: 0.9, 3: 0.1}, (3,): {PAD: 0.6, EOS: 0.4}}
    (best,) = search(TableDecoder(5, table))[0]
    assert best.tokens == (3,)


def test_at_the_limit_eos_is_forced_and_keeps_its_own_score():
    table = {(): {3: 1.0}, (3,): {3: 1.0}, (3, 3): {3: 0.75, EOS: 0.25}}
    (best,) = search(TableDecoder(5, table), limit=2)[0]
    assert best.tokens == (3, 3)
    assert best.token_scores == pytest.approx([0.0, 0.0, math.log(0.25)])


def test_each_utterance_has_its_own_limit():
    decoder = RandomDecoder(8, range(8), eos_bias=-20.0)
    results = search(decoder, range(4), limit=[3, 0, 5, 1])
    assert [len(hypotheses[0].tokens) for hypotheses in results] == [3, 0, 5, 1]


def test_the_beam_is_at_most_the_vocabulary_without_pad():
    decoder = RandomDecoder(5, range(5))
    (results,) = search(decoder, beam_size=50, nbest=50, limit=6)
    assert len(results) == 4
    assert_same([results], search(decoder, beam_size=4, nbest=4, limit=6))


def test_bonus_makes_hypotheses_longer():
    decoder = RandomDecoder(8, range(8))
    lengths = [
        len(search(decoder, beam_size=7, length_bonus=bonus, limit=6)[0][0].tokens)
        for bonus in (-5.0, 0.0, 5.0)
    ]
    assert lengths[0] <= lengths[1] <= lengths[2]
    assert lengths[0] < lengths[2]


# Scores of minus infinity


def test_nothing_that_can_finish_gives_an_empty_hypothesis():
    (results,) = search(TableDecoder(5, {(): {3: 1.0}}), limit=3)  # a dead end behind 3
    assert [(h.tokens, h.score) for h in results] == [((), NEG_INF)]
    assert results[0].token_scores == (NEG_INF,)


@pytest.mark.parametrize("num_frames", [0, 1, 2])
def test_fewer_frames_than_tokens_shortens_the_hypothesis(num_frames):
    decoder = RandomDecoder(6, range(6), eos_bias=-30.0)  # attention wants to go on for ever
    ctc = random_ctc(1, num_frames, 6)[None]
    (best,) = search(decoder, ctc=ctc, ctc_weight=0.3, limit=10)[0]
    assert len(best.tokens) <= num_frames
    assert not math.isnan(best.score)
    assert (best.score > NEG_INF) == (num_frames > 0)  # one token at least is asked for


def test_no_ctc_frames_and_no_tokens():
    decoder = RandomDecoder(6, range(6))
    (best,) = search(decoder, ctc=torch.zeros(1, 0, 6), ctc_weight=0.3, min_len=0)[0]
    assert (best.tokens, best.ctc_score) == ((), 0.0)


def test_the_blank_is_in_no_hypothesis():
    decoder = RandomDecoder(4, [0, 3, EOS], eos_bias=-1.0)
    ctc = random_ctc(0, 8, 4)[None]
    (results,) = search(decoder, ctc=ctc, ctc_weight=0.2, blank=0, beam_size=3, nbest=3, limit=5)
    assert {token for h in results for token in h.tokens} == {3}


def test_no_utterances():
    decoder = RandomDecoder(4, range(4))
    assert search(decoder, [], []) == []


def test_ctc_weight_without_ctc_scores_is_refused():
    with pytest.raises(ConfigError, match="set ctc_weight to 0"):
        search(RandomDecoder(4, range(4)), ctc_weight=0.1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    vocabulary=st.integers(4, 12),
    limit=st.integers(0, 6),
    num_frames=st.integers(0, 8),
    beam_size=st.integers(1, 8),
    ctc_weight=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    length_penalty=st.sampled_from([0.0, 0.7, 1.0]),
    length_bonus=st.sampled_from([-0.5, 0.0, 1.0]),
    min_len=st.integers(0, 3),
    ctc_candidates=st.integers(1, 12),
)
def test_scores_are_what_the_options_say(seed, vocabulary, limit, num_frames, **options):
    decoder = RandomDecoder(vocabulary, range(vocabulary))
    ctc = random_ctc(seed, num_frames, vocabulary)
    weight = options["ctc_weight"]
    nbest = options["beam_size"]
    (results,) = search(decoder, [seed], limit, ctc[None], nbest=nbest, **options)
    assert 1 <= len(results) <= options["beam_size"]
    assert [h.score for h in results] == sorted((h.score for h in results), reverse=True)
    assert len({h.tokens for h in results}) == len(results)
    (best,) = search(decoder, [seed], limit, ctc[None], nbest=1, **options)[0]
    assert best == results[0]
    for h in results:
        assert not math.isnan(h.score)
        if h.score == NEG_INF:
            continue
        assert min(options["min_len"], limit) <= len(h.tokens) <= limit
        assert not {PAD, EOS} & set(h.tokens)
        length = len(h.tokens) + 1
        assert len(h.token_scores) == length
        history, by_token = (EOS,), []
        for token in (*h.tokens, EOS):
            by_token.append(float(decoder.log_probs(seed, history)[token]))
            history = (*history, token)
        assert h.token_scores == pytest.approx(by_token, abs=1e-5)
        score = (1 - weight) * sum(by_token)
        if weight:
            assert h.ctc_score == pytest.approx(ctc_score(ctc, h.tokens, 0), abs=1e-4)
            score += weight * h.ctc_score
        score = score / length ** options["length_penalty"] + options["length_bonus"] * length
        assert h.score == pytest.approx(score, abs=1e-4)


def test_tokens_that_would_repeat_are_passed_over():
    table = {(): {3: 1.0}, (3,): {4: 1.0}, (3, 4): {3: 1.0}, (3, 4, 3): {4: 0.9, EOS: 0.1}}
    table[3, 4, 3, 4] = {EOS: 1.0}
    (best,) = search(TableDecoder(6, table))[0]
    assert best.tokens == (3, 4, 3, 4)
    (best,) = search(TableDecoder(6, table), no_repeat_ngram=2)[0]
    assert best.tokens == (3, 4, 3)
    assert best.score == pytest.approx(math.log(0.1))
    # A forced beginning may repeat; what it holds counts for what follows.
    (best,) = search(TableDecoder(6, table), no_repeat_ngram=2, prefix_tokens=[(3, 4, 3, 4)])[0]
    assert best.tokens == (3, 4, 3, 4)


def test_wrong_prefix_tokens_are_refused():
    decoder = RandomDecoder(6, range(6))
    for tokens in ((3, EOS), (PAD,)):
        with pytest.raises(ConfigError, match="no hypothesis can begin with"):
            search(decoder, prefix_tokens=[tokens])
    assert search(decoder, prefix_tokens=[(0,)])[0][0].tokens[0] == 0
    with pytest.raises(ConfigError, match=r"no hypothesis can begin with \[0\]"):
        search(decoder, ctc=torch.zeros(1, 9, 6), ctc_weight=0.5, prefix_tokens=[(0,)])


class Uniform:
    """A decoder that costs next to nothing."""

    def select(self, rows):
        return self


def test_the_search_itself_is_quick():
    vocabulary, num_frames, limit = 1000, 250, 20
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(limit + 1, 5, vocabulary, generator=generator).log_softmax(-1)
    tables[..., EOS] = -50.0
    ctc = (torch.randn(1, num_frames, vocabulary, generator=generator) * 2).log_softmax(-1)
    seconds = []
    for _ in range(3):
        rows = iter(tables)
        start = time.perf_counter()
        beam_search(
            lambda tokens, state, rows=rows: (next(rows)[: len(tokens)], state),
            Uniform(),
            sos=EOS,
            eos=EOS,
            pad=PAD,
            max_lengths=torch.tensor([limit]),
            options=SearchOptions(beam_size=5),
            ctc_log_probs=ctc,
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0  # 0.03 s on an idle core; the machine may be busy
