"""Choose the face whose lips are read, or find the turns of all faces.

With the choice ``auto`` it is the face that speaks (``active_speaker``), out of those that are
large enough and whose mouths move: not a printed face nor one on a slide. A face that is chosen by
its number is read however small or still it is. Numbers are those of ``reidentification``.
"""

from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from avsr.face.active_speaker import JUDGED, TALKING, Agree, choose_speaking, measure_movement
from avsr.face.geometry import FloatArray
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
    """Whether a face is too small for its lips to be read.

    Args:
        track: The face.

    Returns:
        True if its median height is less than ``MIN_HEIGHT``.
    """
    return track.height < MIN_HEIGHT


def choose_face(
    faces: FaceTracks, choice: str, level: FloatArray | None, agree: Agree | None = None
) -> MouthTrack:
    """Choose one face in each frame and lay their mouths on one time axis.

    Args:
        faces: The faces of a recording.
        choice: ``auto`` (the one that speaks), ``all`` (here the same), ``largest``, ``left``,
            ``right`` (of the frame), or the number of a face as text.
        level: Loudness (T,) of the sound, natural logarithm; None if there is no sound.
        agree: Measures the agreement of sound and lips, for ``auto`` where it is not clear who
            speaks.

    Returns:
        The mouth of the chosen face in each frame; without frames of it, black.
    """
    if choice in ("auto", "all"):
        segments = _speaking(faces, level, agree)
    elif choice.isdecimal():
        tracks = [track for track in faces.tracks if track.number == int(choice)]
        segments = rank_tracks(tracks, lambda track: track.score)
    elif choice == "largest":
        segments = rank_tracks(faces.tracks, lambda track: track.score)
    else:
        side = -1.0 if choice == "left" else 1.0
        segments = rank_tracks(faces.tracks, lambda track: side * float(track.center[0]))
    return join_tracks(segments, faces.num_frames)


def _speaking(
    faces: FaceTracks, level: FloatArray | None, agree: Agree | None
) -> list[TrackSegment]:
    large = [track for track in faces.tracks if not is_small(track)]
    return choose_speaking(large, faces.num_frames, level, agree)


@dataclass(frozen=True, eq=False)
class Turn:
    """A turn of one face: frames ``first`` to ``last`` (exclusive) in which it talks.

    Attributes:
        first: First frame.
        last: Frame after the last one.
        mouth: Its mouth in these frames.
        heard: Whether the sound belongs to it; else only its lips move.
    """

    first: int
    last: int
    mouth: MouthTrack
    heard: bool


def find_turns(
    faces: FaceTracks, level: FloatArray | None, agree: Agree | None = None
) -> list[Turn]:
    """Find the turns of all faces: with the sound, and those in which only the lips move.

    Sound in frames without any face belongs to the face before, at the beginning to the first one.

    Args:
        faces: The faces of a recording, with their numbers.
        level: Loudness (T,) of the sound, natural logarithm; without it no turn is ``heard``.
        agree: As in ``choose_face``.

    Returns:
        The turns in order of time. Those that are heard do not overlap with one another.
    """
    speaking = _speaking(faces, level, agree)
    runs = _group_by_face(speaking)
    edges = [0, *(run[0].first for run in runs[1:]), faces.num_frames]
    turns = [
        _make_turn(run, first, last, level is not None)
        for run, (first, last) in zip(runs, pairwise(edges), strict=False)
    ]
    for track in faces.tracks:
        if not is_small(track):
            turns += _silent_turns(track, speaking)
    return sorted(turns, key=lambda turn: (turn.first, turn.mouth.faces))


def _silent_turns(track: FaceTrack, speaking: list[TrackSegment]) -> list[Turn]:
    """Find the turns of a track outside of the segments in which its face has the sound."""
    segments = [s for s in speaking if s.track.number == track.number]
    is_silent = [not any(s.first <= t < s.last for s in segments) for t in range(track.end)]
    is_silent[: track.start] = [False] * track.start
    turns, first = [], 0
    for silent, frames in groupby(is_silent):
        last = first + len(list(frames))
        landmarks = track.landmarks[max(0, first - track.start) : last - track.start]
        if silent and last - first >= JUDGED and measure_movement(landmarks) >= TALKING:
            turns.append(_make_turn([TrackSegment(track, first, last)], first, last, False))
        first = last
    return turns


def _group_by_face(segments: list[TrackSegment]) -> list[list[TrackSegment]]:
    """Group neighbouring segments of the same face: a cut does not end a turn."""
    groups = groupby(segments, key=lambda segment: segment.track.number)
    return [list(group) for _, group in groups]


def _make_turn(segments: list[TrackSegment], first: int, last: int, has_sound: bool) -> Turn:
    shifted = [
        TrackSegment(replace(s.track, start=s.track.start - first), s.first - first, s.last - first)
        for s in segments
    ]
    return Turn(first, last, join_tracks(shifted, last - first), has_sound)
