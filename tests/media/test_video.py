"""Frames: 25 a second by time stamps, upright, in bounded memory."""

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest

from avsr.errors import MediaError
from avsr.media import probe, read_frames

RATES = [Fraction(24_000, 1001), 25, Fraction(30_000, 1001), 30, 50, 60, Fraction(15, 1), 12.5]


def corners() -> np.ndarray:
    """Red top left, green top right, blue bottom left, black bottom right; 48 x 64."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32, 0] = picture[:24, 32:, 1] = picture[24:, :32, 2] = 255
    return picture


def grid_of_corners(frame: np.ndarray) -> list[str]:
    """Colours read from the middle of the four quarters: top left, top right, bottom ones."""
    height, width = frame.shape[:2]
    names = []
    for y, x in [(1, 1), (1, 3), (3, 1), (3, 3)]:
        pixel = frame[y * height // 4, x * width // 4].astype(int)
        names.append("rgb"[pixel.argmax()] if pixel.max() > 100 else "k")
    return names


def lit(frames: list[np.ndarray]) -> list[bool]:
    return [bool(frame.mean() > 128) for frame in frames]


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{float(rate):.3f}")
def test_frame_k_is_the_picture_on_screen_at_k_over_25(make_clip, rate):
    rate = Fraction(rate)
    stamps = [k / rate for k in range(round(1.9 * rate))]
    clip = make_clip("clip.mp4", stamps=stamps, rate=rate, event=0.8, audio_codec=None)
    end = stamps[-1] + 1 / rate
    expected = []
    k = 0
    while Fraction(k, 25) < end - Fraction(2, 1000):
        on_screen = max(s for s in stamps if s <= Fraction(k, 25) + Fraction(2, 1000))
        expected.append(0.8 - 1e-6 <= on_screen < 1.0)
        k += 1
    assert lit(list(read_frames(clip))) == expected


def test_25_fps_comes_out_one_to_one(make_clip):
    clip = make_clip("clip.mkv", stamps=[k / 25 for k in range(30)], event=0.52, audio_codec=None)
    assert lit(list(read_frames(clip))) == [13 <= k < 18 for k in range(30)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_variable_rate(make_clip, name):
    """Pictures at odd times, the flash at 1.0 to 1.2 s: it is seen from frame 25 to 29 or 30."""
    rng = np.random.default_rng(0)
    stamps = np.unique([0.0, 1.0, 1.2, *rng.uniform(0, 2, 50).round(3)])
    clip = make_clip(name, stamps=stamps, audio_codec=None)
    frames = list(read_frames(clip))
    assert lit(frames)[:30] == [False] * 25 + [True] * 5
    assert not any(lit(frames)[30:])
    assert 48 <= len(frames) <= 52


def test_a_picture_that_stays_is_held(make_clip):
    clip = make_clip("slides.mp4", stamps=[0.0, 1.0, 1.2, 1.96], audio_codec=None)
    frames = list(read_frames(clip))
    assert lit(frames)[:49] == [False] * 25 + [True] * 5 + [False] * 19
    assert frames[2] is frames[3]


def test_one_frame(make_clip):
    clip = make_clip("one.mp4", stamps=[0.0], audio_codec=None)
    assert [frame.shape for frame in read_frames(clip)] == [(48, 64, 3)]


def test_late_video_holds_its_first_picture(make_clip):
    clip = make_clip("late.mkv", stamps=[0.4 + k / 25 for k in range(20)], event=0.4)
    is_lit = lit(list(read_frames(clip)))
    assert is_lit == [k < 15 for k in range(30)]


@pytest.mark.parametrize(
    ("rotation", "mirrored", "expected"),
    [
        (None, False, "rgbk"),
        (90, False, "gkrb"),
        (180, False, "kbgr"),
        (-90, False, "brkg"),
        (0, True, "grkb"),
        (90, True, "kgbr"),
    ],
)
def test_orientation(make_clip, rotation, mirrored, expected):
    clip = make_clip(
        "turned.mp4",
        rotation=rotation,
        mirrored=mirrored,
        picture=corners(),
        stamps=[0.0],
        audio_codec=None,
    )
    frame = next(iter(read_frames(clip)))
    assert "".join(grid_of_corners(frame)) == expected
    assert frame.shape[:2] == ((64, 48) if rotation in (90, -90) else (48, 64))
    assert frame.flags.c_contiguous
    info = probe(clip)
    assert (info.height, info.width) == frame.shape[:2]


def test_max_side_scales_down_and_keeps_the_shape(make_clip):
    clip = make_clip("wide.mp4", size=(128, 48), rotation=90, audio_codec=None, duration=0.2)
    assert next(read_frames(clip, max_side=32)).shape == (32, 12, 3)
    assert next(read_frames(clip, max_side=500)).shape == (128, 48, 3)
    with pytest.raises(ValueError, match="max_side"):
        read_frames(clip, max_side=0)


def test_pixels_that_are_not_square_are_stretched(make_clip):
    clip = make_clip("wide.mp4", pixel_aspect=Fraction(3, 2), audio_codec=None, duration=0.2)
    assert next(read_frames(clip)).shape == (48, 96, 3)


def test_colours_survive(make_clip):
    picture = np.full((48, 64, 3), (200, 120, 40), np.uint8)
    clip = make_clip("brown.mp4", picture=picture, duration=0.2, audio_codec=None)
    frame = next(read_frames(clip))
    assert np.abs(frame.reshape(-1, 3).mean(0) - (200, 120, 40)).max() < 4


def test_4k_in_bounded_memory(make_clip):
    """Numpy holds a few pictures at a time, however many there are."""
    clip = make_clip("4k.mp4", size=(3840, 2160), duration=0.4, event=0.2, audio_codec=None)
    picture = 3840 * 2160 * 3
    tracemalloc.start()
    count = sum(frame.shape == (2160, 3840, 3) for frame in read_frames(clip))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10
    assert peak < 3.5 * picture
    assert next(read_frames(clip, max_side=1280)).shape == (720, 1280, 3)


def test_reading_may_stop_early_and_start_again(make_clip):
    clip = make_clip("clip.mp4", duration=1.0, event=0.0)
    for _ in range(3):
        frames = read_frames(clip)
        assert next(frames).mean() > 128
        frames.close()


def test_unreadable_is_reported_at_the_call(tmp_path):
    with pytest.raises(MediaError):
        read_frames(tmp_path / "nowhere.mp4")


def test_grid_clips_are_75_frames(grid_dir):
    clip = sorted((grid_dir / "valid").glob("*.mp4"))[0]
    assert sum(1 for _ in read_frames(clip)) == 75


def write_with(path, pictures, mark, *, codec, pixels, options):
    """Write pictures of which ``mark`` makes the frames that are encoded."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for index, picture in enumerate(pictures):
            frame = mark(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            stream.codec_context.color_trc = frame.color_trc
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_of_two_moments_are_taken_apart(tmp_path, order):
    """A bar that has gone on by 8 px in the later field of each picture has no teeth."""

    def bar(moment: int) -> np.ndarray:
        picture = np.full((96, 160, 3), 60, np.uint8)
        picture[:, 8 * moment : 8 * moment + 24] = 200
        return picture

    woven = []
    for k in range(8):
        picture = bar(2 * k)
        later = slice(1, None, 2) if order == "tff" else slice(0, None, 2)
        picture[later] = bar(2 * k + 1)[later]
        woven.append(picture)
    graph = av.filter.Graph()
    source = graph.add(
        "buffer", "video_size=160x96:pix_fmt=yuv420p:time_base=1/25:pixel_aspect=1/1"
    )
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()

    def mark(frame):
        graph.vpush(frame.reformat(format="yuv420p"))
        return graph.vpull()

    path = tmp_path / "woven.mkv"
    options = {"flags": "+ildct+ilme", "crf": "5"}
    write_with(path, woven, mark, codec="libx264", pixels="yuv420p", options=options)
    frames = list(read_frames(path))
    assert len(frames) == len(woven)

    def teeth(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture[..., 1].astype(int), axis=0)).mean())

    for k in range(1, 7):
        assert teeth(woven[k]) > 5
        assert teeth(frames[k]) < 2
        assert np.abs(frames[k].astype(int) - bar(2 * k)).mean() < 5, "the first moment's"


def test_hdr_is_brought_to_the_range_of_sdr(tmp_path):
    """PQ's signal is 0.58 for SDR's white (203 cd/m2), 0.38 for 26 cd/m2."""

    def mark(frame):
        deep = frame.reformat(format="yuv420p10le", dst_colorspace="BT2020")
        deep.color_trc, deep.color_primaries = 16, 9
        return deep

    path = tmp_path / "hdr.mp4"
    picture = np.full((64, 64, 3), round(0.58 * 255), np.uint8)
    picture[:, 32:] = round(0.38 * 255)
    options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    write_with(path, [picture] * 3, mark, codec="libx265", pixels="yuv420p10le", options=options)
    frame = list(read_frames(path))[1]
    assert frame[20:40, 10:20].mean() == pytest.approx(255, abs=12)
    dark = 255 * (26 / 203) ** (1 / 2.4)
    assert frame[20:40, 45:55].mean() == pytest.approx(dark, abs=15)


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("a.mp4", {}),
        ("a.ts", {}),
        ("a.avi", {"video_codec": "mpeg4", "audio_codec": "mp3"}),
        ("a.webm", {"video_codec": "libvpx", "audio_codec": "libopus"}),
    ],
)
def test_a_later_start_leaves_out_what_comes_before(make_clip, name, codecs):
    path = make_clip(name, event=2.0, duration=3.0, key_interval=10, **codecs)
    whole = [frame.mean() > 128 for frame in read_frames(path)]
    assert any(whole)
    for first in (10, 49, 51, 60):
        part = [frame.mean() > 128 for frame in read_frames(path, start=first / 25)]
        assert part == whole[first:]
