import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.search import CtcPrefixes

NEG_INF = -math.inf


def random_log_probs(seed, num_frames, num_labels, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(num_frames, num_labels)) * sharpness)
    return logits.log_softmax(-1).float()


def collapse(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def brute_force(log_probs, blank):
    """All token sequences with the log of the summed probability of their alignments."""
    totals = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        score = sum(float(log_probs[t, label]) for t, label in enumerate(path))
        tokens = collapse(path, blank)
        totals[tokens] = np.logaddexp(totals.get(tokens, NEG_INF), score)
    return totals


def prefix_score(totals, prefix):
    scores = [s for tokens, s in totals.items() if tokens[: len(prefix)] == prefix]
    return float(np.logaddexp.reduce(scores)) if scores else NEG_INF


def walk(prefixes, tokens):
    for token in tokens:
        prefixes = prefixes.extend(torch.tensor([0]), torch.tensor([token]))
    return prefixes


@pytest.mark.parametrize(("num_frames", "blank"), [(1, 0), (2, 3), (5, 0), (5, 2), (5, 3)])
def test_scores_equal_sums_over_alignments(num_frames, blank):
    log_probs = random_log_probs(num_frames, num_frames, 4)
    totals = brute_force(log_probs, blank)
    labels = [v for v in range(4) if v != blank]
    start = CtcPrefixes.start(log_probs[None], None, blank)
    for length in range(4):
        for prefix in itertools.product(labels, repeat=length):
            prefixes = walk(start, prefix)
            expected = totals.get(prefix, NEG_INF)
            assert float(prefixes.ends()) == pytest.approx(expected, abs=1e-5)
            scores = prefixes.scores(torch.tensor([labels]))[0].tolist()
            expected = [prefix_score(totals, (*prefix, v)) for v in labels]
            assert scores == pytest.approx(expected, abs=1e-5)


def test_blank_is_never_a_token():
    start = CtcPrefixes.start(random_log_probs(0, 4, 3)[None], None, blank=1)
    assert start.scores(torch.tensor([[1]])).item() == NEG_INF


def test_padding_does_not_matter():
    lengths = [5, 0, 3, 1]
    batch = torch.full((4, 5, 4), math.nan)
    for i, length in enumerate(lengths):
        batch[i, :length] = random_log_probs(i, length, 4)
    together = CtcPrefixes.start(batch, torch.tensor(lengths), 0)
    alone = [CtcPrefixes.start(batch[i : i + 1, :n], None, 0) for i, n in enumerate(lengths)]
    tokens = torch.tensor([[1, 2, 3]])
    for token in (2, 2, 1):
        expected = torch.cat([prefixes.scores(tokens) for prefixes in alone])
        torch.testing.assert_close(together.scores(tokens.expand(4, -1)), expected)
        expected = torch.cat([prefixes.ends() for prefixes in alone])
        torch.testing.assert_close(together.ends(), expected)
        together = together.extend(torch.arange(4), torch.full((4,), token))
        alone = [walk(prefixes, [token]) for prefixes in alone]


def test_rows_can_be_repeated_dropped_and_mixed():
    log_probs = torch.stack([random_log_probs(seed, 6, 4) for seed in (0, 1)])
    start = CtcPrefixes.start(log_probs, None, 0)
    prefixes = start.extend(torch.tensor([1, 1, 0]), torch.tensor([1, 2, 3]))
    prefixes = prefixes.extend(torch.tensor([2, 0]), torch.tensor([3, 2]))
    for row, (utterance, tokens) in enumerate([(0, [3, 3]), (1, [1, 2])]):
        expected = walk(CtcPrefixes.start(log_probs[utterance, None], None, 0), tokens).ends()
        torch.testing.assert_close(prefixes.ends()[row], expected[0])


def test_impossible_frames_give_no_nan():
    log_probs = random_log_probs(3, 6, 4)
    log_probs[2] = torch.tensor([NEG_INF, NEG_INF, 0.0, NEG_INF])  # token 2, nothing else
    log_probs[4, 0] = NEG_INF
    log_probs = log_probs.log_softmax(-1)
    totals = brute_force(log_probs, 0)
    start = CtcPrefixes.start(log_probs[None], None, 0)
    for prefix in [(), (1,), (2,), (1, 2), (1, 3), (2, 2), (3, 2, 1), (1, 1, 1, 1)]:
        prefixes = walk(start, prefix)
        expected = totals.get(prefix, NEG_INF)
        assert float(prefixes.ends()) == pytest.approx(expected, abs=1e-4)
        scores = prefixes.scores(torch.tensor([[1, 2, 3]]))[0].tolist()
        expected = [prefix_score(totals, (*prefix, v)) for v in (1, 2, 3)]
        assert scores == pytest.approx(expected, abs=1e-4)


def test_long_and_sharp_equals_torch_ctc_loss():
    """Sums over 2,000 frames of very unlikely labels lose no digits."""
    log_probs = random_log_probs(9, 2000, 30, sharpness=40.0)
    tokens = np.random.default_rng(9).integers(1, 30, 60).tolist()
    loss = torch.nn.functional.ctc_loss(
        log_probs[:, None].double(),
        torch.tensor([tokens]),
        torch.tensor([2000]),
        torch.tensor([60]),
        reduction="sum",
    )
    score = walk(CtcPrefixes.start(log_probs[None], None, 0), tokens).ends()
    assert float(score) == pytest.approx(-float(loss), rel=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    num_frames=st.integers(0, 12),
    sharpness=st.floats(0.1, 30.0),
    prefix=st.lists(st.integers(1, 4), max_size=6),
)
def test_extensions_and_end_share_out_the_prefix(seed, num_frames, sharpness, prefix):
    """A prefix either ends or goes on: the scores of both sum to its own."""
    log_probs = random_log_probs(seed, num_frames, 5, sharpness)
    prefixes = CtcPrefixes.start(log_probs[None], None, 0)
    score_of_prefix = torch.zeros(())
    for token in prefix:
        score_of_prefix = prefixes.scores(torch.tensor([[token]])).squeeze()
        prefixes = walk(prefixes, [token])
    parts = torch.cat([prefixes.ends(), prefixes.scores(torch.tensor([[1, 2, 3, 4]]))[0]])
    assert not parts.isnan().any()
    # The inputs are float32, so a frame's probabilities sum to 1 within 1e-6 only.
    torch.testing.assert_close(parts.logsumexp(0), score_of_prefix.double(), atol=1e-5, rtol=1e-5)
