import numpy as np
import pytest

from avsr.audio import audio_features, compute_fbank, stack_fbank
from avsr.audio import fbank as fbank_file
from avsr.audio.fbank import mel_filters, normalize_frames

CASES = ["exact_2s", "odd_21937", "silence_8000", "short_100", "half_silent"]


def plain_fbank(waveform: np.ndarray) -> np.ndarray:
    """The definition, one window at a time in double precision."""
    samples = waveform.astype(np.float64) * 32768
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    frames = 1 + max(0, int(np.ceil((len(samples) - 400) / 160)))
    padded = np.append(emphasised, np.zeros(400 + 160 * frames))
    rows = []
    for n in range(frames):
        power = np.abs(np.fft.rfft(padded[160 * n : 160 * n + 400], 512)) ** 2 / 512
        energies = power @ mel_filters().astype(np.float64)
        rows.append(np.log(np.where(energies == 0, np.finfo(float).eps, energies)))
    return np.array(rows)


@pytest.fixture(scope="module")
def numbers(reference_dir):
    with np.load(reference_dir / "audio_features.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_reference(numbers, case):
    waveform = numbers[f"{case}/wav_int16"].astype(np.float32) / 32768
    num_frames = int(numbers[f"{case}/n_video_frames"])
    fbank = compute_fbank(waveform)
    for ours, name in [
        (fbank, "logfbank_f64"),
        (stack_fbank(fbank), "stacked_f32"),
        (audio_features(waveform, num_frames), "layernorm_f32"),
        (audio_features(waveform), "layernorm_audio_only_f32"),
    ]:
        expected = numbers[f"{case}/{name}"]
        assert ours.shape == expected.shape
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [1, 2, 160, 399, 400, 401, 560, 561, 5000])
def test_equal_to_the_definition_at_any_length(num_samples):
    waveform = np.random.default_rng(num_samples).uniform(-1, 1, num_samples).astype(np.float32)
    expected = plain_fbank(waveform)
    fbank = compute_fbank(waveform)
    assert fbank.shape == expected.shape
    np.testing.assert_allclose(fbank, expected, rtol=0, atol=5e-5)


def test_blocks_leave_no_seam(monkeypatch):
    waveform = np.random.default_rng(0).uniform(-1, 1, 16_123).astype(np.float32)
    whole = compute_fbank(waveform)
    monkeypatch.setattr(fbank_file, "BLOCK", 7)
    np.testing.assert_allclose(compute_fbank(waveform), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("hz", [300, 1000, 4000])
def test_a_tone_is_loudest_in_its_band(hz):
    tone = 0.5 * np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000)
    band = int(compute_fbank(tone).mean(0).argmax())
    assert mel_filters()[round(hz * 512 / 16_000), band] > 0


def test_empty_waveform():
    assert compute_fbank(np.zeros(0, np.float32)).shape == (0, 26)
    assert audio_features(np.zeros(0, np.float32)).shape == (0, 104)
    assert not audio_features(np.zeros(0, np.float32), 3).any()


def test_the_length_of_the_video_decides():
    waveform = np.random.default_rng(1).uniform(-1, 1, 16_000).astype(np.float32)
    free = audio_features(waveform)
    assert free.shape == (25, 104)
    np.testing.assert_array_equal(audio_features(waveform, 10), free[:10])
    longer = audio_features(waveform, 30)
    np.testing.assert_array_equal(longer[:24], free[:24])
    assert not longer[25:].any()  # zeros stay zeros, as in the reference
    assert audio_features(waveform, 0).shape == (0, 104)


def test_stacking_puts_four_frames_side_by_side():
    fbank = np.arange(6 * 26, dtype=np.float32).reshape(6, 26)
    stacked = stack_fbank(fbank)
    assert stacked.shape == (2, 104)
    np.testing.assert_array_equal(stacked[0], fbank[:4].ravel())
    np.testing.assert_array_equal(stacked[1], np.append(fbank[4:].ravel(), np.zeros(52)))


def test_normalised_frames_have_mean_0_and_variance_1():
    frames = normalize_frames(np.random.default_rng(2).normal(12, 3, (9, 104)).astype(np.float32))
    np.testing.assert_allclose(frames.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(frames.std(1), 1, atol=1e-4)


@pytest.mark.parametrize("wrong", [np.zeros((1, 800), np.float32), np.zeros(800, np.int16)])
def test_what_is_no_waveform_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        compute_fbank(wrong)
