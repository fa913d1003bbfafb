"""Videos with captions in their pictures, decoded again."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from avsr.errors import MediaError
from avsr.media import Caption, burn_captions, probe, read_frames, read_waveform
from avsr.media.captions import draw_caption
from avsr.media.orientation import Orientation

MakeClip = Callable[..., Path]
CAPTIONS = (Caption(0.4, 0.8, ("first line", "second")), Caption(1.2, 1.6, ("HHHHHHHH",)))
SIZE = (160, 120)


@pytest.fixture
def grey(make_clip: MakeClip) -> Callable[..., Path]:
    """A clip that is even grey, with a beep and no flash."""

    def make(name: str = "in.mp4", **options: object) -> Path:
        size = options.pop("size", SIZE)
        picture = np.full((size[1], size[0], 3), 110, np.uint8)  # type: ignore[index]
        return make_clip(name, picture=picture, event=10.0, **options)

    return make


def changed(path: Path) -> np.ndarray:
    """(T,) How much of the lower and the upper part of each picture is not grey: (T, 2)."""
    shares = []
    for frame in read_frames(path):
        off = np.abs(frame.astype(int) - 110).max(-1) > 40
        half = len(off) * 6 // 10
        shares.append((off[half:].mean(), off[:half].mean()))
    return np.array(shares)


def stamps(path: Path) -> list[Fraction]:
    """Times of the pictures, seconds."""
    with av.open(str(path)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    return [time - times[0] for time in times]


def test_pictures_change_below_while_there_is_a_caption_and_nowhere_else(
    grey: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    burn_captions(grey(), out, CAPTIONS)
    shares = changed(out)
    assert len(shares) == 50
    assert (shares[:, 1] == 0).all()
    expected = [10 <= k < 20 or 30 <= k < 40 for k in range(50)]
    assert (shares[:, 0] > 0.005).tolist() == expected
    assert (shares[~np.array(expected), 0] == 0).all()
    assert os.listdir(tmp_path).count("out.mp4") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_letters_are_white_and_edges_black(grey: Callable[..., Path], tmp_path: Path) -> None:
    burn_captions(grey(size=(640, 360)), tmp_path / "out.mp4", CAPTIONS)
    frame = list(read_frames(tmp_path / "out.mp4"))[35]
    assert frame.max() > 240
    assert frame.min() < 25
    assert np.ptp(frame.astype(int), axis=-1).max() < 20, "no colour comes in"


def test_sound_length_and_rate_stay(make_clip: MakeClip, tmp_path: Path) -> None:
    source, out = make_clip("in.mp4", event=1.0, audio_rate=44_100), tmp_path / "out.mp4"
    burn_captions(source, out, CAPTIONS)
    before, after = probe(source), probe(out)
    assert (after.width, after.height, after.fps) == (before.width, before.height, before.fps)
    assert after.duration == pytest.approx(before.duration, abs=0.03)
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert (sound.rate, sound.layout.name, sound.codec_context.name) == (
            44_100,
            "stereo",
            "aac",
        )
    old, new = read_waveform(source), read_waveform(out)
    size = min(len(old), len(new))
    assert abs(len(old) - len(new)) < 1024
    assert np.corrcoef(old[:size], new[:size])[0, 1] > 0.99


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), Fraction(30_000, 1001), 50])
@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_frame_times_stay(
    grey: Callable[..., Path], tmp_path: Path, rate: Fraction, name: str
) -> None:
    source, out = grey(name, rate=rate), tmp_path / "out.mp4"
    burn_captions(source, out, CAPTIONS)
    old, new = stamps(source), stamps(out)
    assert len(new) == len(old)
    assert max(abs(a - b) for a, b in zip(old, new, strict=True)) <= Fraction(1, 10_000)


def test_a_slide_show_gets_its_captions_on_time(grey: Callable[..., Path], tmp_path: Path) -> None:
    """Two pictures in two seconds; captions come and go between them."""
    source, out = grey(stamps=[0.0, 1.0, 1.96]), tmp_path / "out.mp4"
    burn_captions(source, out, CAPTIONS)
    assert [float(time) for time in stamps(out)] == pytest.approx(
        [0.0, 0.4, 0.8, 1.0, 1.2, 1.6, 1.96], abs=1e-3
    )
    shares = changed(out)
    expected = [10 <= k < 20 or 30 <= k < 40 for k in range(len(shares))]
    assert (shares[:, 0] > 0.005).tolist() == expected


@pytest.mark.parametrize(("rotation", "mirrored"), [(90, False), (180, False), (270, True)])
def test_rotation_stays_and_text_is_upright(
    grey: Callable[..., Path], tmp_path: Path, rotation: int, mirrored: bool
) -> None:
    source = grey(size=(240, 320), rotation=rotation, mirrored=mirrored)
    plain, out, upright = tmp_path / "plain.mp4", tmp_path / "out.mp4", tmp_path / "upright.mp4"
    burn_captions(source, out, CAPTIONS)
    before, after = probe(source), probe(out)
    assert (after.rotation, after.width, after.height) == (
        before.rotation,
        before.width,
        before.height,
    )
    shares = changed(out)
    assert (shares[10:20, 0] > 0.005).all()
    assert (shares[:, 1] == 0).all()
    # As the same captions in a video of that size that was never turned.
    plain = grey("plain.mp4", size=(after.width, after.height))
    burn_captions(plain, upright, CAPTIONS)
    pair = [list(read_frames(path))[15].astype(int) for path in (out, upright)]
    assert np.abs(pair[0] - pair[1]).mean() < 1
    assert np.abs(pair[0] - pair[1]).max() < 80


def test_pixels_that_are_not_square(grey: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    burn_captions(grey(pixel_aspect=Fraction(2)), out, CAPTIONS)
    assert (probe(out).width, probe(out).height) == (320, 120)
    assert (changed(out)[10:20, 0] > 0.002).all()


def test_odd_sides_grow_by_a_pixel(grey: Callable[..., Path], tmp_path: Path) -> None:
    source = grey("in.mkv", size=(161, 121), video_codec="mpeg4", audio_codec=None)
    assert (probe(source).width, probe(source).height) == (161, 121)
    burn_captions(source, tmp_path / "out.mp4", CAPTIONS)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.has_audio) == (162, 122, False)
    assert (changed(tmp_path / "out.mp4")[10:20, 0] > 0.002).all()


def test_sound_that_starts_late_stays_late(make_clip: MakeClip, tmp_path: Path) -> None:
    source = make_clip("in.mkv", event=1.2, sound_parts=[(1.0, 2.0)], layout="5.1")
    burn_captions(source, tmp_path / "out.mp4", ())
    loud = [
        np.flatnonzero(np.abs(read_waveform(path)) > 0.05)[0]
        for path in (source, tmp_path / "out.mp4")
    ]
    assert loud[1] == pytest.approx(1.2 * 16_000, abs=400)
    assert loud[1] == pytest.approx(loud[0], abs=200)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].layout.nb_channels == 6


def test_brightness_of_full_range_video_stays(make_clip: MakeClip, tmp_path: Path) -> None:
    """Motion JPEG has luma of 0 to 255; written as 16 to 235 it looks the same."""
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(5):
            picture = np.full((48, 64, 3), 30, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    burn_captions(source, tmp_path / "out.mp4", ())
    means = [next(iter(read_frames(path))).mean() for path in (source, tmp_path / "out.mp4")]
    assert means[1] == pytest.approx(means[0], abs=3)
    assert means[0] == pytest.approx(30, abs=3)


def test_memory_does_not_grow_with_length(
    grey: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 pictures more, of 0.46 MB each as the encoder takes them."""
    used: list[int] = []

    def watch(*arguments: Any) -> Any:
        used.append(psutil.Process().memory_info().rss)
        return draw_caption(*arguments)

    monkeypatch.setattr("avsr.media.burn_in.draw_caption", watch)
    peaks = []
    for seconds in (4, 20):
        source = grey(f"{seconds}.mkv", duration=float(seconds), size=(640, 480))
        captions = [Caption(k, k + 0.2, (f"line {k}",)) for k in range(seconds)]
        used.clear()
        burn_captions(source, tmp_path / "out.mp4", captions)
        assert len(used) == seconds
        peaks.append(max(used))
    assert peaks[1] - peaks[0] < 60e6


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    grey: Callable[..., Path], tmp_path: Path
) -> None:
    source = grey()
    silent_film = grey("sound.mka", video_codec=None)
    letter = tmp_path / "letter.mp4"
    letter.write_text("Dear reader")
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    before = sorted(os.listdir(tmp_path))
    for video, target, complaint in [
        (silent_film, out, "has no picture"),
        (letter, out, "not a video"),
        (tmp_path / "missing.mp4", out, "no such file"),
        (source, tmp_path / "nowhere" / "a.mp4", "no folder"),
        (source, source, "the video itself"),
    ]:
        with pytest.raises(MediaError, match=complaint) as error:
            burn_captions(video, target, CAPTIONS)
        assert "\n" not in str(error.value)
    with pytest.raises(MediaError, match="cannot draw"):
        burn_captions(source, out, [Caption(0, 1, ("你好",))])
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == before


def test_an_interrupted_write_leaves_nothing(
    grey: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = grey()

    def stop(caption: Caption, width: int, height: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("avsr.media.burn_in.draw_caption", stop)
    with pytest.raises(KeyboardInterrupt):
        burn_captions(source, tmp_path / "out.mp4", CAPTIONS)
    assert os.listdir(tmp_path) == [source.name]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_reverting_an_orientation_undoes_it(transposed: bool, flip_x: bool, flip_y: bool) -> None:
    orientation = Orientation(transposed, flip_x, flip_y)
    image = np.arange(24).reshape(2, 4, 3)
    assert (orientation.revert(orientation.apply(image)) == image).all()
