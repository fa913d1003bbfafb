import numpy as np
import pytest
from scipy import stats

from avsr.evaluation.bootstrap import draw_indices, interval, rate_draws, rate_intervals


def test_one_utterance_has_no_spread():
    assert rate_intervals({"de": [(1, 4)]}) == {"de": (0.25, 0.25), None: (0.25, 0.25)}


def test_the_same_utterances_are_drawn_each_time():
    np.testing.assert_array_equal(draw_indices(0, 10), draw_indices(0, 10))
    assert (draw_indices(0, 10) != draw_indices(1, 10)).any()
    assert draw_indices(0, 3, 50).shape == (50, 3)


def test_rates_are_sums_over_sums():
    counts = {"de": [(0, 10), (5, 10)], "el": [(1, 1)]}
    draws = rate_draws(counts)
    indices = draw_indices(0, 2)
    np.testing.assert_allclose(draws["de"], (indices == 1).sum(1) * 5 / 20)
    np.testing.assert_array_equal(draws["el"], 1.0)
    assert set(np.unique(draws["de"])) == {0.0, 0.25, 0.5}


def test_equals_scipys_percentile_bootstrap():
    rng = np.random.default_rng(5)
    errors, lengths = rng.integers(0, 4, 200), np.full(200, 6)
    ours = rate_intervals({"de": list(zip(errors, lengths, strict=True))})["de"]
    theirs = stats.bootstrap(
        (errors / 6,), np.mean, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.008)


def test_no_words_no_interval():
    assert rate_intervals({"de": [(1, 0)]})["de"] is None
    assert interval(np.array([0.0, np.nan])) is None


def test_the_interval_is_the_middle_95_percent():
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
