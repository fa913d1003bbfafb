import itertools

import numpy as np
import pytest

from avsr.errors import AvsrError, LanguageError
from avsr.synthetic import pico
from avsr.synthetic.pico import VOICES, PicoVoice, draw_pico_voice, synthesize_pico
from avsr.synthetic.utterance import make_utterance

pytest.importorskip("py_nanotts")
pytest.importorskip("espeakng_loader")

TEXT = "some people bought a big house"


def test_speech_has_words_and_phones():
    speech = synthesize_pico(TEXT, "en", PicoVoice("en-GB"))
    assert speech.waveform.dtype == np.float32
    assert 1.0 < speech.duration < 3.0
    assert 0.1 < np.abs(speech.waveform).max() < 0.99
    assert [word for word, _, _ in speech.words] == TEXT.split()
    assert all(a.end == b.start for a, b in itertools.pairwise(speech.phones))
    assert "".join(phone.symbol for phone in speech.phones).startswith("s")
    assert 0.0 <= speech.words[0][1] < 0.1
    assert speech.duration - 0.1 < speech.words[-1][2] <= speech.duration
    # s is the first phone: noise, and the vowel after it is voiced, with its power below 1 kHz
    hiss, vowel = [phone for phone in speech.phones if phone.symbol][:2]

    def low_share(phone):
        part = speech.waveform[round(phone.start * 16000) : round(phone.end * 16000)]
        power = np.abs(np.fft.rfft(part)) ** 2
        return power[: len(power) // 8].sum() / power.sum()

    assert low_share(hiss) < 0.2
    assert low_share(vowel) > 0.7


def test_same_arguments_same_samples_whatever_came_before():
    first = synthesize_pico("guten morgen", "de", PicoVoice("de-DE", 1.1, 0.9))
    synthesize_pico(TEXT, "en", PicoVoice("en-US", 0.9, 1.2))
    second = synthesize_pico("guten morgen", "de", PicoVoice("de-DE", 1.1, 0.9))
    assert np.array_equal(first.waveform, second.waveform)
    assert first.phones == second.phones


def test_speed_changes_the_length():
    slow = synthesize_pico(TEXT, "en", PicoVoice("en-US", speed=0.85))
    fast = synthesize_pico(TEXT, "en", PicoVoice("en-US", speed=1.25))
    assert slow.duration > 1.25 * fast.duration


@pytest.mark.parametrize("language", ["es", "fr", "it"])
def test_utterances_of_other_languages(language):
    utterance = make_utterance(0, "test", language, 0, synthesizer="pico")
    assert utterance.voice.voice in VOICES[language]
    assert utterance.voice.name == f"pico_{utterance.voice.voice.lower()}"
    assert len(utterance.waveform) % 640 == 0
    assert [word for word, _, _ in utterance.words] == utterance.text.split()


def test_mistakes(monkeypatch):
    with pytest.raises(LanguageError, match="does not speak 'ru': choose from de, en, es, fr, it"):
        draw_pico_voice("ru", np.random.default_rng(0))
    with pytest.raises(AvsrError, match="no text to speak"):
        synthesize_pico(" ", "en", PicoVoice("en-GB"))
    with pytest.raises(AvsrError, match="'fr-FR' does not speak 'en': use one of en-GB, en-US"):
        synthesize_pico(TEXT, "en", PicoVoice("fr-FR"))
    monkeypatch.setattr(pico, "_SPEAK", "raise SystemExit('no memory')")
    with pytest.raises(AvsrError, match="pico could not speak 'hello': no memory"):
        synthesize_pico("hello", "en", PicoVoice("en-GB"))
    monkeypatch.setattr(pico.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AvsrError, match=r"pip install 'avsr\[synthetic\]'"):
        synthesize_pico("hello", "en", PicoVoice("en-GB"))
