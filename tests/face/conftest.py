"""Pictures with a real face (the public-domain portrait of scikit-image) at a planted place."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import skimage.data

DrawFace = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def background() -> np.ndarray:
    """A real picture (720, 1280, 3) without a face."""
    return cv2.resize(skimage.data.coffee(), (1280, 720))


@pytest.fixture(scope="session")
def draw_face(background: np.ndarray) -> DrawFace:
    """draw_face(height, x, y, on=None, size=(1280, 720), degrees=0): RGB picture with the face.

    The face, forehead to chin, is ``height`` px tall and centred at (x, y).
    """
    portrait = skimage.data.astronaut()[:300, 90:390]
    face_height, face_center = 104, (135.0, 124.0)
    inside = np.zeros(portrait.shape[:2], np.uint8)
    cv2.ellipse(inside, (135, 118), (75, 100), 0, 0, 360, 255, -1)  # the head

    def draw(
        height: float,
        x: float,
        y: float,
        on: np.ndarray | None = None,
        size: tuple[int, int] = (1280, 720),
        degrees: float = 0.0,
    ) -> np.ndarray:
        scale = height / face_height
        matrix = cv2.getRotationMatrix2D(face_center, degrees, scale)
        matrix[:, 2] += np.subtract((x, y), face_center)
        source = cv2.GaussianBlur(portrait, (0, 0), 0.45 / scale) if scale < 1 else portrait
        picture = cv2.resize(background, size) if on is None else on
        shape = (picture.shape[1], picture.shape[0])
        face, mask = cv2.warpAffine(source, matrix, shape), cv2.warpAffine(inside, matrix, shape)
        return np.where(mask[..., None] > 127, face, picture)

    return draw
