"""Pictures that are not made RGB as a whole look like those that are."""

import av
import cv2
import numpy as np
import pytest
import skimage.data

from avsr.media import Picture, as_picture, read_frames, read_pictures
from avsr.media.picture import StoredPicture, resize

SIZE = (200, 152)  # not a multiple of the decoder's rows


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return cv2.resize(skimage.data.astronaut()[:320, 60:480], SIZE, interpolation=cv2.INTER_AREA)


def write(path, picture, pixel_format="yuv420p", colorspace=None, full=False):
    """Three pictures, nearly lossless, stored as asked for and marked as such."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, pixel_format
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
            format=pixel_format,
            dst_colorspace="ITU709" if colorspace == 1 else "ITU601",
            dst_color_range="JPEG" if full else "MPEG",
        )
        for _ in range(3):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


KINDS = {
    "plain": {},
    "bt709": {"colorspace": 1},
    "full range": {"pixel_format": "yuvj420p", "full": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_in_grey_and_rgb_are_those_of_the_whole(tmp_path, portrait, kind):
    path = write(tmp_path / "clip.mp4", portrait, **KINDS[kind])
    (frame, *_), (picture, *_) = list(read_frames(path)), list(read_pictures(path))
    assert isinstance(picture, StoredPicture)
    assert (picture.height, picture.width) == frame.shape[:2]
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[31:131, 41:160].astype(int)
    # FFmpeg's quick way to RGB rounds down, and spreads colours differently: no more than that.
    apart = np.abs(picture.grey(41, 31, 160, 131) - grey)
    assert apart.mean() < 1.6
    assert np.percentile(apart, 99) <= 4
    small = resize(frame[20:140, 40:180], 70, 60).astype(int)
    assert np.abs(picture.resized(40, 20, 180, 140, 70, 60) - small).mean() < 2.5
    assert np.abs(picture.rgb().astype(int) - frame).mean() < 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_those_of_the_grey_picture(tmp_path, portrait, kind):
    path = write(tmp_path / "clip.mp4", portrait, **KINDS[kind])
    (frame, *_), (picture, *_) = list(read_frames(path)), list(read_pictures(path))
    expected = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[::3, ::3].astype(int)
    assert (as_picture(frame).sampled(3) == expected).all()
    sampled = picture.sampled(3)
    assert sampled.shape == expected.shape
    # BT.709 weighs the colours otherwise than OpenCV's grey; without colour they are the same.
    assert np.abs(sampled - expected).mean() < (6 if kind == "bt709" else 1.6)


def test_brightness_alone_is_grey_to_the_level(tmp_path, portrait):
    """Most files by far; the mouths that models are trained on come from them."""
    path = write(
        tmp_path / "clip.mp4", np.repeat(portrait.mean(2, keepdims=True), 3, 2).astype("u1")
    )
    (frame, *_), (picture, *_) = list(read_frames(path)), list(read_pictures(path))
    whole = picture.grey(0, 0, picture.width, picture.height).astype(int)
    assert np.abs(whole - cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)).max() <= 2


def test_other_formats_are_made_rgb_as_before(tmp_path, portrait):
    path = write(tmp_path / "clip.mp4", portrait, pixel_format="yuv444p")
    for picture, frame in zip(read_pictures(path), read_frames(path), strict=True):
        assert type(picture) is Picture
        assert (picture.rgb() == frame).all()


def test_turned_pictures_are_upright(make_clip, portrait):
    clip = make_clip("phone.mp4", picture=portrait[:, :100], rotation=90, audio_codec=None)
    frame, picture = next(read_frames(clip)), next(read_pictures(clip))
    assert isinstance(picture, StoredPicture)
    assert picture.rgb().shape == frame.shape
    assert np.abs(picture.rgb().astype(int) - frame).mean() < 3


def test_as_picture_leaves_pictures_alone(portrait):
    picture = as_picture(portrait)
    assert as_picture(picture) is picture
    assert picture.rgb() is portrait


@pytest.mark.parametrize(("width", "height"), [(50, 38), (61, 40), (200, 152), (300, 200)])
def test_resized_pictures_keep_their_level_and_place(portrait, width, height):
    small = resize(portrait, width, height)
    assert small.shape == (height, width, 3)
    expected = cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)
    if width > SIZE[0]:
        expected = cv2.resize(portrait, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(small.astype(int) - expected).mean() < 3
    assert abs(small.mean() - portrait.mean()) < 1
