import numpy as np
import pytest

from avsr.audio import rms
from avsr.augmentation.world import (
    BREATH,
    FORMANT,
    PITCH,
    TARGET_PITCH,
    TEMPO,
    VoiceChange,
    analyze_voice,
)

pytest.importorskip("pyworld")
RATE = 16_000


@pytest.fixture(scope="module")
def vowel():
    """One second of a vowel: pulses of 120 Hz through resonances at 700 and 1,200 Hz."""
    spectrum = np.zeros(RATE // 2 + 1)
    harmonics = np.arange(120, 8000, 120)
    gain = sum(1 / (1 + ((harmonics - centre) / 90) ** 2) for centre in (700, 1200))
    spectrum[harmonics] = gain + 0.01
    waveform = np.fft.irfft(spectrum * np.exp(1j * harmonics_phase(len(spectrum))))
    waveform += np.random.default_rng(0).normal(0, 1e-6, RATE)
    return (waveform * 0.1 / rms(waveform)).astype(np.float32)


def harmonics_phase(bins):
    return np.random.default_rng(1).uniform(0, 0.3, bins)


@pytest.fixture(scope="module")
def voice(vowel):
    return analyze_voice(vowel)


def formant(waveform):
    """Frequency of the loudest harmonic within the first resonance, smoothed."""
    spectrum = np.abs(np.fft.rfft(waveform[2000:-2000], RATE))
    smooth = np.convolve(spectrum, np.hanning(301), "same")
    return 300 + int(np.argmax(smooth[300:1000]))


def test_the_pitch_is_found_and_multiplied(voice):
    assert voice.mean_pitch == pytest.approx(120, abs=1)
    for factor in (0.7, 1.0, 1.6):
        changed = analyze_voice(VoiceChange(pitch=factor).apply(voice))
        assert changed.mean_pitch == pytest.approx(120 * factor, rel=0.02)


def test_formants_move_and_the_pitch_stays(voice):
    plain = formant(VoiceChange().apply(voice))
    changed = VoiceChange(formant=1.2).apply(voice)
    assert formant(changed) / plain == pytest.approx(1.2, abs=0.08)
    assert analyze_voice(changed).mean_pitch == pytest.approx(120, rel=0.02)


@pytest.mark.parametrize("tempo", [0.8, 1.0, 1.25])
def test_the_tempo_changes_the_duration(voice, tempo):
    assert len(VoiceChange(tempo=tempo).apply(voice)) == pytest.approx(RATE / tempo, rel=0.01)


def test_breath_is_noise_above_two_kilohertz(voice):
    def share_between_harmonics(waveform):
        power = np.abs(np.fft.rfft(waveform[:RATE], RATE)) ** 2
        high = power[3000:7000]
        return high[np.arange(3000, 7000) % 120 // 30 == 2].sum() / high.sum()

    plain = share_between_harmonics(VoiceChange().apply(voice))
    assert share_between_harmonics(VoiceChange(breath=0.8).apply(voice)) > 3 * plain


def test_the_level_stays_and_nothing_clips(voice):
    for change in (VoiceChange(), VoiceChange(pitch=2.0, tilt=6.0, breath=0.3)):
        waveform = change.apply(voice)
        assert waveform.dtype == np.float32
        assert rms(waveform) == pytest.approx(0.1, rel=0.01)
        assert np.abs(waveform).max() <= 1
    loud = analyze_voice(np.sign(np.sin(np.arange(8000) * 0.05)).astype(np.float32))
    assert np.abs(VoiceChange(pitch=0.7).apply(loud)).max() <= 1


def test_the_same_change_gives_the_same_samples(voice, vowel):
    change = VoiceChange.sample(120.0, np.random.default_rng(3))
    first = change.apply(voice)
    VoiceChange(breath=0.9).apply(voice)
    np.testing.assert_array_equal(change.apply(analyze_voice(vowel)), first)


def test_silence_stays_silent():
    silence = analyze_voice(np.zeros(RATE, np.float32))
    assert silence.mean_pitch == 0
    waveform = VoiceChange.sample(0.0, np.random.default_rng(0)).apply(silence)
    assert np.abs(waveform).max() < 1e-3


def test_drawn_speakers_have_pitches_of_people():
    rng = np.random.default_rng(0)
    for mean_pitch in (100.0, 210.0):
        changes = [VoiceChange.sample(mean_pitch, rng) for _ in range(300)]
        pitches = [change.pitch * mean_pitch for change in changes]
        assert min(pitches) >= TARGET_PITCH[0] - 1e-6
        assert max(pitches) <= max(TARGET_PITCH[1], PITCH[0] * mean_pitch) + 1e-6
        assert np.std(pitches) > 30
        for change in changes:
            assert PITCH[0] <= change.pitch <= PITCH[1]
            assert FORMANT[0] <= change.formant <= FORMANT[1]
            assert TEMPO[0] <= change.tempo <= TEMPO[1]
            assert BREATH[0] <= change.breath <= BREATH[1]
        higher = np.corrcoef(pitches, [change.formant for change in changes])[0, 1]
        assert higher > 0.6
