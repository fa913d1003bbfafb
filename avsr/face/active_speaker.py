"""Active speaker detection: find the face whose mouth opens and closes with the sound.

A mouth is open where the sound is loud between 500 and 2,500 Hz, the range of vowels. Opening and
loudness are both taken relative to their means over two seconds around each frame, so that neither
a slow drift nor the absolute level counts. Their product is the evidence of a frame. Its mean is
0.34 to 0.89 for synthetic heads with their own sound and 0.29 to 0.63 in the GRID corpus (5th to
95th percentile). With the sound of another clip of the same corpus, which begins and ends at about
the same time, the medians are 0.25 and 0.30. For a mouth at rest it is close to zero.

Over the whole part, Viterbi's algorithm finds the path of faces with the most evidence. A change of
the face has a cost, so that a face is chosen for a turn and not for a syllable. Sound and video may
be up to 200 ms apart, by the same lag for all faces. Where two mouths move alike, or in turn, and a
model is available, its agreement of sound and lips is added to the evidence.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsr.face.geometry import FloatArray, measure_opening
from avsr.face.track import FaceTrack, TrackSegment
from avsr.rates import FPS

WINDOW = 2 * FPS + 1  # frames around each one whose mean and deviation it is compared with
# Eye distances; mouths at rest jitter by 0.003, talking ones vary by 0.01 to 0.06.
MIN_OPENING_DEVIATION = 0.01
MIN_LEVEL_DEVIATION = 0.5  # nats; less variation of the sound carries no information
CHANGE_COST = 8.0  # evidence that a change of the face must gain: about 0.7 s of clear speech
MOST_LAG = 5  # frames by which the sound may be early or late
LAG_COST = 0.04  # evidence per frame, for each frame of lag
SIZE_BONUS = 0.02  # evidence per frame for the largest face, less for smaller ones: breaks ties
STILL = 0.005  # eye distances; printed faces stay below 0.004, talking ones (GRID) above 0.0087
TALKING = 0.008  # eye distances; a mouth that is not heard is read from here on
CLEAR = 0.25  # evidence per frame; in 1 % of 6,400 pairs a wrong face was ahead by more than 0.19
JUDGED = FPS  # frames; a shorter track is too short to tell a still picture from a pause

Agree = Callable[[FaceTrack], FloatArray]
"""Measures how well sound and lips of a track of N frames agree, on the scale of the evidence.

It returns (2 * MOST_LAG + 1, N), one row for each lag from -MOST_LAG to MOST_LAG."""


def measure_movement(landmarks: ArrayLike) -> float:
    """Measure how much a mouth opens and closes.

    Args:
        landmarks: Landmarks (T, K, 2).

    Returns:
        Standard deviation of the opening around its moving mean over a second, in eye distances.
        Zooming into a photograph or panning over it moves no mouth.
    """
    opening = measure_opening(landmarks)
    return float(np.std(opening - _mean(opening, FPS)))


def is_still(track: FaceTrack) -> bool:
    """Whether the mouth of a face does not move: it is a photograph, or silent.

    Args:
        track: The face.

    Returns:
        True if its movement is below ``STILL``; False for tracks of less than a second.
    """
    return len(track.found) >= JUDGED and measure_movement(track.landmarks) < STILL


def choose_speaking(
    tracks: Sequence[FaceTrack],
    num_frames: int,
    level: FloatArray | None,
    agree: Agree | None = None,
) -> list[TrackSegment]:
    """Choose the face that speaks, in each frame at most one.

    Args:
        tracks: The faces. Those whose mouths do not move are left out.
        num_frames: Frames of the recording.
        level: Loudness (T,) of each frame, natural logarithm (``audio.vowel_level``). Without it
            the face whose mouth moves most is chosen.
        agree: Called for each moving face if the evidence of the mouths' movements is not clear.

    Returns:
        The segments in which a face speaks, in order of time. They do not overlap.
    """
    moving = [track for track in tracks if not is_still(track)]
    if not moving:
        return []
    present = np.zeros((len(moving), num_frames), np.bool_)
    for row, track in enumerate(moving):
        present[row, track.start : track.end] = True
    if (present.sum(axis=0) > 1).any():
        path = _choose_rows(moving, present, level, agree)
    else:  # never two faces in one frame
        path = np.where(present.any(axis=0), present.argmax(axis=0), -1).astype(np.intp)
    segments, first = [], 0
    for row, run in groupby(path.tolist()):
        last = first + len(list(run))
        if row >= 0:
            segments.append(TrackSegment(moving[row], first, last))
        first = last
    return segments


def _choose_rows(
    tracks: Sequence[FaceTrack],
    present: NDArray[np.bool_],
    level: FloatArray | None,
    agree: Agree | None,
) -> NDArray[np.intp]:
    """Return the row (T,) of the chosen track in each frame, -1 for none.

    ``present`` (K, T) says which of the K tracks each frame has.
    """
    num_frames = present.shape[1]
    openings = np.zeros(present.shape)
    for row, track in enumerate(tracks):
        opening = measure_opening(track.landmarks)
        openings[row, track.start : track.end] = (
            _movement_evidence(opening)
            if level is None
            else _relative(opening, MIN_OPENING_DEVIATION)
        )
    largest = max(track.height for track in tracks)
    bonus = np.array([SIZE_BONUS * track.height / largest for track in tracks])[:, None]
    if level is None:
        return _best_path(openings + bonus, present)[0]
    padded = np.pad(level, (0, max(0, num_frames - len(level))), mode="edge")[:num_frames]
    loudness = _relative(padded, MIN_LEVEL_DEVIATION)
    path, evidence = _best_lag(openings, loudness, bonus, present)
    if agree is not None and _is_unclear(path, evidence, present):
        agreement = np.zeros((2 * MOST_LAG + 1, *openings.shape))
        for row, track in enumerate(tracks):
            agreement[:, row, track.start : track.end] = agree(track)
        path, _ = _best_lag(openings, loudness, bonus, present, agreement)
    return path


def _movement_evidence(opening: FloatArray) -> FloatArray:
    """Evidence (N,) without sound: how much the mouth moves around each frame, 0 to 1."""
    away = opening - _mean(opening, FPS)
    deviation: FloatArray = np.sqrt(_mean(away * away, WINDOW))
    return deviation / (deviation + MIN_OPENING_DEVIATION)


def _relative(values: FloatArray, min_deviation: float) -> FloatArray:
    """Subtract the moving mean and divide by the moving deviation (at least ``min_deviation``)."""
    away = values - _mean(values, WINDOW)
    deviation = np.sqrt(_mean(away * away, WINDOW))
    return np.asarray(away / np.maximum(deviation, min_deviation), np.float64)


def _mean(values: FloatArray, window: int) -> FloatArray:
    """Return the moving mean (N,) over ``window`` frames, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    frames = np.arange(len(values))
    low = np.maximum(frames - window // 2, 0)
    high = np.minimum(frames + window // 2 + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)


def _is_unclear(path: NDArray[np.intp], evidence: FloatArray, present: NDArray[np.bool_]) -> bool:
    """Whether the face changes, or another face has nearly as much evidence (K, T)."""
    rows = np.unique(path[path >= 0])
    if len(rows) != 1:
        return True
    speaker = int(rows[0])
    for other in range(len(present)):
        both = present[speaker] & present[other]
        if other != speaker and both.any():
            lead = evidence[speaker, both].mean() - evidence[other, both].mean()
            if lead < CLEAR:
                return True
    return False


def _best_lag(
    openings: FloatArray,
    loudness: FloatArray,
    bonus: FloatArray,
    present: NDArray[np.bool_],
    agreement: FloatArray | None = None,
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the best path (T,) over all lags of the sound, and its evidence (K, T).

    ``agreement`` (lags, K, T) is added to the evidence of each lag.
    """
    candidates = []
    for row, lag in enumerate(range(-MOST_LAG, MOST_LAG + 1)):
        shifted = np.roll(loudness, lag)
        shifted[: lag if lag > 0 else 0] = 0.0
        shifted[len(loudness) + lag if lag < 0 else len(loudness) :] = 0.0
        evidence = openings * shifted + bonus
        if agreement is not None:
            evidence = evidence + agreement[row]
        path, total = _best_path(evidence, present)
        score = total - LAG_COST * abs(lag) * len(loudness)
        candidates.append((score, -abs(lag), path, evidence))
    best = max(candidates, key=lambda item: item[:2])
    return best[2], best[3]


def _best_path(evidence: FloatArray, present: NDArray[np.bool_]) -> tuple[NDArray[np.intp], float]:
    """Find the rows (T,) with the most evidence (K, T) by Viterbi's algorithm.

    A change of the row costs CHANGE_COST, or nothing if the face before is no longer present.

    Returns:
        The row of each frame, -1 where no face is present; the evidence of the path.
    """
    nobody = ~present.any(axis=0)
    present = np.vstack([present, nobody])
    evidence = np.vstack([evidence, np.zeros_like(nobody, np.float64)])
    rows, frames = evidence.shape
    total = np.where(present[:, 0], evidence[:, 0], -np.inf)
    sources = np.zeros((frames, rows), np.intp)
    for t in range(1, frames):
        leave = total - CHANGE_COST * present[:, t]
        source = int(leave.argmax())
        stays = total >= leave[source]
        sources[t] = np.where(stays, np.arange(rows), source)
        gain = np.maximum(total, leave[source]) + evidence[:, t]
        total = np.where(present[:, t], gain, -np.inf)
    row = int(total.argmax())
    path = np.empty(frames, np.intp)
    for t in range(frames - 1, -1, -1):
        path[t] = row
        row = int(sources[t, row])
    return np.where(path == rows - 1, -1, path), float(total.max())
