import numpy as np
import pytest

from avsr.synthetic.text import text_split
from avsr.synthetic.utterance import make_utterance, utterance_rng
from avsr.synthetic.voices import voice_variants

pytest.importorskip("espeakng_loader")
pytest.importorskip("wordfreq")


def test_an_utterance_depends_on_its_key_alone():
    first = make_utterance(7, "train", "de", 3)
    make_utterance(7, "train", "ar", 4)
    again = make_utterance(7, "train", "de", 3)
    assert again.text == first.text
    assert again.voice == first.voice
    assert np.array_equal(again.waveform, first.waveform)
    others = [(8, "train", "de", 3), (7, "valid", "de", 3), (7, "train", "de", 4)]
    assert all(make_utterance(*key).text != first.text for key in others)


@pytest.mark.parametrize(("part", "split"), [("valid", "valid"), ("valid_clips", "valid")])
def test_voices_and_texts_are_of_the_split(part, split):
    for index in range(10):
        utterance = make_utterance(0, part, "es", index)
        assert utterance.split == split
        assert utterance.voice.variant in voice_variants(split)
        assert text_split(utterance.text, "es") == split
        assert f"-{part}-es-" in utterance.utterance_id
        assert "." not in utterance.utterance_id


def test_sound_is_whole_frames_at_a_level_with_short_ends():
    for index in range(30):
        utterance = make_utterance(1, "train", "ru", index)
        waveform = utterance.waveform
        assert len(waveform) == utterance.num_frames * 640
        assert np.abs(waveform).max() <= 0.99
        start, end = utterance.words[0][1], utterance.words[-1][2]
        assert 0 <= start < 0.3
        assert 0 <= len(waveform) / 16000 - end < 0.3
        inside = waveform[int(start * 16000) : int(end * 16000)]
        level = 10 * np.log10(np.mean(inside**2))
        assert -37 < level < -9  # below -25 dB only where the peak would clip
        edge = waveform[: int(0.02 * 16000)]  # the noise floor is there, and faint
        assert 0 < np.std(edge) < 0.5 * np.std(inside)


def test_random_numbers_of_sound_and_picture_are_separate():
    sound = utterance_rng(0, "train", "en", 0, "sound").random()
    assert sound != utterance_rng(0, "train", "en", 0, "picture").random()
    assert sound == utterance_rng(0, "train", "en", 0, "sound").random()
