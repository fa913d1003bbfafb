"""From a stream of frames to the mouths of the faces in it.

Every face is followed on its own, from where it is found to where it is lost or the scene jumps.
Only small grey patches around faces are kept, and those only until the smoothing no longer needs
them. Whoever wants one mouth without a sound to choose by gets the largest steady face
(``track_mouth``); time in which it has no part is given to the next best one that never shared the
picture with it (the same talk after a cut).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import (
    MEAN_FACE,
    MOUTH,
    NUM_POINTS,
    SMOOTHING_WINDOW,
    STABLE,
    FloatArray,
    compose,
    crop_matrix,
    estimate_similarity,
    interpolate_landmarks,
    invert,
    reduce_image,
    reduction_for,
    warp,
)
from avsr.face.landmarks import MAX_FACES, Face, FaceFinder, Frame, borrow_finder
from avsr.media import Picture, as_picture
from avsr.rates import FPS, MOUTH_SIZE

SEARCH_EVERY = FPS  # frames between searches for new faces while all known ones are followed
RETRY_EVERY = 5  # frames between searches for a face that was lost
CLOSER_EVERY = 10  # frames between close looks at a picture that seems empty (60 ms at 720p)
MAX_GAP = 3 * FPS  # frames; a face that is away for longer ends its track
MIN_SEEN = FPS // 2  # frames; what is seen for less is no face
MIN_SHARE = 1 / 3  # of a track's frames
RETURN_REACH = 1.5  # face sizes; a lost face that turns up within them is the same one
STAY_REACH = 0.15  # face sizes; a face that moves no more is the same in spite of a jump around it
PATCH_SIZE = 200  # canvas px around the mouth; the crop (96) tilted, and room for smoothing
CUT_LEVEL = 24.0  # grey levels by which thumbnails differ on average when the scene jumps


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
class Stretch:
    """The frames ``first`` to ``last`` (left out) of the recording, in which ``track`` counts."""

    track: FaceTrack
    first: int
    last: int


@dataclass(frozen=True)
class _Patch:
    """Grey surroundings of a mouth and the matrix (2, 3) from the frame to them."""

    image: NDArray[np.uint8]
    matrix: FloatArray


@dataclass(eq=False)
class _Track:
    """One face from frame ``start`` on; ``crops`` lags behind by the smoothing window."""

    start: int
    last: Face
    found: list[bool] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    landmarks: list[FloatArray] = field(default_factory=list)
    matrices: list[FloatArray] = field(default_factory=list)
    waiting: deque[tuple[FloatArray, _Patch]] = field(default_factory=deque)
    gap: list[_Patch] = field(default_factory=list)
    transform: FloatArray | None = None

    def add_found(self, frame: Picture, face: Face) -> None:
        """The face in the next frame; a gap before it is filled from both of its ends."""
        if self.gap:
            ends = np.stack([self.last.points, *[face.points] * (len(self.gap) + 1)])
            seen = [True, *[False] * len(self.gap), True]
            for points, patch in zip(
                interpolate_landmarks(ends, seen)[1:-1], self.gap, strict=True
            ):
                self._add(points, patch, None)
            self.gap = []
        self.last = face
        self._add(face.points, _cut_patch(frame, face.points, PATCH_SIZE), face)

    def add_missing(self, frame: Picture) -> None:
        """The next frame, in which the face is not seen: keep what is at its last place."""
        self.gap.append(_cut_patch(frame, self.last.points, 2 * PATCH_SIZE))

    def _add(self, points: FloatArray, patch: _Patch, face: Face | None) -> None:
        self.found.append(face is not None)
        self.boxes.append(np.full(4, np.nan) if face is None else face.box)
        self.waiting.append((points, patch))
        if len(self.waiting) == SMOOTHING_WINDOW:
            self._crop_next(self._smooth())

    def _smooth(self) -> FloatArray:
        """The transform of the mean of all frames that wait."""
        stable = np.mean([points[STABLE] for points, _ in self.waiting], axis=0)
        self.transform = estimate_similarity(stable, MEAN_FACE)
        return self.transform

    def _crop_next(self, transform: FloatArray) -> None:
        points, patch = self.waiting.popleft()
        matrix = crop_matrix(points, transform)
        self.crops.append(warp(patch.image, compose(matrix, invert(patch.matrix))))
        self.landmarks.append(points)
        self.matrices.append(matrix)

    def close(self) -> None:
        """Crop what still waits, with the last full window; a gap at the end is dropped."""
        self.gap = []
        transform = self._smooth() if self.transform is None else self.transform
        while self.waiting:
            self._crop_next(transform)


def track_mouth(frames: Iterable[Frame]) -> MouthTrack:
    """Follow the largest steady face through ``frames`` at 25 Hz, RGB (H, W, 3) uint8 or pictures.

    The frames are read once, as a stream. The same frames give the same result.
    """
    faces = track_faces(frames)
    return join_tracks(rank_tracks(faces.tracks, lambda track: track.score), faces.num_frames)


def track_faces(frames: Iterable[Frame]) -> FaceTracks:
    """Follow all faces through ``frames`` at 25 Hz, in order of their start.

    The frames, RGB (H, W, 3) uint8 or pictures, are read once, as a stream. A cut ends the track
    of a face that is not where it was; a face that is not seen for up to 3 s goes on (its crops are
    taken at interpolated places). Flickers are no faces: a track counts from half a second on (in a
    short clip from a quarter of it), and when its face is seen in a third of its frames. At most 4
    faces are followed at a time, the largest ones.
    """
    ended: list[_Track] = []
    active: list[_Track] = []
    thumbnail: FloatArray | None = None
    num_frames, searched, looked = 0, 0, -CLOSER_EVERY
    with borrow_finder() as finder:
        for index, frame in enumerate(map(as_picture, frames)):
            num_frames = index + 1
            previous, thumbnail = thumbnail, _thumbnail(frame)
            cut = previous is not None and np.abs(thumbnail - previous).mean() > CUT_LEVEL
            faces = _follow(finder, frame, active, index % SEARCH_EVERY == 0)
            if cut:
                ended += _end_moved(active, faces)
            wait = RETRY_EVERY if None in faces else SEARCH_EVERY
            if cut or not active or index - searched >= wait:
                closer = cut or index - looked >= CLOSER_EVERY
                searched, looked = index, index if closer else looked
                _assign(finder.find(frame, closer=closer), faces, active, index)
            for track, face in zip(active, faces, strict=True):
                if face is None:
                    track.add_missing(frame)
                else:
                    track.add_found(frame, face)
            ended += _end_gone(active)
    enough = min(MIN_SEEN, max(1, num_frames // 4))
    tracks = [
        _packed(track)
        for track in ended + _close(active)
        if sum(track.found) >= max(enough, MIN_SHARE * len(track.found))
    ]
    return FaceTracks(tuple(sorted(tracks, key=lambda track: track.start)), num_frames)


def _thumbnail(frame: Picture) -> FloatArray:
    """The picture at 32x18 in grey without its mean level: what a cut changes, a flash does not."""
    sampled = frame.sampled(max(1, min(frame.width // 160, frame.height // 90)))
    grey = cv2.resize(sampled, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float64)
    return grey - grey.mean()


def _follow(
    finder: FaceFinder, frame: Picture, active: list[_Track], sure: bool
) -> list[Face | None]:
    """The face of each track in the next frame; no two tracks get the same one."""
    faces: list[Face | None] = []
    for track in active:
        face = finder.follow(frame, track.last, sure=sure)
        taken = face is not None and any(o is not None and o.is_near(face) for o in faces)
        faces.append(None if taken else face)
    return faces


def _assign(seen: list[Face], faces: list[Face | None], active: list[_Track], index: int) -> None:
    """Give the faces that a search has ``seen`` to lost tracks nearby, or to new ones."""
    for face in seen:
        if any(other is not None and other.is_near(face) for other in faces):
            continue
        lost = [i for i, other in enumerate(faces) if other is None]
        near = [i for i in lost if face.is_near(active[i].last, reach=RETURN_REACH)]
        if near:
            nearest = min(near, key=lambda i: face.distance(active[i].last))
            faces[nearest] = face
        else:
            active.append(_Track(start=index, last=face))
            faces.append(face)


def _end_moved(active: list[_Track], faces: list[Face | None]) -> list[_Track]:
    """Where the scene jumps, end the tracks whose face is not exactly where it was."""
    pairs = list(zip(active, faces, strict=True))
    stay = [
        (track, face)
        for track, face in pairs
        if face is not None and face.is_near(track.last, reach=STAY_REACH)
    ]
    staying = [track for track, _ in stay]
    active[:], faces[:] = staying, [face for _, face in stay]
    return _close(track for track, _ in pairs if track not in staying)


def _end_gone(active: list[_Track]) -> list[_Track]:
    """End the tracks whose face is away for too long, and the smallest where there are too many."""
    by_size = sorted(active, key=lambda track: -track.last.size)
    gone = [track for track in active if len(track.gap) > MAX_GAP or track in by_size[MAX_FACES:]]
    active[:] = [track for track in active if track not in gone]
    return _close(gone)


def _close(tracks: Iterable[_Track]) -> list[_Track]:
    closed = list(tracks)
    for track in closed:
        track.close()
    return closed


def _packed(track: _Track) -> FaceTrack:
    return FaceTrack(
        track.start,
        np.stack(track.crops),
        np.array(track.found, np.bool_),
        np.array(track.boxes, np.float32),
        np.array(track.landmarks, np.float32),
        np.array(track.matrices, np.float32),
    )


def rank_tracks(tracks: Iterable[FaceTrack], rank: Callable[[FaceTrack], float]) -> list[Stretch]:
    """The track of the highest ``rank``, and in the time that it leaves the next that fit."""
    chosen: list[FaceTrack] = []
    for track in sorted(tracks, key=lambda track: -rank(track)):
        if all(track.end <= other.start or other.end <= track.start for other in chosen):
            chosen.append(track)
    return [Stretch(track, track.start, track.end) for track in chosen]


def join_tracks(stretches: Sequence[Stretch], num_frames: int) -> MouthTrack:
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


def _cut_patch(frame: Picture, points: FloatArray, size: int) -> _Patch:
    """The grey square of ``size`` canvas px around the mouth, shrunk to about canvas scale."""
    to_canvas = estimate_similarity(points[STABLE], MEAN_FACE)
    side = size / float(np.hypot(*to_canvas[:, 0]))
    center = points[MOUTH].mean(axis=0)
    limits = (frame.width, frame.height)
    x0, y0 = (min(max(int(c - side / 2), 0), n - 1) for c, n in zip(center, limits, strict=True))
    x1, y1 = (
        min(max(int(c + side / 2), low + 1), n)
        for c, low, n in zip(center, (x0, y0), limits, strict=True)
    )
    small, shrink = reduce_image(frame.grey(x0, y0, x1, y1), reduction_for(to_canvas))
    return _Patch(small, compose(shrink, [[1, 0, -x0], [0, 1, -y0]]))
