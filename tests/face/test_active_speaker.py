"""Planted mouths and sounds: the mouth that goes with the sound is chosen, where one does."""

import numpy as np
import pytest
from planted import level_of, plant, resting, syllables

from avsr.face import is_covered, is_still
from avsr.face.active_speaker import MOST_LAG, choose_speaking, measure_movement
from avsr.face.geometry import measure_opening, measure_turns

SECONDS = 25  # frames


def chosen_rows(tracks, num_frames: int, level, agree=None) -> list[int]:
    """The row of the track that is chosen in each frame, -1 for none."""
    path = [-1] * num_frames
    for segment in choose_speaking(tracks, num_frames, level, agree):
        path[segment.first : segment.last] = [tracks.index(segment.track)] * (
            segment.last - segment.first
        )
    return path


def test_opening_and_turn_are_those_planted() -> None:
    opening = syllables(40, 0)
    for height in (50.0, 200.0):
        track = plant(opening, height=height)
        np.testing.assert_allclose(measure_opening(track.landmarks), opening, atol=1e-4)
    for yaw in (0, 30, 45, 60, -60):
        turns = measure_turns(plant(opening, yaw=yaw).landmarks)
        np.testing.assert_allclose(turns, abs(yaw), atol=1.5)  # an open mouth differs from HEAD


@pytest.mark.parametrize("speaker", [0, 1])
@pytest.mark.parametrize("other_moves", [False, True])
@pytest.mark.parametrize("lag", [0, 3, -3])
def test_mouth_that_goes_with_the_sound_is_chosen(
    speaker: int, other_moves: bool, lag: int
) -> None:
    opening, other = syllables(100, 1), syllables(100, 2) if other_moves else resting(100)
    tracks = [plant(opening, 100), plant(other, 500)]
    if speaker == 1:
        tracks = [plant(other, 100), plant(opening, 500)]
    assert abs(lag) <= MOST_LAG
    assert chosen_rows(tracks, 100, np.roll(level_of(opening), lag)) == [speaker] * 100


def test_word_passes_to_the_other_within_a_part() -> None:
    first, second = syllables(75, 1), syllables(75, 2)
    left = plant(np.concatenate([first, resting(75)]), 100)
    right = plant(np.concatenate([resting(75), second]), 500)
    level = np.concatenate([level_of(first), level_of(second)])
    path = chosen_rows([left, right], 150, level)
    assert path[:65] == [0] * 65
    assert path[-65:] == [1] * 65
    assert (np.diff(path) != 0).sum() == 1


def test_model_is_asked_where_two_mouths_move_alike_and_only_there() -> None:
    opening, other = syllables(100, 1), syllables(100, 2)
    alike = [plant(opening, 100), plant(opening.copy(), 500)]
    for speaker in (0, 1):
        calls = []

        def agree(track, tracks=alike, calls=calls, speaker=speaker):
            calls.append(tracks.index(track))
            return np.full((2 * MOST_LAG + 1, 100), 0.5 * (len(calls) - 1 == speaker))

        assert chosen_rows(alike, 100, level_of(opening), agree) == [speaker] * 100
        assert calls == [0, 1]
        calls.clear()
        apart = [plant(opening, 100), plant(resting(100), 300), plant(other, 500)]
        assert chosen_rows(apart, 100, level_of(opening), agree) == [0] * 100
        assert calls == []


def test_models_word_on_the_lag_counts() -> None:
    opening = syllables(100, 1)
    alike = [plant(opening, 100), plant(opening.copy(), 500)]

    def agree(track):
        evidence = np.zeros((2 * MOST_LAG + 1, 100))
        if track is alike[1]:
            evidence[MOST_LAG + 2] = 2.0  # where the lips come two frames late
        return evidence

    assert chosen_rows(alike, 100, level_of(opening), agree) == [1] * 100


def test_larger_face_does_not_win_against_the_speaker() -> None:
    opening = syllables(80, 1)
    tracks = [plant(resting(80), 100, height=300), plant(opening, 500, height=60)]
    assert chosen_rows(tracks, 80, level_of(opening)) == [1] * 80


def test_without_sound_the_mouth_that_moves_most_is_chosen() -> None:
    lively = syllables(80, 1)
    tracks = [plant(0.2 * syllables(80, 2), 100, height=150), plant(lively, 500)]
    assert chosen_rows(tracks, 80, None) == [1] * 80


def test_still_picture_does_not_talk() -> None:
    opening = syllables(80, 1)
    slide = plant(np.full(80, 0.1), 100, height=300)
    zoomed = plant(np.linspace(0.1, 0.13, 80), 300)  # what a mesh makes of a zoom
    speaker = plant(opening, 500)
    assert [is_still(track) for track in (slide, zoomed, speaker)] == [True, True, False]
    for level in (level_of(opening), None):
        assert chosen_rows([slide, zoomed, speaker], 80, level) == [2] * 80
        assert chosen_rows([slide, zoomed], 80, level) == [-1] * 80
        assert chosen_rows([slide], 80, level) == [-1] * 80


def test_too_short_to_tell_is_no_still_picture() -> None:
    assert not is_still(plant(np.full(10, 0.1)))
    assert measure_movement(plant(np.full(10, 0.1)).landmarks) < 1e-6


def test_scenes_need_no_evidence_to_change_the_face() -> None:
    first, second = plant(syllables(30, 1), 100), plant(syllables(20, 2), 400, start=40)
    sound = level_of(syllables(70, 3))
    path = chosen_rows([first, second], 70, sound)
    assert path == [0] * 30 + [-1] * 10 + [1] * 20 + [-1] * 10


def test_nobody_is_nobody() -> None:
    assert choose_speaking([], 10, np.zeros(10)) == []
    assert chosen_rows([plant(resting(5))], 0 + 5, np.zeros(0)) == [0] * 5


def test_a_mouth_that_something_still_hides_is_covered():
    rng = np.random.default_rng(0)
    mouth = rng.integers(0, 255, (20, 96, 96), np.uint8)
    assert not is_covered(mouth)
    mouth[:, 30:66, 30:66] = 120
    assert is_covered(mouth)
    assert not is_covered(mouth[:10]), "too short to tell"
