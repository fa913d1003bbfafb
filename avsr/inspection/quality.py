"""Measure the quality of mouth crops in each frame: size, tilt, blur, and problems."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import MAX_TURN, FloatArray, measure_turns
from avsr.face.readability import find_covered
from avsr.face.track import MouthTrack

MAX_SCALE = 2.0  # above it the 96 px of a crop are enlarged from less than 48 px of the frame
MAX_ANGLE = 30.0  # degrees; a face tilted further is rarely talking to the camera
MAX_BLUR = 0.7  # sharp videos have 0.5 to 0.6; blurred by a sigma of 2 px, 0.7 to 0.8
BLUR_LENGTH = 9  # px of the mean that the crop is compared with


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Quality of one frame of a MouthTrack.

    Outside of tracks ``found`` is False and all numbers are None.
    """

    found: bool
    """Whether the face was detected in this frame."""
    track: int | None
    """Number of the track, from 0 on."""
    box: tuple[float, float, float, float] | None
    """x, y, width, height of the face, px of the frame; None where it was not detected."""
    scale: float | None
    """Crop px per px of the frame: above 1 the mouth was enlarged."""
    angle: float | None
    """Degrees by which the face is tilted clockwise; the crop is turned back by them."""
    blur: float | None
    """Blur of the crop, 0 (sharp) to 1; None also if all its pixels are equal."""
    turn: float | None = None
    """Degrees by which the face is turned to a side, as ``measure_turns``."""
    covered: bool = False
    """Whether the face was detected, but its crop shows no mouth: something covers it."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Names of the problems of the crop, out of ``PROBLEMS``."""
        if self.track is None:
            return ("no face",)
        tests = {
            "not seen": not self.found,
            "small": self.scale is not None and self.scale > MAX_SCALE,
            "tilted": self.angle is not None and abs(self.angle) > MAX_ANGLE,
            "turned": self.turn is not None and self.turn >= MAX_TURN,
            "covered": self.covered,
            "blurred": self.blur is not None and self.blur > MAX_BLUR,
        }
        return tuple(name for name, holds in tests.items() if holds)


PROBLEMS = ("no face", "not seen", "small", "tilted", "turned", "covered", "blurred")


def diagnose(track: MouthTrack) -> list[Diagnosis]:
    """Diagnose each of the T frames of a mouth track."""
    covered = find_covered(track.mouth)
    return [_diagnose_frame(track, i, bool(covered[i])) for i in range(len(track.mouth))]


def _diagnose_frame(track: MouthTrack, i: int, covered: bool) -> Diagnosis:
    detected, number = bool(track.found[i]), int(track.tracks[i])
    if number < 0:
        return Diagnosis(found=False, track=None, box=None, scale=None, angle=None, blur=None)
    a, b = track.matrices[i, :, 0].astype(float)
    x, y, width, height = track.boxes[i].tolist()
    return Diagnosis(
        found=detected,
        track=number,
        box=(x, y, width, height) if detected else None,
        scale=float(np.hypot(a, b)),
        angle=float(-np.degrees(np.arctan2(b, a))),
        blur=measure_blur(track.mouth[i]),
        turn=float(measure_turns(track.landmarks[i : i + 1])[0]),
        covered=detected and covered,
    )


def measure_blur(image: NDArray[np.uint8]) -> float | None:
    """Measure the blur of a grey image (H, W), whatever its contrast.

    It is the share of the differences between neighbouring pixels that remains when the image is
    blurred once more: little in a sharp image, most in a blurred one.

    Returns:
        0 (sharp) to 1, the larger of both directions; None if all pixels are equal.
    """
    grey = image.astype(np.float64)
    shares = [_remaining_share(grey), _remaining_share(grey.T)]
    return max((share for share in shares if share is not None), default=None)


def _remaining_share(grey: FloatArray) -> float | None:
    """Return the share of the differences along the rows that remains after a moving mean."""
    blurred = cv2.blur(grey, (BLUR_LENGTH, 1), borderType=cv2.BORDER_REPLICATE)
    before, after = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(blurred, axis=1))
    total = before.sum()
    return float(np.minimum(before, after).sum() / total) if total > 0 else None
