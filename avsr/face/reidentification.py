"""TODO."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from avsr.face.geometry import FloatArray
from avsr.face.track import (
    FaceTrack,
    FaceTracks,
)
from avsr.rates import FPS

SAME_PLACE = 0.5  # sizes of a face within which it turns up again
SAME_SIZE = 1.6  # times
SAME_LOOK = 0.8  # correlation of mean crops; a face with itself 0.85 to 0.99, strangers 0.46
LOOK_SIDE = 24  # px
MOST_KNOWN = 200  # faces that are remembered, the last seen


@dataclass(eq=False)
class _Known:
    """A face that was numbered: where it was last, and what its mouth looks like."""

    number: int
    center: FloatArray
    height: float
    look: FloatArray


class FaceRegistry:
    """Numbers the faces of one recording, part by part."""

    def __init__(self) -> None:
        self.count = 0
        self._known: list[_Known] = []  # the last seen at the end

    def number(self, faces: FaceTracks) -> FaceTracks:
        """The same tracks of the next part with their numbers."""
        numbered: list[FaceTrack] = []
        for track in sorted(faces.tracks, key=lambda t: (t.start // FPS, t.center[0])):
            known = self._find(track, numbered)
            number = self._add(track) if known is None else self._see(known, track)
            numbered.append(replace(track, number=number))
        return replace(faces, tracks=tuple(sorted(numbered, key=lambda t: t.start)))

    def recall(self, faces: FaceTracks) -> FaceTracks:
        """The same tracks with the numbers of those that are known; nothing is remembered."""
        numbered: list[FaceTrack] = []
        for track in faces.tracks:
            known = self._find(track, numbered)
            numbered.append(replace(track, number=0 if known is None else known.number))
        return replace(faces, tracks=tuple(numbered))

    def _find(self, track: FaceTrack, others: list[FaceTrack]) -> _Known | None:
        """The known face that this one is: the nearest that is not in the picture with it."""
        beside = {o.number for o in others if o.start < track.end and track.start < o.end}
        x, y = _first_center(track)
        look = _look_of(track)
        near = []
        for known in self._known:
            distance = float(np.hypot(known.center[0] - x, known.center[1] - y))
            small, large = sorted((known.height, track.height))
            if (
                known.number not in beside
                and distance < SAME_PLACE * large
                and large < SAME_SIZE * small
                and float(known.look @ look) > SAME_LOOK
            ):
                near.append((distance, known))
        return min(near, key=lambda pair: pair[0])[1] if near else None

    def _see(self, known: _Known, track: FaceTrack) -> int:
        self._known.remove(known)
        self._known.append(_remember(known.number, track))
        return known.number

    def _add(self, track: FaceTrack) -> int:
        self.count += 1
        self._known = [*self._known[1 - MOST_KNOWN :], _remember(self.count, track)]
        return self.count


def _remember(number: int, track: FaceTrack) -> _Known:
    seen = np.flatnonzero(track.found)[-1]
    center = track.boxes[seen, :2] + track.boxes[seen, 2:] / 2
    return _Known(number, np.asarray(center, np.float64), track.height, _look_of(track))


def _first_center(track: FaceTrack) -> FloatArray:
    box = track.boxes[np.flatnonzero(track.found)[0]]
    return np.asarray(box[:2] + box[2:] / 2, np.float64)


def _look_of(track: FaceTrack) -> FloatArray:
    """The mean crop, small, without level and contrast: a vector of length 1 (0 if it is flat)."""
    mean = track.mouth[track.found].mean(axis=0)
    small = cv2.resize(mean, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA).ravel()
    away = np.asarray(small - small.mean(), np.float64)
    return away / max(float(np.linalg.norm(away)), 1e-9)
