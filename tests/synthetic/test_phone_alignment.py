import itertools

import numpy as np
import pytest

from avsr.errors import AvsrError, LanguageError
from avsr.synthetic.phone_alignment import align_phones, align_speech, warp_time
from avsr.synthetic.speech import synthesize_speech
from avsr.synthetic.voices import Voice

pytest.importorskip("espeakng_loader")

TEXTS = {
    "de": "das haus hat sieben fenster und eine blaue tür",
    "en": "some of the people maybe bought a very big house",
    "fr": "il fait beau dans le petit village",
    "ru": "я не знаю в чём дело",
}
WORD = "people"  # of the English text


def path_cost(entries: np.ndarray, cost: np.ndarray, hold: np.ndarray, skip: float) -> float:
    """Cost of the path that reaches column m in row entries[m]."""
    total, row = cost[0, 0], 0
    for column in range(1, cost.shape[1]):
        while row < entries[column] - 1:
            row += 1
            total += cost[row, column - 1] + hold[column - 1]
        is_aside = entries[column] == row
        row = entries[column]
        total += cost[row, column] + (skip if is_aside else 0.0)
    for last in range(row + 1, len(cost)):
        total += cost[last, -1] + hold[-1]
    return float(total)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (4, 4), (6, 3), (3, 6)])
def test_the_path_is_the_cheapest(shape):
    rng = np.random.default_rng(sum(shape))
    cost, hold, skip = rng.random(shape), rng.random(shape[1]), 0.3
    rows, columns = shape
    entries = warp_time(cost, hold, skip)
    assert entries[0] == 0
    assert entries[-1] == rows
    others = [
        path_cost(np.array([0, *path]), cost, hold, skip)
        for path in itertools.combinations_with_replacement(range(rows), columns - 1)
    ]
    assert path_cost(entries, cost, hold, skip) == pytest.approx(min(others))


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("de", Voice("Annie", rate=125, pitch=60)),
        ("en", Voice("max", rate=195, formant=0.93)),
        ("fr", Voice("steph", rate=150)),
        ("ru", Voice("klatt2", rate=180, pitch=40)),
    ],
)
def test_phones_of_another_voice_and_rate_are_found(language, voice):
    speech = synthesize_speech(TEXTS[language], language, voice)
    rng = np.random.default_rng(1)
    padded = np.pad(speech.waveform, (3200, 8000))
    noisy = padded + 0.02 * speech.waveform.std() * rng.standard_normal(len(padded))
    found = align_speech(noisy.astype(np.float32), TEXTS[language], language)
    assert found.phones[0].start == 0.0
    assert found.phones[-1].end == len(padded) / 16000
    assert all(a.start < a.end == b.start for a, b in itertools.pairwise(found.phones))
    truth = [phone for phone in speech.phones if phone.symbol]
    spoken = [phone for phone in found.phones if phone.symbol]
    assert [phone.symbol for phone in spoken] == [phone.symbol for phone in truth]
    errors = [abs(a.start - b.start - 0.2) for a, b in zip(spoken, truth, strict=True)]
    assert np.median(errors) < 0.012
    assert max(errors) < 0.06
    assert [word for word, _, _ in found.words] == TEXTS[language].split()
    for (_, start, end), (_, begin, finish) in zip(found.words, speech.words, strict=True):
        assert abs(start - begin - 0.2) < 0.06
        assert abs(end - finish - 0.2) < 0.06


def test_a_pause_between_words_is_found():
    speech = synthesize_speech(TEXTS["en"], "en", Voice("max"))
    start = next(start for word, start, _ in speech.words if word == WORD)
    cut = round(start * 16000)
    waveform = np.insert(speech.waveform, cut, np.zeros(9600, np.float32))
    found = align_speech(waveform, TEXTS["en"], "en")
    pauses = [phone for phone in found.phones[1:-1] if not phone.symbol]
    assert len(pauses) == 1
    assert pauses[0].start == pytest.approx(start, abs=0.06)
    assert pauses[0].end == pytest.approx(start + 0.6, abs=0.06)
    assert next(a for word, a, _ in found.words if word == WORD) == pauses[0].end


def test_mistakes():
    with pytest.raises(AvsrError, match="silent"):
        align_phones(np.zeros(16000, np.float32), "good morning", "en")
    with pytest.raises(AvsrError, match="silent"):
        align_phones(np.zeros(0, np.float32), "good morning", "en")
    loud = np.random.default_rng(0).standard_normal(800).astype(np.float32) * 0.1
    with pytest.raises(AvsrError, match="too short to say"):
        align_phones(loud, "good morning to all of you", "en")
    with pytest.raises(AvsrError, match="no text to speak"):
        align_phones(loud, " ", "en")
    with pytest.raises(LanguageError):
        align_phones(loud, "hello", "xx")
