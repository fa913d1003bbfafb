"""Which face speaks: the one whose mouth opens and closes with the sound.

A mouth is open where the sound is loud between 500 and 2,500 Hz, the vowels' range. Both curves are
compared with their own means over two seconds around each frame, so that neither a slow drift nor
the level counts; their product is the evidence of a frame. Its mean is 0.34 to 0.89 for the own
sound of synthetic heads and 0.29 to 0.63 in the GRID corpus (5th to 95th percentile); for the sound
of another clip of the same corpus, which begins and ends at about the same time, the medians are
0.25 and 0.30. A mouth that rests has next to none.

Over the whole part the path of the most evidence is taken, where a change of the face costs, so
that a face gets the word for a turn and not for a syllable. Sound and picture may be up to 200 ms
apart, the same for all faces. Where two mouths move much alike, or in turn, and there is a model to
ask, what it says of sound and lips is added to the evidence.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike

from avsr.face.geometry import FloatArray, measure_opening
from avsr.face.track import FaceTrack, TrackSegment
from avsr.rates import FPS

WINDOW = 2 * FPS + 1  # frames around each one that it is compared with
LEAST_OPENING = (
    0.01  # eye distances; resting mouths jitter by 0.003, talking ones vary by 0.01-0.06
)
LEAST_LEVEL = 0.5  # nats; less variation of the sound says nothing
CHANGE = 8.0  # evidence that a change of the face must bring: about 0.7 s of clear speech
MOST_LAG = 5  # frames by which the sound may be early or late
LAG_COST = 0.04  # evidence a frame, for each frame of lag
LARGER = 0.02  # evidence a frame of the largest face, where nothing else decides
STILL = 0.005  # eye distances; printed faces stay below 0.004, talking ones (GRID) above 0.0087
TALKING = 0.008  # eye distances, of a mouth that is read without being heard
UNCHANGED = 0.5  # grey levels; of talking mouths 5 and more, very blurred 2 (synthetic heads, GRID)
CLEAR = 0.25  # evidence a frame; in 1 % of 6,400 pairs a wrong face was ahead by more than 0.19
JUDGED = FPS  # frames, less is too short to tell a still picture from a pause

Agree = Callable[[FaceTrack], FloatArray]
"""How well sound and lips of a track of N frames go together, (2 * MOST_LAG + 1, N), on the scale
of the evidence here; a row for each lag from -MOST_LAG on."""


def measure_movement(landmarks: ArrayLike) -> float:
    """How much a mouth opens and closes, from landmarks (T, K, 2), in distances between the eyes.

    The standard deviation of its opening about the mean over a second: zooming or panning over a
    photograph does not move its mouth.
    """
    opening = measure_opening(landmarks)
    return float(np.std(opening - _mean(opening, FPS)))


def is_still(track: FaceTrack) -> bool:
    """Whether a face is a picture, or rests: its mouth does not move. Short tracks are not."""
    return len(track.found) >= JUDGED and measure_movement(track.landmarks) < STILL


def is_covered(mouth: np.ndarray) -> bool:
    """Whether the middle of mouth crops (T, 96, 96) uint8 stays the same all the time.

    Something hides the mouth and moves with it, a sticker or a mask. Half a second is too short to
    tell.
    """
    if len(mouth) < JUDGED // 2:
        return False
    height, width = mouth.shape[1:]
    middle = mouth[:, height // 3 : -(height // 3), width // 3 : -(width // 3)]
    return float(middle.std(0, dtype=np.float32).mean()) < UNCHANGED


def choose_speaking(
    tracks: Sequence[FaceTrack],
    num_frames: int,
    level: FloatArray | None,
    agree: Agree | None = None,
) -> list[TrackSegment]:
    """The stretches of the faces that speak, at any time one, where there is one at all.

    ``level`` (T,) is the loudness of the sound (natural logarithm); without it the face whose
    mouth moves most is taken. Faces that are still pictures are left out. ``agree`` is asked for
    every face that moves where the curves leave a doubt.
    """
    moving = [track for track in tracks if not is_still(track)]
    if not moving:
        return []
    openings = np.zeros((len(moving), num_frames))
    present = np.zeros((len(moving), num_frames), np.bool_)
    for row, track in enumerate(moving):
        span = slice(track.start, track.end)
        present[row, span] = True
        openings[row, span] = _standardized(measure_opening(track.landmarks), level is None)
    largest = max(track.height for track in moving)
    bonus = np.array([LARGER * track.height / largest for track in moving])[:, None]
    if not (present.sum(axis=0) > 1).any():  # nothing to decide
        path = np.where(present.any(axis=0), present.argmax(axis=0), -1).astype(np.intp)
    elif level is None:
        path, _ = _best_path(openings + bonus, present)
    else:
        padded = np.pad(level, (0, max(0, num_frames - len(level))), mode="edge")[:num_frames]
        loud = _relative(padded, LEAST_LEVEL)
        path, evidence = _best_lag(openings, loud, bonus, present)
        if agree is not None and _in_doubt(path, evidence, present):
            agreed = np.zeros((2 * MOST_LAG + 1, *openings.shape))
            for row, track in enumerate(moving):
                agreed[:, row, track.start : track.end] = agree(track)
            path, _ = _best_lag(openings, loud, bonus, present, agreed)
    stretches, first = [], 0
    for row, run in groupby(path.tolist()):
        last = first + len(list(run))
        if row >= 0:
            stretches.append(TrackSegment(moving[row], first, last))
        first = last
    return stretches


def _standardized(opening: FloatArray, silent: bool) -> FloatArray:
    """Evidence (N,) of a mouth: how it stands to its mean, or without sound how much it moves."""
    if not silent:
        return _relative(opening, LEAST_OPENING)
    away = opening - _mean(opening, FPS)
    moved: FloatArray = np.sqrt(_mean(away * away, WINDOW))
    return moved / (moved + LEAST_OPENING)


def _relative(values: FloatArray, least: float) -> FloatArray:
    """Values less their mean in the window, in its standard deviations (``least`` at least)."""
    away = values - _mean(values, WINDOW)
    spread = np.sqrt(_mean(away * away, WINDOW))
    return np.asarray(away / np.maximum(spread, least), np.float64)


def _mean(values: FloatArray, window: int) -> FloatArray:
    """Moving mean (N,) over ``window`` frames, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    frames = np.arange(len(values))
    low = np.maximum(frames - window // 2, 0)
    high = np.minimum(frames + window // 2 + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)


def _in_doubt(path: np.ndarray, evidence: FloatArray, present: np.ndarray) -> bool:
    """Whether the word goes round, or another face has nearly as much evidence (K, T)."""
    rows = np.unique(path[path >= 0])
    if len(rows) != 1:
        return True
    own = int(rows[0])
    for other in range(len(present)):
        both = present[own] & present[other]
        if other != own and both.any():
            ahead = evidence[own, both].mean() - evidence[other, both].mean()
            if ahead < CLEAR:
                return True
    return False


def _best_lag(
    openings: FloatArray,
    loud: FloatArray,
    bonus: FloatArray,
    present: np.ndarray,
    agreed: FloatArray | None = None,
) -> tuple[np.ndarray, FloatArray]:
    """The best path (T,) of all lags between sound and picture, and its evidence (K, T).

    ``agreed`` (lags, K, T) is added to the evidence of each lag.
    """
    found = []
    for row, lag in enumerate(range(-MOST_LAG, MOST_LAG + 1)):
        shifted = np.roll(loud, lag)
        shifted[: lag if lag > 0 else 0] = 0.0
        shifted[len(loud) + lag if lag < 0 else len(loud) :] = 0.0
        evidence = openings * shifted + bonus
        if agreed is not None:
            evidence = evidence + agreed[row]
        path, total = _best_path(evidence, present)
        found.append((total - LAG_COST * abs(lag) * len(loud), -abs(lag), path, evidence))
    best = max(found, key=lambda item: item[:2])
    return best[2], best[3]


def _best_path(evidence: FloatArray, present: np.ndarray) -> tuple[np.ndarray, float]:
    """The rows (T,) of the most evidence (K, T) in all, -1 where none is ``present``; and how much.

    A change costs CHANGE, but nothing where the face before is gone (Viterbi's algorithm).
    """
    nobody = ~present.any(axis=0)
    present = np.vstack([present, nobody])
    evidence = np.vstack([evidence, np.zeros_like(nobody, np.float64)])
    rows, frames = evidence.shape
    total = np.where(present[:, 0], evidence[:, 0], -np.inf)
    came = np.zeros((frames, rows), np.intp)
    for t in range(1, frames):
        leave = total - CHANGE * present[:, t]
        source = int(leave.argmax())
        stays = total >= leave[source]
        came[t] = np.where(stays, np.arange(rows), source)
        gain = np.maximum(total, leave[source]) + evidence[:, t]
        total = np.where(present[:, t], gain, -np.inf)
    row = int(total.argmax())
    path = np.empty(frames, np.intp)
    for t in range(frames - 1, -1, -1):
        path[t] = row
        row = int(came[t, row])
    return np.where(path == rows - 1, -1, path), float(total.max())
