"""Read ready-made mouth videos: square crops around the mouth, as other tools write them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsr.errors import MediaError
from avsr.face.geometry import NUM_POINTS
from avsr.face.track import MouthTrack
from avsr.media import Picture
from avsr.rates import CROP_SIZE, MOUTH_SIZE

MAX_MOUTH_SIDE = 128
"""px; a mouth video is square, with sides from ``CROP_SIZE`` (88) to this."""


def is_mouth_size(width: int | None, height: int | None) -> bool:
    """Whether a video of this size (px) may be a mouth video; None: there is no video."""
    return width is not None and width == height and CROP_SIZE <= width <= MAX_MOUTH_SIDE


def check_mouth_size(path: str | Path, width: int | None, height: int | None) -> None:
    """Raise MediaError if a video of this size (px) cannot be a mouth video."""
    if not is_mouth_size(width, height):
        raise MediaError(
            f"{path}: is no mouth video: it is {width}x{height}; a mouth video is square, with "
            f"sides of {CROP_SIZE} to {MAX_MOUTH_SIDE} px"
        )


def fit_mouth(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut or pad a crop to the size of a mouth crop, without scaling it.

    Tools that cut larger or smaller crops than 96x96 cut them from the same canvas, so a pixel
    always has the same size. Of 88x88, which is what the network takes from the middle of a crop,
    the edge is repeated.

    Args:
        image: Grey crop (N, N) uint8.

    Returns:
        (96, 96) uint8.
    """
    cut = (len(image) - CROP_SIZE) // 2 - (MOUTH_SIZE - CROP_SIZE) // 2  # negative: padded
    if cut < 0:
        after = MOUTH_SIZE - len(image) + cut
        return np.pad(image, (-cut, after), mode="edge")
    return image[cut : cut + MOUTH_SIZE, cut : cut + MOUTH_SIZE]


def track_mouth_video(path: str | Path, pictures: Iterable[Picture]) -> MouthTrack:
    """Read the frames of a mouth video as a track: one mouth, in every frame.

    Args:
        path: The video, to be named in the error.
        pictures: Its frames at 25 Hz, from ``avsr.media.read_pictures``.

    Returns:
        The mouth in each frame. Its box is the whole frame; landmarks and matrices are nan, and
        the face has no number.

    Raises:
        MediaError: The frames have another size than a mouth video.
    """
    crops, side = [], 0
    for picture in pictures:
        check_mouth_size(path, picture.width, picture.height)
        side = picture.width
        crops.append(fit_mouth(picture.grey(0, 0, side, side)))
    count = len(crops)
    return MouthTrack(
        mouth=np.stack(crops) if crops else np.zeros((0, MOUTH_SIZE, MOUTH_SIZE), np.uint8),
        found=np.ones(count, np.bool_),
        boxes=np.tile(np.array([0, 0, side, side], np.float32), (count, 1)),
        tracks=np.zeros(count, np.int_),
        landmarks=np.full((count, NUM_POINTS, 2), np.nan, np.float32),
        matrices=np.full((count, 2, 3), np.nan, np.float32),
    )
