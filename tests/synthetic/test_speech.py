import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from avsr.errors import AvsrError, LanguageError
from avsr.languages import MUAVIC_LANGUAGES
from avsr.synthetic.speech import synthesize_speech
from avsr.synthetic.voices import VARIANTS, Voice, voice_variants

pytest.importorskip("espeakng_loader")

TEXTS = {
    "ar": "كان في هذا العام",
    "de": "das haus hat sieben fenster",
    "el": "το σπίτι μου είναι",
    "en": "some of the people said that it is",
    "es": "la casa tiene cuarenta y cinco",
    "fr": "aujourd'hui il n'y a pas d'eau",
    "it": "non c'è più tempo",
    "pt": "que é uma coisa boa",
    "ru": "я не знаю в чём дело",
}


@pytest.mark.parametrize("language", MUAVIC_LANGUAGES)
def test_phones_and_words_cover_the_speech(language):
    speech = synthesize_speech(TEXTS[language], language, Voice("m3"))
    assert speech.waveform.dtype == np.float32
    assert 0.6 < speech.duration < 3.0
    assert 0.05 < np.abs(speech.waveform).max() < 0.99
    phones = speech.phones
    for phone, following in itertools.pairwise(phones):
        assert phone.start < phone.end == following.start
    assert 0 <= phones[0].start < 0.05
    assert speech.duration - phones[-1].end < 0.05
    assert [word for word, _, _ in speech.words] == TEXTS[language].split()
    end = 0.0
    for _, start, stop in speech.words:
        assert end <= start < stop <= speech.duration
        end = stop
    # every phone that sounds lies within a word
    for phone in phones:
        if phone.symbol:
            middle = (phone.start + phone.end) / 2
            assert any(start <= middle <= stop for _, start, stop in speech.words), phone


def test_symbols_are_plain_ipa():
    speech = synthesize_speech("hello people", "en", Voice("m3"))
    assert [phone.symbol for phone in speech.phones if phone.symbol] == [
        "h", "ə", "l", "əʊ", "p", "iː", "p", "əl"
    ]  # fmt: skip
    german = synthesize_speech("das ist ein job", "de", Voice("m3"))
    assert not any("(" in phone.symbol for phone in german.phones)  # switch to English


def test_a_stop_begins_with_its_closure():
    speech = synthesize_speech("sapa", "it", Voice("m3"))
    stop = next(phone for phone in speech.phones if phone.symbol == "p")
    assert stop.end - stop.start > 0.04  # the burst alone has 0.03 s
    closure = speech.waveform[int((stop.start + 0.005) * 16000) : int((stop.start + 0.025) * 16000)]
    assert np.abs(closure).max() < 0.01


def test_words_spoken_as_one_share_their_time():
    words = {word: (a, b) for word, a, b in synthesize_speech(TEXTS["en"], "en", Voice("m3")).words}
    assert words["of"][1] == words["the"][0]  # espeak-ng says "of the" in one go
    assert words["of"][1] - words["of"][0] > 0.03


@pytest.mark.parametrize("variant", ["m3", "klatt4", "f4", "iven"])
def test_same_arguments_same_samples_whatever_came_before(variant):
    first = synthesize_speech("hello world", "en", Voice(variant))
    synthesize_speech("guten tag", "de", Voice("croak", rate=190, pitch=60, pitch_range=70))
    second = synthesize_speech("hello world", "en", Voice(variant))
    assert np.array_equal(first.waveform, second.waveform)
    assert first.phones == second.phones


HASH_EVERY_VARIANT = """
import hashlib
from avsr.synthetic.speech import synthesize_speech
from avsr.synthetic.voices import VARIANTS, Voice
for variant in VARIANTS:
    speech = synthesize_speech("erwartet er an", "de", Voice(variant))
    print(variant, hashlib.sha256(speech.waveform).hexdigest())
"""


def test_no_variant_reads_uninitialised_memory():
    # the C library of Linux fills fresh memory with what this variable says
    printed = [
        subprocess.run(
            [sys.executable, "-c", HASH_EVERY_VARIANT],
            env={**os.environ, "MALLOC_PERTURB_": fill},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for fill in ("85", "255")
    ]
    assert len(printed[0].splitlines()) == len(VARIANTS)
    assert printed[0] == printed[1]


def test_every_variant_speaks_without_clipping():
    for split in ("train", "valid", "test"):
        for variant in voice_variants(split):
            speech = synthesize_speech("den keine kann", "de", Voice(variant, rate=200))
            assert 0.4 < speech.duration < 2.5, variant
            assert 0.01 < np.abs(speech.waveform).max() < 0.95, variant
            loud = np.flatnonzero(np.abs(speech.waveform) > 0.02 * np.abs(speech.waveform).max())
            assert loud[0] < 0.3 * 16000, variant
            assert len(speech.waveform) - loud[-1] < 0.3 * 16000, variant


def test_rate_and_formant_change_the_length():
    slow = synthesize_speech("one two three", "en", Voice("m3", rate=120)).duration
    fast = synthesize_speech("one two three", "en", Voice("m3", rate=200)).duration
    assert slow > 1.3 * fast
    plain = synthesize_speech("one two three", "en", Voice("m3"))
    high = synthesize_speech("one two three", "en", Voice("m3", formant=1.08))
    assert plain.duration / high.duration == pytest.approx(1.08, abs=0.02)
    assert plain.words[1][1] / high.words[1][1] == pytest.approx(1.08, abs=0.05)


def test_mistakes():
    with pytest.raises(LanguageError):
        synthesize_speech("hello", "xx", Voice("m3"))
    with pytest.raises(AvsrError, match="no text"):
        synthesize_speech("  ", "en", Voice("m3"))
    with pytest.raises(AvsrError, match="unknown voice variant 'nobody'"):
        synthesize_speech("hello", "en", Voice("nobody"))
