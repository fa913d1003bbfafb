"""The tracker works with any detector that has the two methods of ``FaceDetector``."""

from collections.abc import Sequence

import numpy as np

from avsr.face import Face, FaceDetector, track_faces, track_mouth
from avsr.face.detector import Frame
from avsr.face.geometry import MEAN_FACE, MOUTH, NUM_POINTS, STABLE, crop_matrices
from avsr.media import as_picture

SIDE = 128.0  # px, of the planted boxes
COUNT = 40  # frames


def planted_face(x: float, y: float) -> Face:
    """A face whose mouth is 50 px below the middle of its eyes at (x, y)."""
    points = np.empty((NUM_POINTS, 2))
    points[STABLE] = MEAN_FACE - MEAN_FACE.mean(axis=0) + (x, y)
    angles = np.linspace(0, 2 * np.pi, NUM_POINTS - len(MEAN_FACE), endpoint=False)
    points[MOUTH] = np.stack([x + 15 * np.cos(angles), y + 50 + 8 * np.sin(angles)], axis=1)
    return Face(points, np.array([x - SIDE / 2, y - SIDE / 2, SIDE, SIDE]))


class PlantedDetector:
    """Reads the number of a frame off its first pixel and returns the faces planted there."""

    def __init__(self, paths: Sequence[Sequence[Face | None]]) -> None:
        self.paths = paths

    def find(
        self, frame: Frame, *, exclude: Sequence[Face] = (), search_tiles: bool = True
    ) -> list[Face]:
        faces = [path[number_of(frame)] for path in self.paths]
        return [
            face
            for face in faces
            if face is not None and not any(face.is_near(other) for other in exclude)
        ]

    def follow(self, frame: Frame, last: Face, *, verify: bool = False) -> Face | None:
        return next((face for face in self.find(frame) if face.is_near(last)), None)


def number_of(frame: Frame) -> int:
    return int(as_picture(frame).rgb()[0, 0, 0])


def numbered_frames() -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    frames = [noise.copy() for _ in range(COUNT)]
    for number, frame in enumerate(frames):
        frame[0, 0] = number
    return frames


def test_tracks_have_the_planted_boxes_landmarks_and_gap() -> None:
    left = [planted_face(150 + 4 * i, 180) for i in range(COUNT)]
    right = [None if 10 <= i < 14 else planted_face(500, 170 + i) for i in range(COUNT)]
    detector: FaceDetector = PlantedDetector([left, right])
    faces = track_faces(numbered_frames(), detector)
    assert faces.num_frames == COUNT
    first, second = sorted(faces.tracks, key=lambda track: track.center[0])
    assert (first.start, first.end, second.start, second.end) == (0, COUNT, 0, COUNT)
    assert first.found.all()
    assert np.flatnonzero(~second.found).tolist() == [10, 11, 12, 13]
    points = np.stack([face.points for face in left])
    np.testing.assert_allclose(first.boxes, np.stack([face.box for face in left]))
    np.testing.assert_allclose(first.landmarks, points, atol=1e-4)
    np.testing.assert_allclose(first.matrices, crop_matrices(points), atol=1e-4)
    between = [planted_face(500, 170 + i).points for i in range(10, 14)]
    np.testing.assert_allclose(second.landmarks[10:14], between, atol=1e-4)


def test_the_mouth_is_that_of_the_planted_face() -> None:
    x, y = MEAN_FACE.mean(axis=0)
    frames, face = numbered_frames(), planted_face(x + 150, y + 60)
    track = track_mouth(frames, PlantedDetector([[face] * COUNT]))
    assert track.found.all()
    # The mean face, moved by whole pixels: the crop is a part of the frame as it is.
    left, top = -track.matrices[0, :, 2]
    x, y = round(float(left)), round(float(top))
    grey = as_picture(frames[0]).grey(x, y, x + 96, y + 96)
    assert (np.abs(track.mouth[0].astype(int) - grey) <= 1).all()


def test_a_detector_without_faces_gives_no_tracks() -> None:
    assert track_faces(numbered_frames(), PlantedDetector([])).tracks == ()
