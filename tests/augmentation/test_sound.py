"""Spans of sound that are lost, and how far sound in noise can be trusted."""

import numpy as np
import pytest

from avsr.augmentation.sound import drop_sound, sound_reliability


@pytest.mark.parametrize(
    ("snr_db", "expected"), [(-40, 0), (-10, 0), (-5, 0.25), (0, 0.5), (10, 1), (30, 1)]
)
def test_noise_takes_reliability(snr_db, expected):
    assert sound_reliability(snr_db) == pytest.approx(expected)


def test_lost_spans_are_silence_or_louder_than_speech():
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.05, 640 * 100 + 100).astype(np.float32)
    before, kinds = speech.copy(), set()
    for seed in range(20):
        out, lost = drop_sound(speech, np.random.default_rng(seed))
        assert out.shape == speech.shape
        assert out.dtype == np.float32
        assert lost.shape == (101,)
        assert np.abs(out).max() <= 1
        for frame in range(100):
            span = slice(640 * frame, 640 * frame + 640)
            if not lost[frame]:
                assert (out[span] == speech[span]).mean() >= 0.5
            else:
                changed = out[span][out[span] != speech[span]]
                kinds.add("silence" if not changed.any() else "noise")
        assert 5 <= lost.sum() <= 100
    np.testing.assert_array_equal(speech, before)
    assert kinds == {"silence", "noise"}


@pytest.mark.parametrize("samples", [1, 500, 640])
def test_short_sounds_are_lost_as_a_whole(samples):
    out, lost = drop_sound(np.zeros(samples, np.float32), np.random.default_rng(0))
    assert len(out) == samples
    assert lost.tolist() == [samples > 320]
