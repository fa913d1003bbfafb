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

import numpy as np
from numpy.typing import NDArray

from avsr.face.active_speaker import JUDGED, TALKING, Agree, choose_speaking, measure_movement
from avsr.face.geometry import MAX_TURN, FloatArray, measure_turns
from avsr.face.track import (
    FaceTrack,
    FaceTracks,
    MouthTrack,
    TrackSegment,
    join_tracks,
    rank_tracks,
)

MIN_HEIGHT = 48.0  # px, forehead to chin; the lips of smaller faces are less than 16 px wide


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
    faces: FaceTracks, choice: str, level: FloatArray | None, agree: Agree | None = None
) -> MouthTrack:
    """The mouth of the face that is asked for, at any time one; ``level`` is of the sound.

    ``choice`` is ``auto``, ``all`` (here the same), ``largest``, ``left``, ``right``, or a number
    as text; ``agree`` is asked who speaks, if that is the choice and in doubt.
    """
    if choice in ("auto", "all"):
        stretches = _speaking(faces, level, agree)
    elif choice.isdecimal():
        named = [track for track in faces.tracks if track.number == int(choice)]
        stretches = rank_tracks(named, lambda track: track.score)
    elif choice == "largest":
        stretches = rank_tracks(faces.tracks, lambda track: track.score)
    else:
        side = -1.0 if choice == "left" else 1.0
        stretches = rank_tracks(faces.tracks, lambda track: side * float(track.center[0]))
    return join_tracks(stretches, faces.num_frames)


def _speaking(
    faces: FaceTracks, level: FloatArray | None, agree: Agree | None
) -> list[TrackSegment]:
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
                turns.append(_turn([TrackSegment(track, first, last)], first, last, False))
            first = last
    return sorted(turns, key=lambda turn: (turn.first, turn.mouth.faces))


def _by_face(stretches: list[TrackSegment]) -> list[list[TrackSegment]]:
    """Neighbours of one face together (a cut does not end what it says)."""
    groups = groupby(stretches, key=lambda stretch: stretch.track.number)
    return [list(group) for _, group in groups]


def _turn(run: list[TrackSegment], first: int, last: int, heard: bool) -> Turn:
    moved = [
        TrackSegment(replace(s.track, start=s.track.start - first), s.first - first, s.last - first)
        for s in run
    ]
    return Turn(first, last, join_tracks(moved, last - first), heard)
