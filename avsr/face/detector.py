"""What a face detector offers to the tracker, and the faces that it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import STABLE_IDS
from avsr.media import Picture

EYES = [STABLE_IDS.index(36), STABLE_IDS.index(45)]  # rows of the outer corners, right and left
MAX_FACES = 4  # in one frame, the largest ones
SAME_FACE = 0.5  # face sizes; two detections with nearer centres are one face
SAME_SIZE = 1.6  # times; boxes that differ more in size are not one face

Image = NDArray[np.uint8]
Frame = Image | Picture
"""RGB (H, W, 3) uint8, or a picture that is converted to it only where it is needed."""


@dataclass(frozen=True)
class Face:
    """A face in one frame.

    Attributes:
        points: Landmarks (25, 2), x and y in px, in the order of ``geometry.POINT_IDS``.
        box: x, y, width and height (4,) in px, from forehead to chin.
    """

    points: NDArray[np.float64]
    box: NDArray[np.float64]

    @property
    def size(self) -> float:
        """The longer side of the box, px."""
        return float(self.box[2:].max())

    @property
    def center(self) -> NDArray[np.float64]:
        """The middle of the box (2,), px."""
        return self.box[:2] + self.box[2:] / 2

    def is_near(self, other: "Face", reach: float = SAME_FACE) -> bool:
        """Whether two faces of similar size are nearer than ``reach`` times the larger one."""
        small, large = sorted((self.size, other.size))
        return self.distance(other) < reach * large and large < SAME_SIZE * small

    def distance(self, other: "Face") -> float:
        """Distance of the centres, px."""
        return float(np.hypot(*(self.center - other.center)))


class FaceDetector(Protocol):
    """Finds faces in single frames and follows them from frame to frame.

    ``track_faces`` takes any object with these two methods. A detector must not remember frames:
    the same call must always return the same faces. ``MediapipeDetector`` is the default.
    """

    def find(
        self, frame: Frame, *, exclude: Sequence[Face] = (), search_tiles: bool = True
    ) -> list[Face]:
        """Find the faces in a frame.

        Args:
            frame: The frame.
            exclude: Faces of this frame that are tracked already; they are not returned.
            search_tiles: Whether a second, slower search for small faces is worth its time. The
                tracker asks for it now and then. A detector may ignore it.

        Returns:
            The faces, the largest first, usually not more than ``MAX_FACES``.
        """
        ...

    def follow(self, frame: Frame, last: Face, *, verify: bool = False) -> Face | None:
        """Find a face of the previous frame again.

        Args:
            frame: The frame.
            last: The face as it was in the previous frame, or where it was seen last.
            verify: Make sure that it is still a face; the tracker asks for it once a second. A
                detector that is always sure may ignore it.

        Returns:
            The face in this frame; None if it is lost.
        """
        ...
