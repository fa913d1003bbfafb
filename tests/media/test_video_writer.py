"""Written videos come back the same, in step, whole or not at all."""

import numpy as np
import pytest

from avsr.errors import MediaError
from avsr.media import open_video, probe, read_frames, read_waveform, write_video


def ramp(height: int, width: int) -> np.ndarray:
    """Grey ramp from 0 to 255, left to right."""
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize("size", [(96, 96), (97, 51)])
def test_grey_frames_come_back(tmp_path, size):
    path = tmp_path / "mouth.mp4"
    shades = [60, 120, 180]
    write_video(path, (np.minimum(ramp(*size), shade) for shade in shades), crf=5)
    frames = list(read_frames(path))
    assert len(frames) == 3
    for frame, shade in zip(frames, shades, strict=True):
        assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
        inside = frame[: size[0], : size[1], 0].astype(int)
        assert np.abs(inside - np.minimum(ramp(*size), shade)).max() < 10


def test_grey_and_equal_rgb_are_the_same(tmp_path):
    grey = ramp(48, 64)
    write_video(tmp_path / "grey.mp4", [grey] * 3)
    write_video(tmp_path / "rgb.mp4", [np.repeat(grey[..., None], 3, axis=2)] * 3)
    pair = [next(iter(read_frames(tmp_path / name))) for name in ("grey.mp4", "rgb.mp4")]
    assert np.abs(pair[0].astype(int) - pair[1]).max() <= 2


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_sound_stays_in_step(tmp_path, seconds):
    """A flash at frame 20 and a click at 0.8 s; the sound may be shorter or longer."""
    frames = [np.full((48, 64), 255 if k >= 20 else 0, np.uint8) for k in range(50)]
    waveform = np.zeros(round(seconds * 16_000), np.float32)
    waveform[12_800:14_400] = 0.5 * np.sin(np.arange(1600) * 2 * np.pi / 16)
    path = tmp_path / "both.mp4"
    write_video(path, frames, waveform=waveform)
    info = probe(path)
    assert (info.has_video, info.has_audio, info.fps) == (True, True, 25.0)
    is_bright = [frame.mean() > 128 for frame in read_frames(path)]
    assert is_bright == [k >= 20 for k in range(50)]
    back = read_waveform(path)
    assert len(back) == pytest.approx(len(waveform), abs=1024)
    assert int(np.flatnonzero(np.abs(back) > 0.2)[0]) == pytest.approx(12_800, abs=64)


def test_nothing_is_left_of_a_failed_write(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def frames():
        yield np.zeros((48, 64), np.uint8)
        raise RuntimeError("the camera broke")

    with pytest.raises(RuntimeError, match="camera"):
        write_video(path, frames())
    with pytest.raises(MediaError, match="no frames"):
        write_video(path, [])
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_two_videos_at_once_are_as_one_after_the_other(tmp_path):
    greys = [np.full((48, 64), 8 * k, np.uint8) for k in range(20)]
    with open_video(tmp_path / "a.mp4") as add_grey, open_video(tmp_path / "b.mp4") as add_white:
        for grey in greys:
            add_grey(grey)
            add_white(255 - grey)
    write_video(tmp_path / "c.mp4", greys)
    write_video(tmp_path / "d.mp4", [255 - grey for grey in greys])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "d.mp4").read_bytes()


def test_a_video_whose_block_fails_is_not_left(tmp_path):
    def fail():
        with open_video(tmp_path / "a.mp4") as add:
            add(np.zeros((48, 64), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_wrong_use(tmp_path):
    grey = np.zeros((48, 64), np.uint8)
    with pytest.raises(ValueError, match="frame 1"):
        write_video(tmp_path / "a.mp4", [grey, grey[:40]])
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "a.mp4", [grey.astype(float)])
    with pytest.raises(ValueError, match="waveform"):
        write_video(tmp_path / "a.mp4", [grey], waveform=np.zeros((2, 100)))
    with pytest.raises(MediaError, match="folder"):
        write_video(tmp_path / "nowhere" / "a.mp4", [grey])


def test_same_frames_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (24, 24, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = [np.roll(picture, 3 * i, axis=1) for i in range(40)]
    waveform = rng.normal(0, 0.1, 25_600).clip(-1, 1).astype(np.float32)
    for name in ("one.mp4", "other.mp4"):
        write_video(tmp_path / name, frames, waveform=waveform)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
