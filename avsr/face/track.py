"""The mouths of the faces in a recording, and how stretches of them become one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import NUM_POINTS
from avsr.rates import MOUTH_SIZE


@dataclass(frozen=True, eq=False)
class MouthTrack:
    """The mouth of a recording at 25 Hz.

    ``mouth`` (T, 96, 96) uint8 grey crops; ``found`` (T,) bool, whether the face was seen in the
    frame; ``boxes`` (T, 4) float32 x, y, w, h of the face in px of the frame, nan where not found.
    ``tracks`` (T,) int numbers the stretches of one face from 0 on, -1 between them. Within them
    ``landmarks`` (T, 25, 2) float32, px of the frame, interpolated where the face was not seen,
    and ``matrices`` (T, 2, 3) float32 from the frame to the crop; nan outside. ``faces`` has the
    number of the face of each track, where faces were numbered.

    Where the face was not seen the crop is taken at its interpolated place in the picture; before
    the first, after the last and between tracks it repeats the nearest one. With no face in any
    frame it is black.
    """

    mouth: NDArray[np.uint8]
    found: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    tracks: NDArray[np.int_]
    landmarks: NDArray[np.float32]
    matrices: NDArray[np.float32]
    faces: tuple[int, ...] = ()

    def spans(self) -> list[tuple[int, int, int]]:
        """(face, first frame, frame after the last one) of each track; face 0: not numbered."""
        count = int(self.tracks.max(initial=-1)) + 1
        numbers = self.faces or (0,) * count
        places = (np.flatnonzero(self.tracks == track) for track in range(count))
        return [(n, int(at[0]), int(at[-1]) + 1) for n, at in zip(numbers, places, strict=True)]


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face from where it is found to where it is lost or the scene jumps, N frames at 25 Hz.

    The arrays are those of MouthTrack, (N, ...), from frame ``start`` of the recording on.
    """

    start: int
    mouth: NDArray[np.uint8]
    found: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    matrices: NDArray[np.float32]
    number: int = 0
    """Of the face, from 1 on; 0 before it was numbered."""

    @property
    def end(self) -> int:
        """The frame after the last one in which the face was seen."""
        return self.start + len(self.found)

    @property
    def height(self) -> float:
        """Of the face, px of the frame; the median."""
        return float(np.nanmedian(self.boxes[:, 3]))

    @property
    def center(self) -> NDArray[np.float64]:
        """Of the face (2,) x, y, px of the frame; the median."""
        middle = self.boxes[:, :2] + self.boxes[:, 2:] / 2
        return np.asarray(np.nanmedian(middle, axis=0), np.float64)

    @property
    def score(self) -> float:
        """Large and steady: median height (px) x frames seen x share of its frames seen.

        Not the area: a thing that passes for a large face in a few frames would win.
        """
        return self.height * float(self.found.sum()) ** 2 / len(self.found)


@dataclass(frozen=True, eq=False)
class FaceTracks:
    """All faces of a recording, or of a part of one."""

    tracks: tuple[FaceTrack, ...]
    num_frames: int


@dataclass(frozen=True)
class TrackSegment:
    """The frames ``first`` to ``last`` (left out) of the recording, in which ``track`` counts."""

    track: FaceTrack
    first: int
    last: int


def rank_tracks(
    tracks: Iterable[FaceTrack], rank: Callable[[FaceTrack], float]
) -> list[TrackSegment]:
    """The track of the highest ``rank``, and in the time that it leaves the next that fit."""
    chosen: list[FaceTrack] = []
    for track in sorted(tracks, key=lambda track: -rank(track)):
        if all(track.end <= other.start or other.end <= track.start for other in chosen):
            chosen.append(track)
    return [TrackSegment(track, track.start, track.end) for track in chosen]


def join_tracks(stretches: Sequence[TrackSegment], num_frames: int) -> MouthTrack:
    """Lay stretches that do not overlap on one time axis; the rest repeats the nearest crop."""
    mouth = np.zeros((num_frames, MOUTH_SIZE, MOUTH_SIZE), np.uint8)
    found = np.zeros(num_frames, np.bool_)
    boxes = np.full((num_frames, 4), np.nan, np.float32)
    numbers = np.full(num_frames, -1)
    landmarks = np.full((num_frames, NUM_POINTS, 2), np.nan, np.float32)
    matrices = np.full((num_frames, 2, 3), np.nan, np.float32)
    ordered = sorted(stretches, key=lambda stretch: stretch.first)
    for number, part in enumerate(ordered):
        track, span = part.track, slice(part.first, part.last)
        own = slice(part.first - track.start, part.last - track.start)
        mouth[span], found[span], boxes[span] = track.mouth[own], track.found[own], track.boxes[own]
        numbers[span] = number
        landmarks[span], matrices[span] = track.landmarks[own], track.matrices[own]
    frames, sources = np.flatnonzero(numbers < 0), np.flatnonzero(numbers >= 0)
    if len(sources):
        after = np.searchsorted(sources, frames)
        left = sources[np.maximum(after - 1, 0)]
        right = sources[np.minimum(after, len(sources) - 1)]
        mouth[frames] = mouth[np.where(abs(frames - left) <= abs(right - frames), left, right)]
    named = tuple(part.track.number for part in ordered)
    faces = named if any(named) else ()
    return MouthTrack(mouth, found, boxes, numbers, landmarks, matrices, faces)


def join_parts(parts: Iterable[tuple[int, MouthTrack]], num_frames: int) -> MouthTrack:
    """The mouth of a recording of so many frames from those of its parts, each with its first."""
    stretches = []
    for start, part in parts:
        for number, first, last in part.spans():
            own = slice(first, last)
            track = FaceTrack(
                start + first,
                part.mouth[own],
                part.found[own],
                part.boxes[own],
                part.landmarks[own],
                part.matrices[own],
                number,
            )
            stretches.append(TrackSegment(track, start + first, start + last))
    return join_tracks(stretches, num_frames)
