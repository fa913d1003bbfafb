"""Track the faces in a stream of frames and crop their mouths.

Each face has a track of its own, from the frame in which it is found to the one in which it is lost
or the scene cuts. Of the frames only small grey patches around faces are stored, and those only
until the smoothing no longer needs them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.detector import EYES, MAX_FACES, Face, FaceDetector, Frame
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
from avsr.face.landmarks import borrow_detector
from avsr.face.track import FaceTrack, FaceTracks, MouthTrack, join_tracks, rank_tracks
from avsr.media import Picture, as_picture
from avsr.rates import FPS

default_detector = borrow_detector
"""Opens the detector to use where none is given, as a context manager."""

SEARCH_EVERY = FPS  # frames between searches for new faces while all tracked ones are followed
RETRY_EVERY = 5  # frames between searches for a face that was lost
TILES_EVERY = 10  # frames between searches in tiles if there seems to be no face (60 ms at 720p)
REPEATS = TILES_EVERY  # frames in which a picture that stays the same is searched: once for all
MAX_GAP = 3 * FPS  # frames; a face that is away for longer ends its track
MIN_FRAMES = FPS // 2  # with the face; a shorter track is not a face
MIN_SHARE = 1 / 3  # of a track's frames
RETURN_REACH = 1.5  # face sizes; a face that appears within them of a lost one is the same
STAY_REACH = 0.15  # face sizes; the track of a face that moves less continues across a cut
PATCH_SIZE = 200  # canvas px around the mouth: the crop (96) tilted, and room for smoothing
MAX_HALF_MOVE = 1.0  # canvas px in two frames; up to it the frame between is interpolated
EYES_APART = float(np.hypot(*(MEAN_FACE[4] - MEAN_FACE[1])))  # canvas px, the outer corners
CUT_LEVEL = 24.0  # grey levels; at a cut thumbnails differ by more on average
BLANK_RANGE = 8.0  # grey levels; a frame with less in its whole thumbnail shows nothing


@dataclass(frozen=True)
class _Patch:
    """A grey patch around a mouth and the matrix (2, 3) from the frame to the patch."""

    image: NDArray[np.uint8]
    matrix: FloatArray


@dataclass(eq=False)
class _Track:
    """The track of one face from frame ``start`` on.

    ``crops``, ``landmarks`` and ``matrices`` lag behind by the smoothing window: ``pending`` has
    landmarks and patches of the frames that are not cropped yet, ``gap`` the patches since the face
    was lost.
    """

    start: int
    last: Face
    found: list[bool] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    landmarks: list[FloatArray] = field(default_factory=list)
    matrices: list[FloatArray] = field(default_factory=list)
    pending: deque[tuple[FloatArray, _Patch]] = field(default_factory=deque)
    gap: list[_Patch] = field(default_factory=list)
    transform: FloatArray | None = None

    def add(self, frame: Picture, face: Face | None) -> None:
        """Add the face in the next frame, or None if it is not detected there.

        At the end of a gap the landmarks within the gap are interpolated from both of its ends. Up
        to then a patch around the last position is stored for each of its frames.
        """
        if face is None:
            self.gap.append(_cut_patch(frame, self.last.points, 2 * PATCH_SIZE))
            return
        if self.gap:
            ends = np.stack([self.last.points, *[face.points] * (len(self.gap) + 1)])
            is_end = [True, *[False] * len(self.gap), True]
            between = interpolate_landmarks(ends, is_end)[1:-1]
            for points, patch in zip(between, self.gap, strict=True):
                self._add(points, patch, None)
            self.gap = []
        self.last = face
        self._add(face.points, _cut_patch(frame, face.points, PATCH_SIZE), face)

    def _add(self, points: FloatArray, patch: _Patch, face: Face | None) -> None:
        self.found.append(face is not None)
        self.boxes.append(np.full(4, np.nan) if face is None else face.box)
        self.pending.append((points, patch))
        if len(self.pending) == SMOOTHING_WINDOW:
            self._crop_next(self._smooth())

    def _smooth(self) -> FloatArray:
        """Return the transform of the mean landmarks of all pending frames."""
        stable = np.mean([points[STABLE] for points, _ in self.pending], axis=0)
        self.transform = estimate_similarity(stable, MEAN_FACE)
        return self.transform

    def _crop_next(self, transform: FloatArray) -> None:
        points, patch = self.pending.popleft()
        matrix = crop_matrix(points, transform)
        self.crops.append(warp(patch.image, compose(matrix, invert(patch.matrix))))
        self.landmarks.append(points)
        self.matrices.append(matrix)

    def close(self) -> None:
        """Crop the pending frames with the last full window; a gap at the end is dropped."""
        self.gap = []
        transform = self._smooth() if self.transform is None else self.transform
        while self.pending:
            self._crop_next(transform)

    def as_face_track(self) -> FaceTrack:
        """Stack the cropped frames."""
        return FaceTrack(
            self.start,
            np.stack(self.crops),
            np.array(self.found, np.bool_),
            np.array(self.boxes, np.float32),
            np.array(self.landmarks, np.float32),
            np.array(self.matrices, np.float32),
        )


def track_mouth(frames: Iterable[Frame], detector: FaceDetector | None = None) -> MouthTrack:
    """Follow the largest steady face through a recording and crop its mouth.

    Where its track has no part, that of the next best face is used, provided that both were never
    in one frame: it may be the same talk after a cut. The same frames give the same result.

    Args:
        frames: Frames at 25 Hz, RGB (H, W, 3) uint8 or pictures. They are read once, as a stream.
        detector: As in ``track_faces``.

    Returns:
        The mouth in each frame.
    """
    faces = track_faces(frames, detector)
    return join_tracks(rank_tracks(faces.tracks, lambda track: track.score), faces.num_frames)


def track_faces(frames: Iterable[Frame], detector: FaceDetector | None = None) -> FaceTracks:
    """Follow all faces through a recording and crop their mouths.

    A cut ends the track of a face that is not where it was. A face may be lost for up to 3 s within
    a track; its crops in between are taken at interpolated positions. A track counts if its
    face is detected in at least half a second of frames (in a short clip, in a quarter of it) and
    in a third of its frames: shorter ones are false detections. At most 4 faces are followed at a
    time, the largest ones.

    Args:
        frames: Frames at 25 Hz, RGB (H, W, 3) uint8 or pictures. They are read once, as a stream.
        detector: Finds and follows the faces. Default: a ``MediapipeDetector`` from a pool.

    Returns:
        The tracks, in order of their first frame.
    """
    if detector is None:
        with default_detector() as mediapipe_detector:
            return track_faces(frames, mediapipe_detector)
    tracker = FaceTracker(detector)
    for frame in _as_pictures(frames):
        tracker.add(frame)
    return tracker.finish()


def _as_pictures(frames: Iterable[Frame]) -> Iterator[Picture]:
    """Wrap frames as pictures; one that is the same array again is the same picture again."""
    last, picture = None, None
    for frame in frames:
        if picture is None or frame is not last:
            last, picture = frame, as_picture(frame)
        yield picture


class FaceTracker:
    """Tracks faces through frames that come one by one.

    While the only face hardly moves, the detector gets every second frame. The frame between is
    held back until the next one; its face is half-way between those of its neighbours. A picture
    that stays on screen is looked at for ``REPEATS`` frames at most; one that is frozen shows
    nobody.

    Args:
        detector: Finds and follows the faces.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self.detector = detector
        self.num_frames = 0
        self.active: list[_Track] = []
        self.ended: list[_Track] = []
        self._thumbnail: FloatArray | None = None
        self._held: Picture | None = None
        self._last_frame: Picture | None = None
        self._repeats = 0  # of the last frame
        self._last_search, self._last_tiles = 0, -TILES_EVERY

    def add(self, frame: Picture) -> None:
        """Follow the tracked faces into the next frame; now and then search for others."""
        index, active = self.num_frames, self.active
        self.num_frames += 1
        self._repeats = self._repeats + 1 if frame is self._last_frame else 0
        self._last_frame = frame
        if frame.is_frozen:
            self._add_blank(frame)
            return
        if self._repeats >= REPEATS:
            self._add_again(frame)
            return
        thumbnail = _thumbnail(frame)
        if np.ptp(thumbnail) < BLANK_RANGE:  # black or of one colour: neither a face nor a cut
            self._add_blank(frame)
            return
        previous, self._thumbnail = self._thumbnail, thumbnail
        cut = previous is not None and np.abs(thumbnail - previous).mean() > CUT_LEVEL
        if not cut and self._may_hold(index):
            self._held = frame
            return
        verify = index % SEARCH_EVERY == 0
        faces = self._follow(frame, verify)
        if self._held is not None and not self._add_held(None if cut else faces[0]):
            faces = self._follow(frame, verify)
        if cut:
            self.ended += _end_moved(active, faces)
        wait = RETRY_EVERY if None in faces else SEARCH_EVERY
        if cut or not active or index - self._last_search >= wait:
            search_tiles = cut or index - self._last_tiles >= TILES_EVERY
            self._last_search = index
            self._last_tiles = index if search_tiles else self._last_tiles
            followed = [face for face in faces if face is not None]
            new = self.detector.find(frame, exclude=followed, search_tiles=search_tiles)
            _assign(new, faces, active, index)
        for track, face in zip(active, faces, strict=True):
            track.add(frame, face)
        self.ended += _end_gone(active)

    def _add_blank(self, frame: Picture) -> None:
        """Add a frame that shows nothing: all faces are lost in it."""
        if self._held is not None:
            self._add_held(None)
        for track in self.active:
            track.add(frame, None)
        self.ended += _end_gone(self.active)

    def _add_again(self, frame: Picture) -> None:
        """Add a frame that was looked at before: all faces are as they were."""
        if self._held is not None:
            self._add_held(None)
        for track in self.active:
            track.add(frame, None if track.gap else track.last)
        self.ended += _end_gone(self.active)

    def finish(self) -> FaceTracks:
        """Return the tracks through the frames that were added."""
        if self._held is not None:
            self._add_held(None)
        min_frames = min(MIN_FRAMES, max(1, self.num_frames // 4))
        tracks = [
            track.as_face_track()
            for track in self.ended + _close(self.active)
            if sum(track.found) >= max(min_frames, MIN_SHARE * len(track.found))
        ]
        in_order = sorted(tracks, key=lambda track: track.start)
        return FaceTracks(tuple(in_order), self.num_frames)

    def _may_hold(self, index: int) -> bool:
        """Whether frame ``index`` may be held back until the next one."""
        return (
            self._held is None
            and len(self.active) == 1
            and not self.active[0].gap
            and index % SEARCH_EVERY != 0
            and index - self._last_search < SEARCH_EVERY
        )

    def _add_held(self, following: Face | None) -> bool:
        """Add the frame that was held back to its track.

        Its face is half-way to ``following``, the one in the frame after it, if that is not None
        and near enough. Else the detector follows the face into it.

        Returns:
            False if ``following`` was None: then the frame after it must be followed (again), now
            from the face in this one.
        """
        held, self._held = self._held, None
        assert held is not None
        track = self.active[0]
        between = None if following is None else _half_way(track.last, following)
        track.add(held, between or self.detector.follow(held, track.last))
        return following is not None

    def _follow(self, frame: Picture, verify: bool) -> list[Face | None]:
        """Return the face of each track in the next frame; no two tracks get the same one."""
        faces: list[Face | None] = []
        for track in self.active:
            face = self.detector.follow(frame, track.last, verify=verify)
            taken = face is not None and any(o is not None and o.is_near(face) for o in faces)
            faces.append(None if taken else face)
        return faces


def _half_way(one: Face, other: Face) -> Face | None:
    """Return the face between the two; None if mouth or stable points moved too far for that."""
    moves = other.points - one.points
    farthest = max(
        float(np.hypot(*moves[STABLE].T).max()), float(np.hypot(*moves[MOUTH].mean(axis=0)))
    )
    right, left = one.points[EYES]
    if farthest * EYES_APART > MAX_HALF_MOVE * float(np.hypot(*(left - right))):
        return None
    return Face((one.points + other.points) / 2, (one.box + other.box) / 2)


def _thumbnail(frame: Picture) -> FloatArray:
    """Reduce a frame to grey 32x18 without its mean level, which changes at a cut, not a flash."""
    sampled = frame.sampled(max(1, min(frame.width // 160, frame.height // 90)))
    grey = cv2.resize(sampled, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float64)
    return grey - grey.mean()


def _assign(new: list[Face], faces: list[Face | None], active: list[_Track], index: int) -> None:
    """Give the faces that a search returned to lost tracks nearby, or else to new tracks."""
    for face in new:
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
    """At a cut, end the tracks whose face is not exactly where it was; return them."""
    tracks = list(active)
    pairs = [
        (track, face)
        for track, face in zip(active, faces, strict=True)
        if face is not None and face.is_near(track.last, reach=STAY_REACH)
    ]
    active[:], faces[:] = [track for track, _ in pairs], [face for _, face in pairs]
    return _close(track for track in tracks if track not in active)


def _end_gone(active: list[_Track]) -> list[_Track]:
    """End the tracks whose face is away too long, and the smallest of too many; return them."""
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
    """Cut the grey square of ``size`` canvas px around the mouth, shrunk to about canvas scale."""
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
