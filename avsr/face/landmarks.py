"""Faces and their landmarks in single pictures, with the models that mediapipe carries.

Two detectors complement one another. The face mesh brings its own short-range detector, which sees
close-ups; the full-range detector sees the small faces of a stage, whose enlarged cut then goes to
the mesh. A face that is already known needs neither: the mesh at its last place follows it.
"""

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import POINT_IDS, STABLE_IDS
from avsr.face.mesh import Mesh, read_vertices
from avsr.media import Picture, as_picture
from avsr.runtime.lazy_import import postponed
from avsr.runtime.process import hide_stderr_lines

# The one table: 68-point landmark -> vertex of mediapipe's face mesh that stands in for it.
# "Right" and "left" are the person's; the numbers run along the contours as in the 68-point set.
MESH_VERTICES = {
    33: 2,  # base of the nose
    36: 33,  # right eye, outer corner
    39: 133,  # right eye, inner corner
    42: 362,  # left eye, inner corner
    45: 263,  # left eye, outer corner
    48: 61,  # outer lips: right corner
    49: 40,
    50: 37,
    51: 0,  # middle of the upper lip
    52: 267,
    53: 270,
    54: 291,  # left corner
    55: 321,
    56: 314,
    57: 17,  # middle of the lower lip
    58: 84,
    59: 91,
    60: 78,  # inner lips: right corner
    61: 81,
    62: 13,
    63: 311,
    64: 308,  # left corner
    65: 402,
    66: 14,
    67: 178,
}
VERTICES = [MESH_VERTICES[point] for point in POINT_IDS]
EYES = [STABLE_IDS.index(36), STABLE_IDS.index(45)]  # rows of the outer corners, right and left

CUT_SIDE = 256  # px, what the mesh is given around one face (its net takes 192 of the face itself)
WHOLE_SIDE = 512  # px, what the detectors are given of a whole picture (their nets take 128, 192)
CUT_MARGIN = 2.0  # side of the cut in sizes of the face: room to move within one frame
# Where the mesh is placed, in sizes of the face: so its points differ least (by 0.01 distances of
# the eyes) from those after a detector, by whose crops the models are trained.
MESH_SIDE = 1.4
MESH_LOWER = 0.04  # towards the chin
SETTLED = 0.08  # face sizes; from a square that far beside the face the mesh is run once more
MAX_FACES = 4  # in one picture, the largest ones
MIN_CONFIDENCE = 0.5  # of the detectors; the mesh that follows has the last word
# What mediapipe's log messages at its start begin with: they tell a user nothing.
REMARKS = (b"I0000", b"W0000", b"WARNING: All log messages", b"INFO: Created TensorFlow Lite")
SAME_FACE = 0.5  # two finds are one face when their centres are nearer than this, in face sizes

Image = NDArray[np.uint8]
Frame = Image | Picture
"""RGB (H, W, 3) uint8, or a picture that becomes so where it is looked at."""


@dataclass(frozen=True)
class Face:
    """A face in one picture: its landmarks (25, 2), px, and the box x, y, w, h (4,) of the mesh."""

    points: NDArray[np.float64]
    box: NDArray[np.float64]

    @property
    def size(self) -> float:
        """The longer side of the box, px."""
        return float(self.box[2:].max())

    @property
    def center(self) -> NDArray[np.float64]:
        """The middle of the box (2,), px."""
        return self.box[:2] + self.box[2:] / 2

    def is_near(self, other: "Face", reach: float = SAME_FACE) -> bool:
        """Whether both lie within ``reach`` sizes of one another and are of like size."""
        small, large = sorted((self.size, other.size))
        return self.distance(other) < reach * large and large < 1.6 * small

    def distance(self, other: "Face") -> float:
        """Between the centres, px."""
        return float(np.hypot(*(self.center - other.center)))


@dataclass(frozen=True)
class Square:
    """A square of a picture: top left and side, px. It may reach outside."""

    x: int
    y: int
    side: int

    def cut(self, frame: Frame, size: int) -> Image:
        """The square in RGB (size, size, 3), black outside."""
        picture = as_picture(frame)
        height, width = picture.height, picture.width
        x0, y0 = max(self.x, 0), max(self.y, 0)
        x1, y1 = min(self.x + self.side, width), min(self.y + self.side, height)
        scale = size / self.side
        out = np.zeros((size, size, 3), np.uint8)
        left, right = round((x0 - self.x) * scale), round((x1 - self.x) * scale)
        top, bottom = round((y0 - self.y) * scale), round((y1 - self.y) * scale)
        if right > left and bottom > top:
            out[top:bottom, left:right] = picture.resized(
                x0, y0, x1, y1, right - left, bottom - top
            )
        return out

    def place(self, relative: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (N, 2) given as parts of the square, in px of the picture."""
        return relative * self.side + (self.x - 0.5, self.y - 0.5)

    def locate(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (..., 2) in px of the picture as parts of the square: undoes ``place``."""
        return np.asarray((position - (self.x - 0.5, self.y - 0.5)) / self.side, np.float64)


def square_around(center: NDArray[np.float64], side: float) -> Square:
    """The square of about ``side`` px around ``center`` (2,)."""
    whole = max(8, round(side))
    return Square(round(center[0] - whole / 2), round(center[1] - whole / 2), whole)


class FaceDetector:
    """Finds and follows faces in pictures. Close it, or use it in ``with``.

    It keeps nothing from picture to picture, so the same picture has the same faces always.
    """

    def __init__(self, max_faces: int = MAX_FACES) -> None:
        self.max_faces = max_faces
        with hide_stderr_lines(REMARKS):
            with postponed("matplotlib", "pyplot"):  # for drawing, which nobody asks it for
                from mediapipe.python.solutions import face_detection, face_mesh

            # The mesh projects its points rightly in square pictures only: it gets no others.
            self._mesh = face_mesh.FaceMesh(
                static_image_mode=True,
                max_num_faces=max_faces,
                min_detection_confidence=MIN_CONFIDENCE,
            )
            self._detector = face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=MIN_CONFIDENCE
            )
            self._alone = Mesh()
            nothing = np.zeros((CUT_SIDE, CUT_SIDE, 3), np.uint8)
            for graph in (self._mesh, self._detector):  # they start, and remark on it, in threads
                graph.process(nothing)
            self._alone.place(nothing, np.array([0.5, 0.5]), 1.0, 0.0)
        self._chatty = True  # mediapipe has one more remark, at the first face

    def __enter__(self) -> "FaceDetector":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free mediapipe's graphs."""
        self._mesh.close()
        self._detector.close()
        self._alone.close()

    def find(self, frame: Frame, *, closer: bool = True, known: Sequence[Face] = ()) -> list[Face]:
        """All faces of a picture but the ``known`` ones, the largest first, at most ``max_faces``.

        With ``closer`` a picture that seems empty is searched again, part by part, for small faces.
        """
        frame = as_picture(frame)
        height, width = frame.height, frame.width
        side = max(height, width)
        whole = Square((width - side) // 2, (height - side) // 2, side)
        view = whole.cut(frame, WHOLE_SIDE)
        guesses = self._run_mesh(view, whole) + self._detect(view, whole)
        faces = self._refine_all(frame, guesses, list(known))
        if closer and not faces:
            for square in _closer_squares(height, width):
                guesses = self._detect(square.cut(frame, CUT_SIDE), square)
                faces = self._refine_all(frame, guesses, faces)
        found = faces[len(known) :]
        largest = sorted(found, key=lambda face: -face.size)[: self.max_faces]
        # As it will be followed: both ways to place the mesh differ by a hundredth of the face.
        return [self._follow(frame, face) or face for face in largest]

    def follow(self, frame: Frame, last: Face, *, sure: bool = False) -> Face | None:
        """The face ``last`` of the frame before, in this frame; None where it is lost.

        With ``sure`` a detector must see it too: the mesh alone may go on with what hides a face.
        """
        face = self._follow(frame, last)
        if face is not None and not sure:
            return face
        near = [other for other in self._refine(frame, last) if other.is_near(face or last)]
        return (face or min(near, key=last.distance)) if near else None

    def _follow(self, frame: Frame, last: Face) -> Face | None:
        """``follow`` by the mesh alone, which is right where the face has hardly moved."""
        face = self._place(frame, last)
        if face is not None and face.distance(last) > SETTLED * last.size:
            face = self._place(frame, face)
        return face if face is not None and face.is_near(last) else None

    def _place(self, frame: Frame, guess: Face) -> Face | None:
        """The face that the mesh sees at the very place of ``guess``."""
        square = square_around(guess.center, CUT_MARGIN * guess.size)
        right, left = guess.points[EYES]
        across, down = left - right
        angle = float(np.arctan2(down, across))
        lower = MESH_LOWER * guess.size * np.array([-np.sin(angle), np.cos(angle)])
        vertices = self._alone.place(
            square.cut(frame, CUT_SIDE),
            square.locate(guess.center + lower),
            MESH_SIDE * guess.size / square.side,
            angle,
        )
        return None if vertices is None else _face_of(square.place(vertices))

    def _refine(self, frame: Frame, guess: Face) -> list[Face]:
        """The faces that the mesh sees in the enlarged cut around ``guess``."""
        square = square_around(guess.center, CUT_MARGIN * guess.size)
        return [
            face
            for face in self._run_mesh(square.cut(frame, CUT_SIDE), square)
            if face.is_near(guess, reach=1.0)
        ]

    def _refine_all(self, frame: Frame, guesses: list[Face], known: list[Face]) -> list[Face]:
        """``known`` and the faces behind ``guesses``, each one once.

        The mesh of the whole picture is a guess like any other: it may sit beside the face.
        """
        faces = list(known)
        for guess in guesses:
            if not any(guess.is_near(face) for face in faces):
                for face in self._refine(frame, guess):
                    if not any(face.is_near(other) for other in faces):
                        faces.append(face)
        return faces

    def _run_mesh(self, view: Image, square: Square) -> list[Face]:
        with hide_stderr_lines(REMARKS, enabled=self._chatty):
            found: Any = self._mesh.process(view).multi_face_landmarks or []
        self._chatty = self._chatty and not found
        return [_face_of(square.place(read_vertices(mesh))) for mesh in found]

    def _detect(self, view: Image, square: Square) -> list[Face]:
        """Boxes of the full-range detector, as faces without landmarks."""
        faces = []
        for detection in self._detector.process(view).detections or []:
            part = detection.location_data.relative_bounding_box
            ends = square.place(
                np.array(
                    [(part.xmin, part.ymin), (part.xmin + part.width, part.ymin + part.height)]
                )
            )
            faces.append(Face(np.empty((0, 2)), np.concatenate([ends[0], ends[1] - ends[0]])))
        return faces


_IDLE: list[
    FaceDetector
] = []  # to start one takes 35 ms, as long as to follow a face for ten frames
MOST_IDLE = 2


@contextmanager
def borrow_finder() -> Iterator[FaceDetector]:
    """A finder that others used before and will use again, never two at a time."""
    try:
        finder = _IDLE.pop()
    except IndexError:
        finder = FaceDetector()
        atexit.register(_close_idle)
    try:
        yield finder
    except BaseException:  # who knows what it still holds
        finder.close()
        raise
    if len(_IDLE) < MOST_IDLE:
        _IDLE.append(finder)
    else:
        finder.close()


def _close_idle() -> None:
    while _IDLE:
        _IDLE.pop().close()


def _face_of(vertices: NDArray[np.float64]) -> Face:
    """The face with these vertices (468, 2) of the mesh, px."""
    corner = vertices.min(axis=0)
    return Face(vertices[VERTICES], np.concatenate([corner, vertices.max(axis=0) - corner]))


def _closer_squares(height: int, width: int) -> list[Square]:
    """Squares of two thirds of the short side, half overlapping, that cover the picture.

    In 1280x720 they make a face of 60 px as large to the detector as 24 px of its 192.
    """
    side = max(1, min(height, width) * 2 // 3)

    def starts(length: int) -> list[int]:
        room = length - side
        return np.linspace(0, room, 1 + -(-2 * room // side)).astype(int).tolist()

    return [Square(x, y, side) for y in starts(height) for x in starts(width)]
