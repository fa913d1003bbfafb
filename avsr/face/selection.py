"""Who is who: numbers for faces, and the one (or all) whose lips are to be read.

Faces are numbered from 1 on in the order in which they come up, those that come within a second
from left to right. A face keeps its number from one part of a recording to the next, over cuts and
absences, if it turns up where it was last seen, as large, and looks alike; else it gets a new one.

What is read by itself (``auto``): of the faces that are large enough and whose mouth moves, the one
that speaks (speaking.py). A printed face or one on a slide does not. Who names a face gets it,
however small or still it is.
"""

from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.active_speaker import JUDGED, TALKING, Agree, choose_speaking, measure_movement
from avsr.face.geometry import MAX_TURN, FloatArray, measure_turns
from avsr.face.track import (
    FaceTrack,
    FaceTracks,
    MouthTrack,
    Stretch,
    join_tracks,
    rank_tracks,
)
from avsr.rates import FPS

AUTO, EVERY = "auto", "every"
WISHES = (AUTO, "largest", "left", "right", EVERY)  # or the number of a face

MIN_HEIGHT = 48.0  # px, forehead to chin; the lips of smaller faces are less than 16 px wide
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


class Cast:
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


def is_small(track: FaceTrack) -> bool:
    """Whether a face is too small for its lips to be read."""
    return track.height < MIN_HEIGHT


def is_readable(track: MouthTrack) -> NDArray[np.bool_]:
    """Whether the lips can be read, (T,): the face is seen and not turned away to a side."""
    readable = track.found.copy()
    turns = measure_turns(track.landmarks[readable])
    readable[readable] = turns < MAX_TURN
    return readable


def choose_face(
    faces: FaceTracks, wish: str, level: FloatArray | None, agree: Agree | None = None
) -> MouthTrack:
    """The mouth of the face that is asked for, at any time one; ``level`` is of the sound.

    ``wish`` is one of ``WISHES`` (``every``: like ``auto``) or a number as text; ``agree`` is asked
    who speaks, if that is the wish and in doubt.
    """
    if wish in (AUTO, EVERY):
        stretches = _speaking(faces, level, agree)
    elif wish.isdecimal():
        named = [track for track in faces.tracks if track.number == int(wish)]
        stretches = rank_tracks(named, lambda track: track.score)
    elif wish == "largest":
        stretches = rank_tracks(faces.tracks, lambda track: track.score)
    else:
        side = -1.0 if wish == "left" else 1.0
        stretches = rank_tracks(faces.tracks, lambda track: side * float(track.center[0]))
    return join_tracks(stretches, faces.num_frames)


def _speaking(faces: FaceTracks, level: FloatArray | None, agree: Agree | None) -> list[Stretch]:
    large = [track for track in faces.tracks if not is_small(track)]
    return choose_speaking(large, faces.num_frames, level, agree)


@dataclass(frozen=True, eq=False)
class Turn:
    """Frames ``first`` to ``last`` (left out) in which one face talks."""

    first: int
    last: int
    mouth: MouthTrack
    """Of these frames."""
    heard: bool
    """Whether the sound is its; else only its lips move."""


def find_turns(
    faces: FaceTracks, level: FloatArray | None, agree: Agree | None = None
) -> list[Turn]:
    """What each face says: its stretches with the sound, and those in which only its lips move.

    In order of time. ``level`` (T,) is of the sound; without it nobody is ``heard``. Sound while
    no face is there belongs to the one before, at the beginning to the first.
    """
    speaking = _speaking(faces, level, agree)
    runs = _by_face(speaking)
    edges = [0, *(run[0].first for run in runs[1:]), faces.num_frames]
    turns = [
        _turn(run, first, last, level is not None)
        for run, (first, last) in zip(runs, pairwise(edges), strict=False)
    ]
    for track in faces.tracks:
        if is_small(track):
            continue
        taken = [s for s in speaking if s.track.number == track.number]
        free = [not any(s.first <= t < s.last for s in taken) for t in range(track.end)]
        free[: track.start] = [False] * track.start
        first = 0
        for silent, frames in groupby(free):
            last = first + len(list(frames))
            own = track.landmarks[max(0, first - track.start) : last - track.start]
            if silent and last - first >= JUDGED and measure_movement(own) >= TALKING:
                turns.append(_turn([Stretch(track, first, last)], first, last, False))
            first = last
    return sorted(turns, key=lambda turn: (turn.first, turn.mouth.faces))


def _by_face(stretches: list[Stretch]) -> list[list[Stretch]]:
    """Neighbours of one face together (a cut does not end what it says)."""
    groups = groupby(stretches, key=lambda stretch: stretch.track.number)
    return [list(group) for _, group in groups]


def _turn(run: list[Stretch], first: int, last: int, heard: bool) -> Turn:
    moved = [
        Stretch(replace(s.track, start=s.track.start - first), s.first - first, s.last - first)
        for s in run
    ]
    return Turn(first, last, join_tracks(moved, last - first), heard)
