import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.search import align

BLANK = 0


def planted(path, num_labels, peak=0.9):
    probs = torch.full((len(path), num_labels), (1 - peak) / (num_labels - 1))
    probs[torch.arange(len(path)), torch.tensor(path)] = peak
    return probs.log()


def test_a_planted_path_is_found():
    path = [0, 0, 3, 3, 0, 3, 1, 1, 1, 2, 0]
    spans = align(planted(path, 5), [3, 3, 1, 2], BLANK)
    assert [(s.start_frame, s.end_frame) for s in spans] == [(2, 4), (5, 6), (6, 9), (9, 10)]
    assert [s.confidence for s in spans] == pytest.approx([0.9] * 4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(path=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_any_planted_path_is_found(path):
    runs = [(label, len(list(group))) for label, group in itertools.groupby(path)]
    tokens, expected, frame = [], [], 0
    for label, length in runs:
        if label != BLANK:
            tokens.append(label)
            expected.append((frame, frame + length))
        frame += length
    spans = align(planted(path, 5), tokens, BLANK)
    assert [(s.start_frame, s.end_frame) for s in spans] == expected


def test_the_best_of_all_paths_is_taken():
    rng = np.random.default_rng(5)
    for blank in (0, 3):
        tokens = [1, 1, 2] if blank == 0 else [0, 2, 2]
        log_probs = torch.from_numpy(rng.normal(size=(6, 4)) * 2).log_softmax(-1)
        best = max(
            (
                (sum(float(log_probs[t, v]) for t, v in enumerate(path)), path)
                for path in itertools.product(range(4), repeat=6)
                if [v for v, _ in itertools.groupby(path) if v != blank] == tokens
            ),
        )[1]
        spans = align(log_probs, tokens, blank)
        best_path = [blank] * 6
        for token, span in zip(tokens, spans, strict=True):
            best_path[span.start_frame : span.end_frame] = [token] * (
                span.end_frame - span.start_frame
            )
        assert tuple(best_path) == best


def test_confidence_is_the_mean_probability():
    log_probs = torch.tensor([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]]).log()
    (span,) = align(log_probs, [1], BLANK)
    assert span[:2] == (0, 2)
    assert span.confidence == pytest.approx(0.8)


def test_no_path_is_none():
    log_probs = planted([1, 0], 3)
    assert align(log_probs, [1, 1], BLANK) is None  # would need three frames
    assert align(log_probs, [1, 2, 1], BLANK) is None
    assert align(log_probs[:0], [1], BLANK) is None
    log_probs[:, 2] = -math.inf
    assert align(log_probs, [2], BLANK) is None


def test_no_tokens_no_spans():
    assert align(planted([0, 0], 3), [], BLANK) == []


def test_exactly_as_many_frames_as_tokens():
    spans = align(planted([0, 0, 0], 4), [1, 2, 3], BLANK)
    assert [s[:2] for s in spans] == [(0, 1), (1, 2), (2, 3)]
