import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.audio import rms
from avsr.augmentation import loop_to_length, make_babble, mix_at_snr

RNG = np.random.default_rng(7)
SPEECH = (0.05 * RNG.normal(size=8000)).astype(np.float32)
NOISE = (0.2 * RNG.normal(size=3000)).astype(np.float32)


def measured_snr(mixed: np.ndarray, speech: np.ndarray) -> float:
    return 20 * np.log10(rms(speech) / rms(mixed - speech))


@pytest.mark.parametrize("snr_db", [-10.0, -5.0, 0.0, 0, 5.0, 10.0])
def test_the_snr_is_the_one_asked_for(snr_db):
    quiet = SPEECH * 0.2  # nothing clips
    mixed = mix_at_snr(quiet, NOISE, snr_db)
    assert mixed.dtype == np.float32
    assert measured_snr(mixed, quiet) == pytest.approx(snr_db, abs=0.01)


def test_none_is_clean_and_zero_is_not():
    np.testing.assert_array_equal(mix_at_snr(SPEECH, NOISE, None), SPEECH)
    assert rms(mix_at_snr(SPEECH, NOISE, 0.0) - SPEECH) == pytest.approx(rms(SPEECH), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-20, 20),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(0, 10_000),
    st.floats(0.001, 1.0),
)
def test_a_mix_is_a_scaled_sum(snr_db, num_speech, num_noise, offset, level):
    speech, noise = level * SPEECH[:num_speech] / 0.3, NOISE[:num_noise]
    mixed = mix_at_snr(speech, noise, snr_db, offset=offset).astype(np.float64)
    assert mixed.shape == speech.shape
    assert mixed.max() <= 32767 / 32768
    assert mixed.min() >= -1
    cut = loop_to_length(noise, num_speech, offset).astype(np.float64)
    total = speech + cut * rms(speech) / rms(cut) / 10 ** (snr_db / 20)
    loudest = max(total.max() * 32768 / 32767, -total.min(), 1.0)
    np.testing.assert_allclose(mixed, total / loudest, atol=1e-5)


def test_noise_is_looped_from_its_offset():
    noise = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(loop_to_length(noise, 5, offset=1), [2, 3, 1, 2, 3])
    np.testing.assert_array_equal(loop_to_length(noise, 2, offset=7), [2, 3])
    first, second = mix_at_snr(SPEECH, NOISE, 0.0), mix_at_snr(SPEECH, NOISE, 0.0, offset=100)
    assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize(
    ("speech", "noise"),
    [
        (np.zeros(500, np.float32), NOISE),
        (SPEECH, np.zeros(500, np.float32)),
        (SPEECH, np.zeros(0, np.float32)),
        (np.zeros(0, np.float32), NOISE),
    ],
)
def test_silence_is_left_alone(speech, noise):
    np.testing.assert_array_equal(mix_at_snr(speech, noise, 0.0), speech)


@pytest.mark.parametrize("speech", ["clean", "loud"])
@pytest.mark.parametrize("snr_db", [-10, 0, 5])
def test_equal_to_the_reference(reference_dir, speech, snr_db):
    with np.load(reference_dir / "noise_mix.npz") as arrays:
        mixed = mix_at_snr(arrays[speech] / 32768, arrays["noise"] / 32768, snr_db)
        expected = arrays[f"mixed_{speech}_snr{snr_db}"] / 32768
    # the reference drops the fraction of a 16-bit step
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=1.01 / 32768)


def test_babble_is_reproducible_and_as_long_as_asked():
    clips = [RNG.normal(size=n) * level for n, level in [(900, 0.1), (4000, 0.01), (50, 0.5)]]
    babble = make_babble(clips, 3000, np.random.default_rng(3))
    assert babble.shape == (3000,)
    assert babble.dtype == np.float32
    np.testing.assert_array_equal(babble, make_babble(clips, 3000, np.random.default_rng(3)))
    assert np.abs(babble - make_babble(clips, 3000, np.random.default_rng(4))).max() > 0


def test_every_talker_is_as_loud_as_the_others():
    times = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * hz * times) for hz in (100, 200, 400)]
    levels = (1.0, 0.1, 0.003)
    babble = make_babble(
        [tone * level for tone, level in zip(tones, levels, strict=True)],
        16_000,
        np.random.default_rng(0),
    )
    amplitudes = np.abs(np.fft.rfft(babble))[[100, 200, 400]]
    np.testing.assert_allclose(amplitudes, amplitudes[0], rtol=1e-3)


def test_silent_talkers_take_no_part():
    silence, talker = np.zeros(700), 0.1 * np.ones(700)
    np.testing.assert_allclose(
        make_babble([silence, talker], 100, np.random.default_rng(0)), 0.1, rtol=1e-6
    )
    for clips in ([], [silence], [np.zeros(0)]):
        assert not make_babble(clips, 100, np.random.default_rng(0)).any()
