"""The filterbank of ECAPA: compared with speechbrain's numbers, and with a plain definition."""

from itertools import pairwise

import numpy as np
import pytest

from avsr.audio.mel_decibels import compute_mel_decibels, hamming_window, mel_triangles


def plain_decibels(waveform: np.ndarray, num_filters: int) -> np.ndarray:
    """The definition, one window at a time in double precision."""
    padded = np.concatenate([np.zeros(200), waveform.astype(np.float64), np.zeros(200)])
    window = np.array([0.54 - 0.46 * np.cos(2 * np.pi * n / 400) for n in range(400)])
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), num_filters + 2)
    hz = 700 * (10 ** (mels / 2595) - 1)
    rows = []
    for first in range(0, len(waveform) + 1, 160):
        power = np.abs(np.fft.rfft(padded[first : first + 400] * window)) ** 2
        row = []
        for left, centre in pairwise(hz[:-1]):
            slope = 1 - np.abs(40.0 * np.arange(201) - centre) / (centre - left)
            row.append(power @ np.maximum(0, slope))
        rows.append(10 * np.log10(np.maximum(row, 1e-10)))
    decibels = np.array(rows)
    return np.maximum(decibels, decibels.max() - 80)


@pytest.mark.parametrize("samples", [0, 639, 640, 8000])
def test_equal_to_the_definition(samples):
    random = np.random.default_rng(samples)
    waveform = random.normal(0, 0.1, samples).astype(np.float32)
    waveform[samples // 2 : samples // 2 + 2000] = 0.0  # the floor
    expected = plain_decibels(waveform, 60)
    decibels = compute_mel_decibels(waveform, 60)
    assert decibels.dtype == np.float32
    assert decibels.shape == (1 + samples // 160, 60)
    np.testing.assert_allclose(decibels, expected, atol=5e-3)


def test_other_input_is_refused():
    for waveform in (np.zeros((2, 800), np.float32), np.zeros(800, np.int16)):
        with pytest.raises(ValueError, match="waveform must be"):
            compute_mel_decibels(waveform, 60)


@pytest.fixture(scope="module")
def folder(reference_dir):
    folder = reference_dir / "voxlingua107"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    return folder


def test_equal_to_the_reference(folder):
    inputs, stages = np.load(folder / "inputs.npz"), np.load(folder / "small_stages.npz")
    np.testing.assert_allclose(hamming_window(), stages["window"], atol=1e-6)
    np.testing.assert_allclose(mel_triangles(60), stages["mel_filters"], atol=1e-4)
    clips = [name.removesuffix("/fbank") for name in stages.files if name.endswith("/fbank")]
    assert len(clips) == 8  # one is a batch
    for clip in clips:
        rows, expected = inputs[clip], stages[f"{clip}/fbank"]
        for row, fbank in zip(
            np.atleast_2d(rows), expected.reshape(-1, *expected.shape[-2:]), strict=True
        ):
            decibels = compute_mel_decibels(row.astype(np.float32) / 32768, 60)
            np.testing.assert_allclose(decibels, fbank, atol=5e-3, err_msg=clip)
    waveform = inputs["half_second"].astype(np.float32) / 32768
    expected = stages["fbank80/half_second"]
    np.testing.assert_allclose(compute_mel_decibels(waveform, 80), expected, atol=5e-3)
