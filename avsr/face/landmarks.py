"""The default face detector: two models of mediapipe that complement one another.

The face mesh has its own short-range detector, which finds close-ups. The full-range detector finds
small faces, such as on a stage; the mesh then runs on the enlarged area around each of them. A face
of the previous frame needs no detector: the mesh follows it from its last position.
"""

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsr.face.detector import EYES, MAX_FACES, Face, Frame, Image
from avsr.face.geometry import POINT_IDS
from avsr.face.mesh import Mesh, read_vertices
from avsr.media import as_picture
from avsr.runtime.lazy_import import defer_import
from avsr.runtime.process import hide_stderr_lines

# 68-point landmark -> vertex of mediapipe's face mesh at the same position.
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

CUT_SIDE = 256  # px, input of the mesh around one face (its network takes 192 of the face itself)
WHOLE_SIDE = 512  # px, input of the detectors for a whole frame (their networks take 128 and 192)
CUT_MARGIN = 2.0  # side of the cut in face sizes: room to move within one frame
# Square in which the mesh looks for a known face, in face sizes. With these values its landmarks
# differ least (by 0.01 eye distances) from those after a detector, on whose crops the models are
# trained.
MESH_SIDE = 1.4
MESH_LOWER = 0.04  # towards the chin
SETTLED = 0.08  # face sizes; the mesh runs again if the face lies farther from its square's centre
MIN_CONFIDENCE = 0.5  # of the detectors; the mesh that follows decides
# Beginnings of mediapipe's log messages at its start, which are of no use to a user.
REMARKS = (b"I0000", b"W0000", b"WARNING: All log messages", b"INFO: Created TensorFlow Lite")
MAX_IDLE = 2  # detectors that wait for their next use


@dataclass(frozen=True)
class Square:
    """A square of a frame: top left corner and side, px. It may reach outside of the frame."""

    x: int
    y: int
    side: int

    def cut(self, frame: Frame, size: int) -> Image:
        """Cut the square out and resize it to RGB (size, size, 3); black outside of the frame."""
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
        """Convert positions (N, 2) from fractions of the square to px of the frame."""
        return relative * self.side + (self.x - 0.5, self.y - 0.5)

    def locate(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert positions (..., 2) from px of the frame to fractions of the square."""
        return np.asarray((position - (self.x - 0.5, self.y - 0.5)) / self.side, np.float64)


def square_around(center: NDArray[np.float64], side: float) -> Square:
    """Return the square of about ``side`` px around ``center`` (2,)."""
    pixels = max(8, round(side))
    return Square(round(center[0] - pixels / 2), round(center[1] - pixels / 2), pixels)


class MediapipeDetector:
    """A ``FaceDetector`` with the models that mediapipe's wheel contains.

    It remembers nothing from frame to frame. Close it, or use it in ``with``. To make one loads
    mediapipe and takes 35 ms once that is loaded.

    Args:
        max_faces: Faces that ``find`` returns at most, the largest ones.
    """

    def __init__(self, max_faces: int = MAX_FACES) -> None:
        self.max_faces = max_faces
        with hide_stderr_lines(REMARKS):
            with defer_import("matplotlib", "pyplot"):  # mediapipe imports it for drawing only
                from mediapipe.python.solutions import face_detection, face_mesh

            # The mesh projects its points correctly in square images only: it gets no others.
            self._mesh = face_mesh.FaceMesh(
                static_image_mode=True,
                max_num_faces=max_faces,
                min_detection_confidence=MIN_CONFIDENCE,
            )
            self._detector = face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=MIN_CONFIDENCE
            )
            self._mesh_alone = Mesh()
            black = np.zeros((CUT_SIDE, CUT_SIDE, 3), np.uint8)
            for graph in (self._mesh, self._detector):  # they start, and log it, in threads
                graph.process(black)
            self._mesh_alone.place(black, np.array([0.5, 0.5]), 1.0, 0.0)
        self._logs_again = True  # mediapipe writes one more message, at the first face

    def __enter__(self) -> "MediapipeDetector":
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
        self._mesh_alone.close()

    def find(
        self, frame: Frame, *, exclude: Sequence[Face] = (), search_tiles: bool = True
    ) -> list[Face]:
        """Find the faces in a frame, as ``FaceDetector.find`` describes.

        With ``search_tiles`` a frame in which no face is found is searched again, tile by tile,
        for small faces.
        """
        frame = as_picture(frame)
        height, width = frame.height, frame.width
        side = max(height, width)
        whole = Square((width - side) // 2, (height - side) // 2, side)
        view = whole.cut(frame, WHOLE_SIDE)
        guesses = self._run_mesh(view, whole) + self._detect(view, whole)
        faces = self._refine_all(frame, guesses, list(exclude))
        if search_tiles and not faces:
            for tile in _tiles(height, width):
                guesses = self._detect(tile.cut(frame, CUT_SIDE), tile)
                faces = self._refine_all(frame, guesses, faces)
        new = faces[len(exclude) :]
        largest = sorted(new, key=lambda face: -face.size)[: self.max_faces]
        # Both ways to place the mesh differ by a hundredth of the face: use that of ``follow``.
        return [self._follow(frame, face) or face for face in largest]

    def follow(self, frame: Frame, last: Face, *, verify: bool = False) -> Face | None:
        """Find a face of the previous frame again, as ``FaceDetector.follow`` describes.

        With ``verify`` a detector must find it too: the mesh alone may follow what hides a face.
        """
        face = self._follow(frame, last)
        if face is not None and not verify:
            return face
        near = [other for other in self._refine(frame, last) if other.is_near(face or last)]
        return (face or min(near, key=last.distance)) if near else None

    def _follow(self, frame: Frame, last: Face) -> Face | None:
        """Follow with the mesh alone, which is right where the face has hardly moved."""
        face = self._place(frame, last)
        if face is not None and face.distance(last) > SETTLED * last.size:
            face = self._place(frame, face)
        return face if face is not None and face.is_near(last) else None

    def _place(self, frame: Frame, guess: Face) -> Face | None:
        """Run the mesh at exactly the position, size and tilt of ``guess``."""
        square = square_around(guess.center, CUT_MARGIN * guess.size)
        right, left = guess.points[EYES]
        across, down = left - right
        angle = float(np.arctan2(down, across))
        lower = MESH_LOWER * guess.size * np.array([-np.sin(angle), np.cos(angle)])
        vertices = self._mesh_alone.place(
            square.cut(frame, CUT_SIDE),
            square.locate(guess.center + lower),
            MESH_SIDE * guess.size / square.side,
            angle,
        )
        return None if vertices is None else _face_of(square.place(vertices))

    def _refine(self, frame: Frame, guess: Face) -> list[Face]:
        """Run the mesh with its detector on the enlarged area around ``guess``."""
        square = square_around(guess.center, CUT_MARGIN * guess.size)
        return [
            face
            for face in self._run_mesh(square.cut(frame, CUT_SIDE), square)
            if face.is_near(guess, reach=1.0)
        ]

    def _refine_all(self, frame: Frame, guesses: list[Face], faces: list[Face]) -> list[Face]:
        """Add the faces near ``guesses`` to ``faces``, each one once.

        The mesh of the whole frame is a guess like any other: it may lie beside the face.
        """
        faces = list(faces)
        for guess in guesses:
            if not any(guess.is_near(face) for face in faces):
                for face in self._refine(frame, guess):
                    if not any(face.is_near(other) for other in faces):
                        faces.append(face)
        return faces

    def _run_mesh(self, view: Image, square: Square) -> list[Face]:
        with hide_stderr_lines(REMARKS, enabled=self._logs_again):
            meshes: Any = self._mesh.process(view).multi_face_landmarks or []
        self._logs_again = self._logs_again and not meshes
        return [_face_of(square.place(read_vertices(mesh))) for mesh in meshes]

    def _detect(self, view: Image, square: Square) -> list[Face]:
        """Run the full-range detector; its boxes become faces without landmarks."""
        faces = []
        for detection in self._detector.process(view).detections or []:
            box = detection.location_data.relative_bounding_box
            corners = square.place(
                np.array([(box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)])
            )
            faces.append(
                Face(np.empty((0, 2)), np.concatenate([corners[0], corners[1] - corners[0]]))
            )
        return faces


_idle: list[MediapipeDetector] = []  # to start one takes 35 ms, like following ten frames


@contextmanager
def borrow_detector() -> Iterator[MediapipeDetector]:
    """Lend a detector from a pool, so that it is used again; it is never lent twice at a time."""
    try:
        detector = _idle.pop()
    except IndexError:
        detector = MediapipeDetector()
        atexit.register(_close_idle)
    try:
        yield detector
    except BaseException:  # its graphs may still hold packets
        detector.close()
        raise
    if len(_idle) < MAX_IDLE:
        _idle.append(detector)
    else:
        detector.close()


def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def _face_of(vertices: NDArray[np.float64]) -> Face:
    """Return the face with these mesh vertices (468, 2), px."""
    corner = vertices.min(axis=0)
    return Face(vertices[VERTICES], np.concatenate([corner, vertices.max(axis=0) - corner]))


def _tiles(height: int, width: int) -> list[Square]:
    """Cover the frame with half overlapping squares of two thirds of its short side.

    In 1280x720 a face of 60 px gets as large in a tile as 24 px of the detector's 192. In frames of
    more than 4:1 the tiles are larger, so that a narrow strip has no more than eleven in a row.
    """
    side = max(1, min(height, width) * 2 // 3, max(height, width) // 6)

    def starts(length: int) -> list[int]:
        room = max(0, length - side)
        return np.linspace(0, room, 1 + -(-2 * room // side)).astype(int).tolist()

    return [Square(x, y, side) for y in starts(height) for x in starts(width)]
