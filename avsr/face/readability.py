"""In which frames the lips of a face that was found can be read: not turned away, not covered."""

from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.active_speaker import JUDGED, STILL, measure_movement
from avsr.face.geometry import MAX_TURN, FloatArray, measure_turns
from avsr.face.track import MouthTrack

LOOK = slice(12, 84)  # rows and columns of a crop in which a mouth is recognized
LOOK_SIDE = 32  # px, to which they are reduced
MIN_LIKENESS = 0.0  # of 11 people in photographs one, half in the dark, is less like a mouth
MIN_CONTRAST = 8  # grey levels; with less between its darkest and brightest pixel a crop is blank
UNCHANGED = 0.5  # grey levels; of talking mouths 5 and more, very blurred 2 (synthetic heads, GRID)
WEIGHTS = Path(__file__).parents[1] / "assets/mouth/likeness.npy"


@cache
def _hog() -> cv2.HOGDescriptor:
    """Histograms of 9 directions in 4x4 cells, normalized in blocks of 2x2 (Dalal, Triggs 2005)."""
    return cv2.HOGDescriptor((LOOK_SIDE, LOOK_SIDE), (16, 16), (8, 8), (8, 8), 9)


@cache
def _weights() -> NDArray[np.float32]:
    """Return the weight of each feature and, at the end, the bias (325,) float32."""
    return np.asarray(np.load(WEIGHTS), np.float32)


def describe_looks(mouth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe the edges in mouth crops (T, 96, 96) uint8 by 324 features each (T, 324)."""
    hog, size = _hog(), (LOOK_SIDE, LOOK_SIDE)
    looks = (cv2.resize(crop[LOOK, LOOK], size, interpolation=cv2.INTER_AREA) for crop in mouth)
    return np.array([hog.compute(look) for look in looks], np.float32).reshape(len(mouth), -1)


def measure_likeness(mouth: NDArray[np.uint8]) -> FloatArray:
    """Measure how much crops look like a mouth.

    A logistic regression on histograms of oriented gradients tells mouths of synthetic faces from
    the same mouths behind patches of skin, fingers, microphones, masks and other things
    (``python -m benchmarks.readability``).

    Args:
        mouth: Crops (T, 96, 96) uint8.

    Returns:
        (T,) log odds: positive for a mouth, negative for what covers one.
    """
    weights = _weights()
    return np.asarray(describe_looks(mouth) @ weights[:-1] + weights[-1], np.float64)


def find_covered(mouth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the crops (T, 96, 96) that show no mouth: covered, or blank. Returns (T,) bool."""
    if not len(mouth):
        return np.zeros(0, np.bool_)
    middle = mouth[:, LOOK, LOOK].reshape(len(mouth), -1)
    blank = np.ptp(middle, axis=1) < MIN_CONTRAST
    return np.asarray(blank | (measure_likeness(mouth) < MIN_LIKENESS), np.bool_)


def find_turned(track: MouthTrack) -> NDArray[np.bool_]:
    """Find the frames in which the face is turned to a side by more than ``MAX_TURN``.

    Args:
        track: The mouth of a recording.

    Returns:
        (T,) bool; False without landmarks.
    """
    return measure_turns(track.landmarks) >= MAX_TURN


def is_readable(track: MouthTrack) -> NDArray[np.bool_]:
    """Whether the lips can be read in each frame.

    Args:
        track: The mouth of a recording.

    Returns:
        (T,), True where the face was detected, is not turned away and its mouth is not covered.
    """
    return track.found & ~find_turned(track) & ~find_covered(track.mouth)


def why_unreadable(track: MouthTrack) -> Literal["lost", "turned", "covered"]:
    """Return the most frequent reason why the lips of a track cannot be read.

    ``lost`` if the face is not found.
    """
    turned, covered = find_turned(track), find_covered(track.mouth)
    counts: dict[Literal["lost", "turned", "covered"], int] = {
        "lost": int((~track.found).sum()),
        "turned": int((track.found & turned).sum()),
        "covered": int((track.found & ~turned & covered).sum()),
    }
    return max(counts, key=lambda reason: counts[reason])


def is_covered(mouth: NDArray[np.uint8]) -> bool:
    """Whether something that moves with the face, such as a mask or a sticker, hides the mouth.

    Args:
        mouth: Crops (T, 96, 96) uint8.

    Returns:
        True if the middle of the crops stays the same; False for less than half a second.
    """
    return len(mouth) >= JUDGED // 2 and _change(mouth) < UNCHANGED


def lips_move(mouth: NDArray[np.uint8], track: MouthTrack | None = None) -> bool:
    """Whether lips move at all: not those of a photograph or of a single frame.

    Args:
        mouth: Crops (T, 96, 96) uint8.
        track: What they were cut by; without landmarks the crops themselves are compared.
    """
    if track is not None:
        known = np.isfinite(track.landmarks).all(axis=(1, 2))
        if known.any():
            return measure_movement(track.landmarks[known]) >= STILL
    return len(mouth) > 0 and _change(mouth) >= UNCHANGED


def _change(mouth: NDArray[np.uint8]) -> float:
    """Mean deviation over time of the middle of crops (T, 96, 96), grey levels."""
    height, width = mouth.shape[1:]
    middle = mouth[:, height // 3 : -(height // 3), width // 3 : -(width // 3)]
    return float(middle.std(0, dtype=np.float32).mean())
