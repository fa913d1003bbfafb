"""Tracks through clips whose truth is planted: one face, two, none, gaps, cuts, real speakers."""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avsr.face import Face, MediapipeDetector, track_mouth
from avsr.face import geometry as g
from avsr.media import Picture


def centers(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, :2] + boxes[:, 2:] / 2


@pytest.mark.parametrize("height", [60, 110, 400, 680])
def test_moving_face_is_found_in_every_frame(draw_face, height: int) -> None:
    positions = [(640 + 4 * i, 350 + i) for i in range(16)]
    track = track_mouth(draw_face(height, x, y, degrees=i) for i, (x, y) in enumerate(positions))
    assert track.mouth.shape == (16, 96, 96)
    assert track.mouth.dtype == np.uint8
    assert track.boxes.dtype == np.float32
    assert track.found.mean() >= 0.95
    np.testing.assert_allclose(centers(track.boxes), positions, atol=0.12 * height)


def test_crop_is_the_same_at_every_size_and_tilt(draw_face) -> None:
    crops = [
        track_mouth([draw_face(height, 640, 360, degrees=degrees)]).mouth[0].astype(float)
        for height, degrees in [(150, 0), (300, 0), (300, 25), (640, -15)]
    ]
    for crop in crops[1:]:
        same = np.corrcoef(cv2.blur(crops[0], (5, 5)).ravel(), cv2.blur(crop, (5, 5)).ravel())[0, 1]
        assert same > 0.9


def test_stream_equals_the_geometry_on_the_whole_clip(draw_face) -> None:
    other = draw_face(150, 900, 350)  # with two faces none is taken to be half-way
    frames = [draw_face(170, 300 + 5 * i, 300, on=other) for i in range(16)]
    track = track_mouth(iter(frames))
    with MediapipeDetector() as detector:
        face = detector.find(frames[0])[0]
        points = [face.points]
        for frame in frames[1:]:
            face = detector.follow(frame, face)
            points.append(face.points)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    matrices = g.crop_matrices(np.stack(points))
    expected = [g.crop_mouth(*pair) for pair in zip(greys, matrices, strict=True)]
    assert (track.mouth == expected).all()


@pytest.mark.parametrize(("step", "looks"), [(0.4, 12), (8, 24)])
def test_a_face_that_hardly_moves_is_looked_at_in_every_second_frame(
    draw_face, monkeypatch, step: float, looks: int
) -> None:
    frames = [draw_face(200, 300 + step * i, 300) for i in range(25)]
    follow, calls = MediapipeDetector.follow, []

    def count(self: MediapipeDetector, frame: Picture, last: Face, *, verify: bool = False):
        calls.append(frame)
        return follow(self, frame, last, verify=verify)

    monkeypatch.setattr(MediapipeDetector, "follow", count)
    track = track_mouth(frames)
    assert len(set(map(id, calls))) == len(calls) == looks
    assert track.found.all()
    with MediapipeDetector() as detector:
        for frame, points in zip(frames, track.landmarks, strict=True):
            np.testing.assert_allclose(points, detector.find(frame)[0].points, atol=2.5)


def test_landmarks_and_matrices_are_those_of_the_crops(draw_face, background) -> None:
    frames = [draw_face(100, 300 + 5 * i, 300) for i in range(14)]
    frames[5] = background
    track = track_mouth(frames)
    assert not track.found[5]
    for frame, matrix, points, crop in zip(
        frames, track.matrices, track.landmarks, track.mouth, strict=True
    ):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        # Not to the last level: the matrices are stored in single precision.
        np.testing.assert_allclose(g.crop_mouth(grey, matrix).astype(int), crop, atol=1)
        lips = points[g.MOUTH].mean(axis=0)
        np.testing.assert_allclose(matrix[:, :2] @ lips + matrix[:, 2], (48, 48), atol=1)


def test_tracks_are_numbered_in_their_order(draw_face, background) -> None:
    small, large = draw_face(150, 300, 300), draw_face(300, 900, 400, on=255 - background)
    track = track_mouth([background] * 2 + [small] * 14 + [large] * 14 + [background] * 3)
    assert track.tracks.tolist() == [-1] * 2 + [0] * 14 + [1] * 14 + [-1] * 3
    outside = track.tracks < 0
    assert np.isnan(track.landmarks[outside]).all()
    assert np.isnan(track.matrices[outside]).all()
    assert np.isfinite(track.matrices[~outside]).all()
    assert np.isfinite(track.landmarks[~outside]).all()


def test_largest_steady_face_wins_wherever_it_stands(draw_face) -> None:
    for large, small in [((300, 400), (900, 300)), ((900, 400), (300, 300))]:
        track = track_mouth(draw_face(220, *large, on=draw_face(130, *small)) for _ in range(6))
        np.testing.assert_allclose(centers(track.boxes), [large] * 6, atol=20)


def test_short_visit_of_a_larger_face_does_not_win(draw_face) -> None:
    steady = draw_face(150, 300, 300)
    visit = draw_face(250, 900, 400, on=steady)
    track = track_mouth([steady] * 26 + [visit] * 4)
    assert track.found.all()
    np.testing.assert_allclose(centers(track.boxes), [(300, 300)] * 30, atol=15)


def test_flicker_of_a_large_face_does_not_win(draw_face) -> None:
    steady = draw_face(80, 300, 300)
    flicker = draw_face(400, 900, 400, on=steady)
    track = track_mouth([flicker if i % 8 == 1 else steady for i in range(26)])
    np.testing.assert_allclose(centers(track.boxes), [(300, 300)] * 26, atol=10)


def test_glimpse_is_no_face(draw_face, background) -> None:
    track = track_mouth([background] * 20 + [draw_face(150, 300, 300)] * 3 + [background] * 17)
    assert not track.found.any()
    assert not track.mouth.any()


def test_gap_is_bridged(draw_face, background) -> None:
    positions = [(300 + 4 * i, 300) for i in range(20)]
    frames = [draw_face(150, *place) for place in positions]
    for i in range(8, 12):
        frames[i] = background
    track = track_mouth(frames)
    assert np.flatnonzero(~track.found).tolist() == [8, 9, 10, 11]
    assert np.isnan(track.boxes[8:12]).all()
    np.testing.assert_allclose(centers(track.boxes)[12:], positions[12:], atol=15)
    # The picture at the place where the mouth would be: not black, and not the crop before.
    assert track.mouth[8:12].std(axis=(1, 2)).min() > 0
    assert np.abs(track.mouth[9].astype(int) - track.mouth[7]).mean() > 10


def test_ends_without_a_face_repeat_the_nearest_crop(draw_face, background) -> None:
    face = draw_face(150, 300, 300)
    track = track_mouth([background] * 3 + [face] * 4 + [background] * 3)
    assert track.found.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert (track.mouth[:3] == track.mouth[3]).all()
    assert (track.mouth[7:] == track.mouth[6]).all()


def test_cut_to_another_shot_goes_on_with_its_face(draw_face, background) -> None:
    first, second = draw_face(150, 300, 300), draw_face(300, 900, 400, on=255 - background)
    track = track_mouth([first] * 14 + [second] * 14)
    assert track.found.all()
    assert np.abs(np.diff(centers(track.boxes), axis=0)[:13]).max() < 3
    np.testing.assert_allclose(centers(track.boxes)[14:], [(900, 400)] * 14, atol=30)


def test_jump_around_a_face_that_stays_is_no_cut(draw_face, background) -> None:
    first, second = draw_face(250, 600, 400), draw_face(250, 600, 400, on=255 - background)
    track = track_mouth([first] * 13 + [second] * 5)  # too short to be a track of its own
    assert track.found.all()


def test_no_face_is_black(background) -> None:
    track = track_mouth([background] * 3)
    assert track.mouth.shape == (3, 96, 96)
    assert not track.mouth.any()
    assert not track.found.any()
    assert np.isnan(track.boxes).all()


def test_no_frames() -> None:
    track = track_mouth([])
    assert (track.mouth.shape, track.found.shape, track.boxes.shape) == ((0, 96, 96), (0,), (0, 4))
    assert (track.landmarks.shape, track.matrices.shape) == ((0, 25, 2), (0, 2, 3))


def test_face_at_the_edge_of_the_picture(draw_face) -> None:
    track = track_mouth(draw_face(300, 640, 560 + 10 * i) for i in range(8))
    assert track.mouth.shape == (8, 96, 96)


def test_4k(draw_face) -> None:
    track = track_mouth([draw_face(400, 2500, 1000, size=(3840, 2160))] * 2)
    assert track.found.all()


def test_same_frames_same_result(draw_face) -> None:
    frames = [draw_face(90, 300 + 9 * i, 300) for i in range(5)]
    first, second = track_mouth(frames), track_mouth(frames)
    assert (first.mouth == second.mouth).all()
    assert (first.boxes == second.boxes).all()


def test_frames_are_not_kept(draw_face, background) -> None:
    alive: list[weakref.ref] = []
    peak = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal peak
        for i in range(20):
            frame = draw_face(600, 640, 360 + i) if i % 4 else background.copy()
            alive.append(weakref.ref(frame))
            peak = max(peak, sum(ref() is not None for ref in alive))
            yield frame
            del frame

    track_mouth(stream())
    assert peak <= 2


@pytest.mark.parametrize("height", [None, 60])
def test_real_speakers_are_found(height: int | None, background) -> None:
    root = os.environ.get("AVSR_GRID")
    if not root:
        pytest.skip("AVSR_GRID is not set")
    clip = min((Path(root) / "valid").glob("*.mp4"))
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:40]
    if height is not None:  # the speakers' faces are about 132 px tall in pictures of 256
        side = round(256 * height / 132)
        stage = background
        small = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames]
        frames = [stage.copy() for _ in small]
        for i, picture in enumerate(small):
            frames[i][200 + i : 200 + i + side, 900 : 900 + side] = picture
    track = track_mouth(frames)
    assert track.found.mean() >= 0.95
    # The lips move about the middle of the crop: it changes more there than at its corners.
    change = np.abs(np.diff(track.mouth.astype(int), axis=0)).mean(axis=0)
    assert change[36:64, 30:66].mean() > 1.3 * change[:20, :20].mean()
