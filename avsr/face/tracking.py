"""From a stream of frames to the tracks of the faces in it.

Every face is followed on its own, from where it is found to where it is lost or the scene jumps.
Only small grey patches around faces are kept, and those only until the smoothing no longer needs
them.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import (
    MEAN_FACE,
    MOUTH,
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
from avsr.face.landmarks import EYES, MAX_FACES, Face, FaceDetector, Frame, borrow_finder
from avsr.face.track import FaceTrack, FaceTracks, MouthTrack, join_tracks, rank_tracks
from avsr.media import Picture, as_picture
from avsr.rates import FPS

SEARCH_EVERY = FPS  # frames between searches for new faces while all known ones are followed
RETRY_EVERY = 5  # frames between searches for a face that was lost
CLOSER_EVERY = 10  # frames between close looks at a picture that seems empty (60 ms at 720p)
MAX_GAP = 3 * FPS  # frames; a face that is away for longer ends its track
MIN_SEEN = FPS // 2  # frames; what is seen for less is no face
MIN_SHARE = 1 / 3  # of a track's frames
RETURN_REACH = 1.5  # face sizes; a lost face that turns up within them is the same one
STAY_REACH = 0.15  # face sizes; a face that moves no more is the same in spite of a jump around it
PATCH_SIZE = 200  # canvas px around the mouth; the crop (96) tilted, and room for smoothing
HALF_WAY = 1.0  # canvas px; what moves no more in two frames is half-way between them in the middle
EYES_APART = float(np.hypot(*(MEAN_FACE[4] - MEAN_FACE[1])))  # canvas px, the outer corners
CUT_LEVEL = 24.0  # grey levels by which thumbnails differ on average when the scene jumps


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

    def add(self, frame: Picture, face: Face | None) -> None:
        """The face in the next frame; a gap before it is filled from both of its ends.

        Where it is not seen, what is at its last place is kept.
        """
        if face is None:
            self.gap.append(_cut_patch(frame, self.last.points, 2 * PATCH_SIZE))
            return
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

    def packed(self) -> FaceTrack:
        """What was cropped."""
        return FaceTrack(
            self.start,
            np.stack(self.crops),
            np.array(self.found, np.bool_),
            np.array(self.boxes, np.float32),
            np.array(self.landmarks, np.float32),
            np.array(self.matrices, np.float32),
        )


def track_mouth(frames: Iterable[Frame]) -> MouthTrack:
    """Follow the largest steady face through ``frames`` at 25 Hz, RGB (H, W, 3) uint8 or pictures.

    Time in which it has no part is given to the next best one that never shared the picture with
    it (the same talk after a cut). The frames are read once, as a stream. The same frames give the
    same result.
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
    with borrow_finder() as finder:
        follower = FaceTracker(finder)
        for frame in map(as_picture, frames):
            follower.add(frame)
        return follower.finish()


class FaceTracker:
    """Takes one frame after the other.

    While the only face hardly moves, the mesh looks at every second frame; in the frame between,
    which is held back, the face is half-way between where it was and where it is then.
    """

    def __init__(self, finder: FaceDetector) -> None:
        self.finder = finder
        self.num_frames = 0
        self.active: list[_Track] = []
        self.ended: list[_Track] = []
        self._thumbnail: FloatArray | None = None
        self._held: Picture | None = None
        self._searched, self._looked = 0, -CLOSER_EVERY

    def add(self, frame: Picture) -> None:
        """Follow the known faces into the next frame; search for others from time to time."""
        index, active = self.num_frames, self.active
        self.num_frames += 1
        previous, self._thumbnail = self._thumbnail, _thumbnail(frame)
        cut = previous is not None and np.abs(self._thumbnail - previous).mean() > CUT_LEVEL
        if not cut and self._may_hold(index):
            self._held = frame
            return
        sure = index % SEARCH_EVERY == 0
        faces = self._follow(frame, sure)
        if self._held is not None and not self._place_held(None if cut else faces[0]):
            faces = self._follow(frame, sure)
        if cut:
            self.ended += _end_moved(active, faces)
        wait = RETRY_EVERY if None in faces else SEARCH_EVERY
        if cut or not active or index - self._searched >= wait:
            closer = cut or index - self._looked >= CLOSER_EVERY
            self._searched, self._looked = index, index if closer else self._looked
            known = [face for face in faces if face is not None]
            _assign(self.finder.find(frame, closer=closer, known=known), faces, active, index)
        for track, face in zip(active, faces, strict=True):
            track.add(frame, face)
        self.ended += _end_gone(active)

    def finish(self) -> FaceTracks:
        """The tracks of what was added."""
        if self._held is not None:
            self._place_held(None)
        enough = min(MIN_SEEN, max(1, self.num_frames // 4))
        tracks = [
            track.packed()
            for track in self.ended + _close(self.active)
            if sum(track.found) >= max(enough, MIN_SHARE * len(track.found))
        ]
        in_order = sorted(tracks, key=lambda track: track.start)
        return FaceTracks(tuple(in_order), self.num_frames)

    def _may_hold(self, index: int) -> bool:
        """Whether frame ``index`` can wait for the next one."""
        return (
            self._held is None
            and len(self.active) == 1
            and not self.active[0].gap
            and index % SEARCH_EVERY != 0
            and index - self._searched < SEARCH_EVERY
        )

    def _place_held(self, following: Face | None) -> bool:
        """The face in the frame that was held back; whether ``following``, the one after it, tells
        where it is. Else the mesh does.
        """
        held, self._held = self._held, None
        assert held is not None
        track = self.active[0]
        between = None if following is None else _half_way(track.last, following)
        track.add(held, between or self.finder.follow(held, track.last))
        return following is not None

    def _follow(self, frame: Picture, sure: bool) -> list[Face | None]:
        """The face of each track in the next frame; no two tracks get the same one."""
        faces: list[Face | None] = []
        for track in self.active:
            face = self.finder.follow(frame, track.last, sure=sure)
            taken = face is not None and any(o is not None and o.is_near(face) for o in faces)
            faces.append(None if taken else face)
        return faces


def _half_way(one: Face, other: Face) -> Face | None:
    """The face between the two; None where mouth or stable points are too far apart to tell."""
    moves = other.points - one.points
    farthest = max(
        float(np.hypot(*moves[STABLE].T).max()), float(np.hypot(*moves[MOUTH].mean(axis=0)))
    )
    right, left = one.points[EYES]
    if farthest * EYES_APART > HALF_WAY * float(np.hypot(*(left - right))):
        return None
    return Face((one.points + other.points) / 2, (one.box + other.box) / 2)


def _thumbnail(frame: Picture) -> FloatArray:
    """The picture at 32x18 in grey without its mean level: what a cut changes, a flash does not."""
    sampled = frame.sampled(max(1, min(frame.width // 160, frame.height // 90)))
    grey = cv2.resize(sampled, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float64)
    return grey - grey.mean()


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
