"""Ready-made mouth videos: their sizes, and what the network gets of them."""

import numpy as np
import pytest
import torch

from avsr.encoder import normalize_mouth
from avsr.errors import MediaError
from avsr.face import check_mouth_size, is_readable, track_mouth_video
from avsr.face.mouth_video import fit_mouth
from avsr.media import Picture


def squares(side: int, count: int = 3) -> np.ndarray:
    rng = np.random.default_rng(side)
    return rng.integers(0, 255, (count, side, side), np.uint8)


@pytest.mark.parametrize("side", [88, 89, 92, 96, 97, 112, 128])
def test_the_network_gets_the_middle_of_every_size(side: int) -> None:
    image = squares(side)[0]
    fitted = fit_mouth(image)
    assert fitted.shape == (96, 96)
    first = (side - 88) // 2
    middle = torch.from_numpy(image[first : first + 88, first : first + 88])
    assert torch.equal(normalize_mouth(torch.from_numpy(fitted)), normalize_mouth(middle))


def test_a_crop_of_96_px_stays_as_it_is() -> None:
    image = squares(96)[0]
    np.testing.assert_array_equal(fit_mouth(image), image)


@pytest.mark.parametrize("size", [(320, 240), (87, 87), (129, 129), (96, 94), (None, None)])
def test_another_size_is_one_line(size: tuple[int | None, int | None]) -> None:
    with pytest.raises(MediaError, match=r"^talk\.mp4: is no mouth video") as error:
        check_mouth_size("talk.mp4", *size)
    assert "\n" not in str(error.value)


def test_grey_and_colour_are_one_track() -> None:
    grey = squares(96)
    colour = [Picture(np.repeat(image[..., None], 3, axis=2)) for image in grey]
    track = track_mouth_video("talk.mp4", colour)
    np.testing.assert_allclose(track.mouth, grey, atol=1)
    assert track.found.all()
    assert track.spans() == [(0, 0, 3)]
    assert track.boxes.tolist() == [[0, 0, 96, 96]] * 3


def test_no_frames_are_an_empty_track() -> None:
    track = track_mouth_video("talk.mp4", [])
    assert track.mouth.shape == (0, 96, 96)
    assert is_readable(track).tolist() == []
