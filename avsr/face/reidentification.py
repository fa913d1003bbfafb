"""Re-identification: give a face the same number in all parts of a recording.

Faces are numbered from 1 in the order in which they appear; those that appear within a second from
left to right. After a cut, an absence or the end of a part, a track gets the number of a face that
was seen before if it begins near where that face was seen last, has a similar size and looks alike.
Else it gets a new number.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from avsr.face.geometry import FloatArray
from avsr.face.track import FaceTrack, FaceTracks
from avsr.rates import FPS

SAME_PLACE = 0.5  # face sizes; the largest distance at which a face is recognized
SAME_SIZE = 1.6  # times; the largest ratio of sizes
SAME_LOOK = 0.8  # correlation of mean crops; a face with itself 0.85 to 0.99, strangers 0.46
LOOK_SIDE = 24  # px, side of the mean crops that are compared
MAX_FACES_REMEMBERED = 200  # those seen last


@dataclass(eq=False)
class _NumberedFace:
    """A face that has a number: where it was seen last, and how its mouth looks."""

    number: int
    center: FloatArray
    height: float
    look: FloatArray


class FaceRegistry:
    """Numbers the faces of one recording, part by part.

    Attributes:
        count: Faces that were numbered so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._faces: list[_NumberedFace] = []  # the last seen at the end

    def number(self, faces: FaceTracks) -> FaceTracks:
        """Number the faces of the next part and remember them.

        Args:
            faces: The tracks of the part.

        Returns:
            The same tracks with their numbers.
        """
        numbered: list[FaceTrack] = []
        for track in sorted(faces.tracks, key=lambda t: (t.start // FPS, t.center[0])):
            match = self._find(track, numbered)
            number = self._add(track) if match is None else self._update(match, track)
            numbered.append(replace(track, number=number))
        return replace(faces, tracks=tuple(sorted(numbered, key=lambda t: t.start)))

    def recall(self, faces: FaceTracks) -> FaceTracks:
        """Recognize faces without numbering new ones; nothing is remembered.

        Args:
            faces: The tracks of a part.

        Returns:
            The same tracks, with 0 as the number of a face that is not recognized.
        """
        numbered: list[FaceTrack] = []
        for track in faces.tracks:
            match = self._find(track, numbered)
            numbered.append(replace(track, number=0 if match is None else match.number))
        return replace(faces, tracks=tuple(numbered))

    def _find(self, track: FaceTrack, others: list[FaceTrack]) -> _NumberedFace | None:
        """Return the nearest face that a track may be; not one that has a frame in common."""
        excluded = {o.number for o in others if o.start < track.end and track.start < o.end}
        x, y = _first_center(track)
        look = _look_of(track)
        candidates = []
        for face in self._faces:
            distance = float(np.hypot(face.center[0] - x, face.center[1] - y))
            small, large = sorted((face.height, track.height))
            if (
                face.number not in excluded
                and distance < SAME_PLACE * large
                and large < SAME_SIZE * small
                and float(face.look @ look) > SAME_LOOK
            ):
                candidates.append((distance, face))
        return min(candidates, key=lambda pair: pair[0])[1] if candidates else None

    def _update(self, face: _NumberedFace, track: FaceTrack) -> int:
        self._faces.remove(face)
        self._faces.append(_numbered_face(face.number, track))
        return face.number

    def _add(self, track: FaceTrack) -> int:
        self.count += 1
        face = _numbered_face(self.count, track)
        self._faces = [*self._faces[1 - MAX_FACES_REMEMBERED :], face]
        return self.count


def _numbered_face(number: int, track: FaceTrack) -> _NumberedFace:
    last = np.flatnonzero(track.found)[-1]
    center = track.boxes[last, :2] + track.boxes[last, 2:] / 2
    return _NumberedFace(number, np.asarray(center, np.float64), track.height, _look_of(track))


def _first_center(track: FaceTrack) -> FloatArray:
    box = track.boxes[np.flatnonzero(track.found)[0]]
    return np.asarray(box[:2] + box[2:] / 2, np.float64)


def _look_of(track: FaceTrack) -> FloatArray:
    """Return the small mean crop, without level and contrast, as a vector of length 1 (0: flat)."""
    mean = track.mouth[track.found].mean(axis=0)
    small = cv2.resize(mean, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA).ravel()
    away = np.asarray(small - small.mean(), np.float64)
    return away / max(float(np.linalg.norm(away)), 1e-9)
