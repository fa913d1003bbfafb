"""Numbers of faces over parts and cuts, the face that is asked for, and what each face says."""

from dataclasses import replace

import numpy as np
import pytest
from planted import level_of, plant, resting, syllables

from avsr.face import (
    FaceRegistry,
    FaceTrack,
    FaceTracks,
    choose_face,
    find_turns,
    is_readable,
    track_mouth,
)
from avsr.face.selection import MIN_HEIGHT


def part(num_frames: int, *tracks: FaceTrack) -> FaceTracks:
    return FaceTracks(tracks, num_frames)


def numbers(faces: FaceTracks) -> list[int]:
    return [track.number for track in faces.tracks]


def test_faces_are_numbered_from_left_to_right_and_as_they_come() -> None:
    registry = FaceRegistry()
    right, left = plant(resting(60), 500, look=1), plant(resting(58), 100, start=2, look=2)
    late = plant(resting(20), 300, start=40, look=3)
    assert numbers(registry.number(part(60, right, left, late))) == [2, 1, 3]
    assert registry.count == 3


def test_face_keeps_its_number_over_parts_and_absences() -> None:
    registry = FaceRegistry()
    registry.number(part(50, plant(resting(50), 100, look=1), plant(resting(50), 500, look=2)))
    again = registry.number(part(50, plant(resting(50), 510, height=110, look=2)))
    assert numbers(again) == [2]
    assert numbers(registry.number(part(50, plant(resting(50), 100, look=1)))) == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"look": 2},  # a stranger in the same place
        {"x": 400.0, "look": 1},  # elsewhere
        {"height": 250.0, "look": 1},  # a close-up
    ],
)
def test_another_face_gets_a_new_number(other: dict) -> None:
    registry = FaceRegistry()
    registry.number(part(50, plant(resting(50), 100, look=1)))
    assert numbers(registry.number(part(50, plant(resting(50), **{"x": 100.0, **other})))) == [2]


def test_two_faces_at_a_time_are_never_one() -> None:
    registry = FaceRegistry()
    registry.number(part(50, plant(resting(50), 100, look=1)))
    twins = part(50, plant(resting(50), 100, look=1), plant(resting(50), 130, look=1))
    assert sorted(numbers(registry.number(twins))) == [1, 2]


def test_number_of_remembered_faces_is_bounded() -> None:
    registry = FaceRegistry()
    for i in range(250):
        registry.number(part(1, plant(resting(1), 300.0 * i, look=1)))
    assert registry.count == 250
    assert len(registry._faces) == 200


def test_face_that_is_asked_for_is_chosen() -> None:
    opening = syllables(60, 1)
    faces = FaceRegistry().number(
        part(
            60,
            plant(resting(60), 100, height=90, look=1),
            plant(opening, 300, height=60, look=2),
            plant(resting(60), 500, height=200, look=3),
        )
    )
    level = level_of(opening)
    for choice, number in [("auto", 2), ("largest", 3), ("left", 1), ("right", 3), ("1", 1)]:
        track = choose_face(faces, choice, level)
        assert track.faces == (number,), choice
        assert track.spans() == [(number, 0, 60)]
    assert not choose_face(faces, "7", level).found.any()


def test_small_face_is_read_only_where_it_is_asked_for() -> None:
    opening = syllables(60, 1)
    tiny = plant(opening, height=MIN_HEIGHT - 1)
    faces = FaceRegistry().number(part(60, tiny))
    assert not choose_face(faces, "auto", level_of(opening)).found.any()
    assert choose_face(faces, "left", level_of(opening)).found.all()
    large = FaceRegistry().number(part(60, plant(opening, height=MIN_HEIGHT + 1)))
    assert choose_face(large, "auto", level_of(opening)).found.all()


def test_still_face_is_read_only_where_it_is_asked_for() -> None:
    faces = FaceRegistry().number(part(60, plant(np.full(60, 0.1))))
    assert not choose_face(faces, "auto", None).found.any()
    assert choose_face(faces, "largest", None).found.all()


@pytest.mark.parametrize(("yaw", "readable"), [(0, True), (35, True), (-60, False), (60, False)])
def test_face_in_profile_is_not_readable(yaw: float, readable: bool, draw_face) -> None:
    mouth = np.tile(track_mouth([draw_face(300, 640, 360)]).mouth, (30, 1, 1))
    turned = replace(plant(syllables(30, 1), yaw=yaw), mouth=mouth)
    faces = FaceRegistry().number(part(30, turned))
    track = choose_face(faces, "auto", None)
    assert track.found.all()
    assert (is_readable(track) == readable).all()


def test_each_face_has_its_turns() -> None:
    first, second, third = syllables(75, 1), syllables(75, 2), syllables(150, 3)
    faces = FaceRegistry().number(
        part(
            150,
            plant(np.concatenate([first, resting(75)]), 100, look=1),
            plant(np.concatenate([resting(75), second]), 300, look=2),
            plant(third, 500, look=3),  # talks without being heard
            plant(resting(150), 700, look=4),
        )
    )
    level = np.concatenate([level_of(first), level_of(second)])
    turns = find_turns(faces, level)
    heard_turns = [turn for turn in turns if turn.heard]
    assert [turn.mouth.faces for turn in heard_turns] == [(1,), (2,)]
    assert (heard_turns[0].first, heard_turns[1].last) == (0, 150)
    assert heard_turns[0].last == heard_turns[1].first == pytest.approx(75, abs=10)
    assert [t.mouth.faces for t in turns if not t.heard] == [(3,)]
    for turn in turns:
        assert len(turn.mouth.mouth) == turn.last - turn.first


def test_without_sound_nobody_is_heard() -> None:
    faces = FaceRegistry().number(
        part(60, plant(syllables(60, 1), look=1), plant(resting(60), 400, look=2))
    )
    (turn,) = find_turns(faces, None)
    assert (turn.mouth.faces, turn.heard) == ((1,), False)
