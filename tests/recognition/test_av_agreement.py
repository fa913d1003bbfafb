"""The model tells whose lips go with a sound, of real clips whose mouths all move."""

from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.face import track_faces
from avsr.face.active_speaker import MOST_LAG
from avsr.hub import load_network
from avsr.rates import SAMPLES_PER_FRAME
from avsr.recognition.av_agreement import lips_agreement

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
CODES = ("de", "es", "it")
LATE = 3  # frames


@pytest.fixture(scope="module")
def model():
    return load_network(device="cpu")


@pytest.fixture(scope="module")
def talks():
    """Track and sound of each example."""
    clips = [EXAMPLES / f"{code}.mp4" for code in CODES]
    tracks = [track_faces(media.read_frames(clip)).tracks[0] for clip in clips]
    return tracks, [media.read_waveform(clip) for clip in clips]


def test_own_lips_agree_and_those_of_others_do_not(model, talks) -> None:
    tracks, sounds = talks
    for number, sound in enumerate(sounds):
        agree = lips_agreement(model, sound)
        means = [agree(track)[MOST_LAG, : len(sound) // SAMPLES_PER_FRAME] for track in tracks]
        means = [evidence.mean() for evidence in means]
        assert means[number] > 0.2
        assert max(np.delete(means, number)) < means[number] - 0.25


def test_agreement_is_best_at_the_lag_of_the_sound(model, talks) -> None:
    (track, *_), (sound, *_) = talks
    late = np.pad(sound, (LATE * SAMPLES_PER_FRAME, 0))
    for waveform, lag in [(sound, 0), (late, -LATE), (sound[LATE * SAMPLES_PER_FRAME :], LATE)]:
        evidence = lips_agreement(model, waveform)(track)
        assert evidence.shape == (2 * MOST_LAG + 1, len(track.found))
        assert abs(int(evidence.mean(axis=1).argmax()) - MOST_LAG - lag) <= 1


def test_without_sound_or_letters_there_is_nothing_to_ask(model, talks, monkeypatch) -> None:
    assert lips_agreement(model, None) is None
    assert lips_agreement(model, np.zeros(0, np.float32)) is None
    monkeypatch.setattr(model, "has", lambda part: part != "ctc")
    assert lips_agreement(model, talks[1][0]) is None
