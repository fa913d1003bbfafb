"""Tracks of faces and their mouths, and how segments of several tracks are joined into one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import NUM_POINTS
from avsr.rates import MOUTH_SIZE


@dataclass(frozen=True, eq=False)
class MouthTrack:
    """The mouth of a recording, T frames at 25 Hz.

    In frames of a track without a detected face the crop is taken at its interpolated position.
    Before the first track, after the last one and between tracks the nearest crop is repeated.
    Without any track all crops are black.

    Attributes:
        mouth: Grey crops (T, 96, 96) uint8.
        found: (T,) bool, whether the face was detected in the frame.
        boxes: x, y, width, height (T, 4) float32 of the face, px of the frame; nan if not found.
        tracks: Number (T,) int of the track, from 0 on; -1 between tracks.
        landmarks: (T, 25, 2) float32, px of the frame, interpolated where the face was not
            detected; nan between tracks.
        matrices: (T, 2, 3) float32 from the frame to the crop; nan between tracks.
        faces: Number of the face of each track; empty if the faces have no numbers.
    """

    mouth: NDArray[np.uint8]
    found: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    tracks: NDArray[np.int_]
    landmarks: NDArray[np.float32]
    matrices: NDArray[np.float32]
    faces: tuple[int, ...] = ()

    def spans(self) -> list[tuple[int, int, int]]:
        """List (face, first frame, frame after the last one) of each track; face 0: no number."""
        count = int(self.tracks.max(initial=-1)) + 1
        numbers = self.faces or (0,) * count
        indices = (np.flatnonzero(self.tracks == track) for track in range(count))
        return [(n, int(i[0]), int(i[-1]) + 1) for n, i in zip(numbers, indices, strict=True)]


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face from where it is found to where it is lost or the scene cuts, N frames at 25 Hz.

    Attributes:
        start: Frame of the recording in which the track begins.
        mouth, found, boxes, landmarks, matrices: As in ``MouthTrack``, (N, ...).
        number: Number of the face, from 1 on; 0 before it has one.
    """

    start: int
    mouth: NDArray[np.uint8]
    found: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    matrices: NDArray[np.float32]
    number: int = 0

    @property
    def end(self) -> int:
        """The frame after the last one in which the face was detected."""
        return self.start + len(self.found)

    @property
    def height(self) -> float:
        """Median height of the face, px of the frame."""
        return float(np.nanmedian(self.boxes[:, 3]))

    @property
    def center(self) -> NDArray[np.float64]:
        """Median centre (2,) x, y of the face, px of the frame."""
        middle = self.boxes[:, :2] + self.boxes[:, 2:] / 2
        return np.asarray(np.nanmedian(middle, axis=0), np.float64)

    @property
    def score(self) -> float:
        """How large and steady the face is: median height (px) x frames found x share found.

        Not the area: a false detection that is large for a few frames would win.
        """
        return self.height * float(self.found.sum()) ** 2 / len(self.found)


@dataclass(frozen=True, eq=False)
class FaceTracks:
    """All faces of a recording, or of a part of one.

    Attributes:
        tracks: Their tracks, in order of ``start``.
        num_frames: Frames of the recording or part.
    """

    tracks: tuple[FaceTrack, ...]
    num_frames: int


@dataclass(frozen=True)
class TrackSegment:
    """The frames ``first`` to ``last`` (exclusive) of the recording, in which ``track`` is used."""

    track: FaceTrack
    first: int
    last: int


def rank_tracks(
    tracks: Iterable[FaceTrack], rank: Callable[[FaceTrack], float]
) -> list[TrackSegment]:
    """Choose the track of the highest ``rank``, then the next ones that do not overlap with it."""
    segments: list[TrackSegment] = []
    for track in sorted(tracks, key=lambda track: -rank(track)):
        if all(track.end <= other.first or other.last <= track.start for other in segments):
            segments.append(TrackSegment(track, track.start, track.end))
    return segments


def join_tracks(segments: Sequence[TrackSegment], num_frames: int) -> MouthTrack:
    """Lay segments that do not overlap on one time axis; gaps repeat the nearest crop."""
    mouth = np.zeros((num_frames, MOUTH_SIZE, MOUTH_SIZE), np.uint8)
    detected = np.zeros(num_frames, np.bool_)
    boxes = np.full((num_frames, 4), np.nan, np.float32)
    numbers = np.full(num_frames, -1)
    landmarks = np.full((num_frames, NUM_POINTS, 2), np.nan, np.float32)
    matrices = np.full((num_frames, 2, 3), np.nan, np.float32)
    ordered = sorted(segments, key=lambda segment: segment.first)
    for number, segment in enumerate(ordered):
        track, to = segment.track, slice(segment.first, segment.last)
        part = slice(segment.first - track.start, segment.last - track.start)
        mouth[to], boxes[to] = track.mouth[part], track.boxes[part]
        detected[to] = track.found[part]
        numbers[to] = number
        landmarks[to], matrices[to] = track.landmarks[part], track.matrices[part]
    gaps, sources = np.flatnonzero(numbers < 0), np.flatnonzero(numbers >= 0)
    if len(sources):
        after = np.searchsorted(sources, gaps)
        left = sources[np.maximum(after - 1, 0)]
        right = sources[np.minimum(after, len(sources) - 1)]
        mouth[gaps] = mouth[np.where(abs(gaps - left) <= abs(right - gaps), left, right)]
    faces = tuple(segment.track.number for segment in ordered)
    return MouthTrack(
        mouth, detected, boxes, numbers, landmarks, matrices, faces if any(faces) else ()
    )


def join_parts(parts: Iterable[tuple[int, MouthTrack]], num_frames: int) -> MouthTrack:
    """Join the mouths of the parts of a recording.

    Args:
        parts: (first frame, mouth) of each part. The parts do not overlap.
        num_frames: Frames of the recording.

    Returns:
        The mouth of the recording; frames outside of the parts repeat the nearest crop.
    """
    segments = []
    for start, part in parts:
        for number, first, last in part.spans():
            span = slice(first, last)
            track = FaceTrack(
                start + first,
                part.mouth[span],
                part.found[span],
                part.boxes[span],
                part.landmarks[span],
                part.matrices[span],
                number,
            )
            segments.append(TrackSegment(track, start + first, start + last))
    return join_tracks(segments, num_frames)
