"""A part in which the language changes without a pause is found, and cut where it does."""

from dataclasses import replace

import numpy as np
import pytest

from avsr.face.track import MouthTrack
from avsr.hub import load_network
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.recognition.language_change import language_change
from avsr.recognition.recording import Recording, split_recording
from avsr.synthetic import make_utterance

JOINS = (("es", "de", 3), ("de", "es", 4), ("es", "de", 9))
INDEX = 100  # of the second utterances


@pytest.fixture(scope="module")
def model():
    return load_network(device="cpu")


def spoken(language: str, index: int) -> np.ndarray:
    return make_utterance(31, "valid", language, index).waveform


def found(model, *waveforms: np.ndarray) -> int | None:
    recording = Recording(name="", waveform=np.concatenate(waveforms), mouth=None)
    return language_change(model, recording)


@pytest.mark.parametrize(("first", "second", "index"), JOINS)
def test_change_of_the_language_is_found_within_a_second(model, first, second, index) -> None:
    before, after = spoken(first, index), spoken(second, INDEX + index)
    frame = found(model, before, after)
    assert frame is not None
    assert abs(frame - len(before) / SAMPLES_PER_FRAME) <= FPS


@pytest.mark.parametrize("language", ["de", "es", "it", "ru"])
def test_one_language_stays_whole(model, language) -> None:
    assert found(model, spoken(language, 1), spoken(language, 2)) is None


def test_too_short_for_two_languages(model) -> None:
    assert found(model, spoken("de", 1)[: 40 * SAMPLES_PER_FRAME]) is None


def test_both_halves_have_what_belongs_to_them() -> None:
    tracks = np.array([0] * 4 + [-1] * 2 + [1] * 4)
    track = MouthTrack(
        mouth=np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 96, 96), np.uint8),
        found=tracks >= 0,
        boxes=np.zeros((10, 4), np.float32),
        tracks=tracks,
        landmarks=np.zeros((10, 25, 2), np.float32),
        matrices=np.zeros((10, 2, 3), np.float32),
        faces=(7, 2),
    )
    sound = np.arange(10 * SAMPLES_PER_FRAME - 100, dtype=np.float32)
    whole = Recording(name="a", waveform=sound, mouth=track.mouth, track=track)
    before, after = split_recording(whole, 5)
    assert (before.num_frames, after.num_frames) == (5, 5)
    np.testing.assert_array_equal(np.concatenate([before.waveform, after.waveform]), sound)
    assert [part.mouth[0, 0, 0] for part in (before, after)] == [0, 5]
    assert before.track.spans() == [(7, 0, 4)]
    assert after.track.spans() == [(2, 1, 5)]
    silent = replace(whole, waveform=None, track=None)
    assert split_recording(silent, 3)[1].num_frames == 7
