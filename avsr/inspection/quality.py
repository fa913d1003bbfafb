"""How good the mouth crops are, in numbers per frame: size, tilt, blur, and what is wrong."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import MAX_TURN, FloatArray, measure_turns
from avsr.face.track import MouthTrack

MAX_SCALE = 2.0  # enlarged further, less than 48 px of the picture make the 96 of a crop
MAX_ANGLE = 30.0  # degrees; a face that leans further is rarely talking to the camera
MAX_BLUR = 0.7  # sharp videos have 0.5 to 0.6; blurred by a sigma of 2 px, 0.7 to 0.8
BLUR_LENGTH = 9  # px of the mean that the crop is compared with


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One frame of a MouthTrack. Where no track is, all but ``found`` and ``problems`` is None."""

    found: bool
    """Whether the face was seen in this very frame."""
    track: int | None
    """Number of the track, from 0 on."""
    box: tuple[float, float, float, float] | None
    """x, y, width, height of the face, px of the frame; None where it was not seen."""
    scale: float | None
    """Crop px per px of the frame: above 1 the mouth was enlarged."""
    angle: float | None
    """Degrees by which the face leans clockwise; the crop is turned back by them."""
    blur: float | None
    """Of the crop, 0 (sharp) to 1; None also where the crop is of one level."""
    turn: float | None = None
    """How far the face is turned to a side, 0 (it looks ahead) upwards, as ``measure_turns``."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes the crop doubtful, of ``PROBLEMS``."""
        if self.track is None:
            return ("no face",)
        tests = {
            "not seen": not self.found,
            "small": self.scale is not None and self.scale > MAX_SCALE,
            "tilted": self.angle is not None and abs(self.angle) > MAX_ANGLE,
            "turned": self.turn is not None and self.turn >= MAX_TURN,
            "blurred": self.blur is not None and self.blur > MAX_BLUR,
        }
        return tuple(name for name, holds in tests.items() if holds)


PROBLEMS = ("no face", "not seen", "small", "tilted", "turned", "blurred")


def diagnose(track: MouthTrack) -> list[Diagnosis]:
    """The diagnosis of each of the T frames."""
    return [_diagnose_frame(track, i) for i in range(len(track.mouth))]


def _diagnose_frame(track: MouthTrack, i: int) -> Diagnosis:
    found, number = bool(track.found[i]), int(track.tracks[i])
    if number < 0:
        return Diagnosis(found=False, track=None, box=None, scale=None, angle=None, blur=None)
    a, b = track.matrices[i, :, 0].astype(float)
    x, y, width, height = track.boxes[i].tolist()
    return Diagnosis(
        found=found,
        track=number,
        box=(x, y, width, height) if found else None,
        scale=float(np.hypot(a, b)),
        angle=float(-np.degrees(np.arctan2(b, a))),
        blur=measure_blur(track.mouth[i]),
        turn=float(measure_turns(track.landmarks[i : i + 1])[0]),
    )


def measure_blur(image: NDArray[np.uint8]) -> float | None:
    """Blur of a grey picture (H, W), 0 (sharp) to 1; None where all pixels are equal.

    What blurring it once more leaves of the differences between neighbouring pixels: little of a
    sharp picture's, most of a blurred one's. The worse of both directions; contrast has no part.
    """
    grey = image.astype(np.float64)
    shares = [_left_share(grey), _left_share(grey.T)]
    known = [share for share in shares if share is not None]
    return max(known, default=None)


def _left_share(grey: FloatArray) -> float | None:
    """Along the rows, of all differences between neighbours: the share that a mean leaves."""
    blurred = cv2.blur(grey, (BLUR_LENGTH, 1), borderType=cv2.BORDER_REPLICATE)
    before, after = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(blurred, axis=1))
    total = before.sum()
    return float(np.minimum(before, after).sum() / total) if total > 0 else None
