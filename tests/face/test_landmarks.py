"""Detection on real pictures: every size of face that the project promises to find."""

import subprocess
import sys

import numpy as np
import pytest

from avsr.face import geometry as g
from avsr.face import landmarks as lm
from avsr.face.detector import EYES
from avsr.runtime import process


@pytest.fixture(scope="module")
def detector():
    with lm.MediapipeDetector() as detector:
        yield detector


def test_table_names_every_needed_point_once() -> None:
    assert tuple(lm.MESH_VERTICES) == g.POINT_IDS
    vertices = set(lm.MESH_VERTICES.values())
    assert len(vertices) == g.NUM_POINTS
    assert max(vertices) < 468


def test_points_lie_where_their_names_say(detector, draw_face) -> None:
    (face,) = detector.find(draw_face(300, 640, 360))
    at = dict(zip(g.POINT_IDS, face.points, strict=True))
    x = {name: point[0] for name, point in at.items()}
    y = {name: point[1] for name, point in at.items()}
    assert x[36] < x[39] < x[33] < x[42] < x[45]
    assert max(y[i] for i in (36, 39, 42, 45)) < y[33] < y[51] < y[62] < y[66] < y[57]
    # Both contours run clockwise in the picture, from the right corner of the mouth.
    for contour in (range(48, 60), range(60, 68)):
        turns = np.array([at[i] for i in contour]) - np.mean([at[i] for i in contour], axis=0)
        angles = np.unwrap(np.arctan2(turns[:, 1], turns[:, 0]))
        assert (np.diff(angles) > 0).all()


@pytest.mark.parametrize("height", [60, 80, 110, 200, 400, 680])
def test_faces_of_all_sizes_are_found(detector, draw_face, height: int) -> None:
    faces = detector.find(draw_face(height, 640 + (height < 300) * 300, 350))
    assert len(faces) == 1
    assert faces[0].box[3] == pytest.approx(height, rel=0.15)
    middle = (640 + (height < 300) * 300, 350)
    np.testing.assert_allclose(faces[0].center, middle, atol=0.1 * height)


def test_landmarks_do_not_depend_on_the_size(detector, draw_face) -> None:
    # The same face twice as large: the same points, twice as far from its centre.
    small = detector.find(draw_face(150, 640, 360))[0]
    large = detector.find(draw_face(300, 640, 360))[0]
    np.testing.assert_allclose((large.points - (640, 360)) / 2 + (640, 360), small.points, atol=3)


def test_several_faces_come_largest_first(detector, draw_face) -> None:
    picture = draw_face(250, 1000, 400, on=draw_face(120, 250, 300))
    assert [round(face.size, -1) for face in detector.find(picture)] == [250, 120]


def test_no_face_no_find(detector) -> None:
    assert detector.find(np.zeros((720, 1280, 3), np.uint8)) == []


def test_follow_finds_the_moved_face_and_notices_its_loss(detector, draw_face) -> None:
    face = detector.find(draw_face(100, 400, 300))[0]
    moved = detector.follow(draw_face(100, 420, 290), face)
    np.testing.assert_allclose(moved.center - face.center, (20, -10), atol=3)
    assert detector.follow(draw_face(100, 900, 300), face) is None


def test_square_maps_positions_back() -> None:
    # One white pixel in a square that hangs over the corner of the picture.
    picture = np.zeros((50, 60, 3), np.uint8)
    picture[7, 11] = 255
    square = lm.Square(-20, -20, 64)
    view = square.cut(picture, 128)
    y, x = np.nonzero(view[..., 0] > 128)
    relative = np.array([[x.mean() + 0.5, y.mean() + 0.5]]) / 128
    np.testing.assert_allclose(square.place(relative), [[11, 7]], atol=0.01)


def test_square_off_the_picture_is_black() -> None:
    assert not lm.Square(500, 500, 40).cut(np.full((50, 60, 3), 9, np.uint8), 32).any()


def test_models_start_in_silence_on_the_command_line(draw_face, capfd, monkeypatch) -> None:
    monkeypatch.setattr(process, "_tuned", True)
    with lm.MediapipeDetector() as detector:
        assert detector.find(draw_face(200, 640, 360))
    assert capfd.readouterr().err == ""


def test_import_loads_no_mediapipe() -> None:
    code = "import sys, avsr.face; print([m for m in ('mediapipe', 'torch') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("height", [100, 250, 600])
def test_following_agrees_with_detecting(detector, draw_face, height: int) -> None:
    """The mesh alone, where the face is known to be, as after the detector: within 2 % of the
    distance of the eyes on average, and without a bias."""
    positions = [(600 + 3 * i, 350 + i, 2 * i) for i in range(6)]
    frames = [draw_face(height, x, y, degrees=degrees) for x, y, degrees in positions]
    face = detector.find(frames[0])[0]
    apart = []
    for frame in frames[1:]:
        face = detector.follow(frame, face)
        (detected,) = detector._refine(frame, face)
        eyes = np.linalg.norm(np.diff(detected.points[EYES], axis=0))
        apart.append((face.points - detected.points) / eyes)
    assert np.linalg.norm(apart, axis=2).mean() < 0.02
    assert np.abs(np.mean(apart, axis=(0, 1))).max() < 0.01


def test_a_face_that_turns_over_a_second_is_followed(detector, draw_face) -> None:
    face = detector.find(draw_face(200, 640, 360))[0]
    for degrees in range(2, 42, 2):
        face = detector.follow(draw_face(200, 640, 360, degrees=degrees), face)
        assert face is not None
    right, left = face.points[EYES]
    across, up = (left - right) * (1, -1)
    assert np.degrees(np.arctan2(up, across)) == pytest.approx(40, abs=8)


def test_the_mesh_alone_does_not_go_on_where_a_detector_sees_no_face(detector, draw_face) -> None:
    picture = draw_face(200, 640, 360)
    face = detector.find(picture)[0]
    assert detector.follow(picture, face, verify=True) is not None
    hidden = picture.copy()
    hidden[200:520, 500:780] = 90
    assert detector.follow(hidden, face, verify=True) is None


def test_vertices_are_read_as_written() -> None:
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

    from avsr.face.mesh import read_vertices

    xyz = np.random.default_rng(0).normal(size=(468, 3)).astype(np.float32)
    points = [{"x": x, "y": y, "z": z} for x, y, z in xyz.tolist()]
    assert (read_vertices(NormalizedLandmarkList(landmark=points)) == xyz[:, :2]).all()
    points[7]["visibility"] = 0.5  # written otherwise
    assert (read_vertices(NormalizedLandmarkList(landmark=points)) == xyz[:, :2]).all()


def test_a_detector_is_used_again_but_by_one_at_a_time(draw_face) -> None:
    with lm.borrow_detector() as first, lm.borrow_detector() as second:
        assert first is not second
        (fresh,) = second.find(draw_face(120, 500, 300))
    with lm.borrow_detector() as third:
        assert third in (first, second)
        (face,) = third.find(draw_face(120, 500, 300))
    np.testing.assert_array_equal(face.points, fresh.points)


def test_a_detector_that_failed_is_not_used_again() -> None:
    with pytest.raises(RuntimeError), lm.borrow_detector() as broken:
        raise RuntimeError
    with lm.borrow_detector() as other:
        assert other is not broken
