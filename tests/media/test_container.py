"""What a file holds, and what becomes of files that are none, or broken."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avsr.errors import MediaError
from avsr.media import probe, read_frames, read_waveform

FASTSTART = {"movflags": "+faststart"}


def truncate(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def noisy_picture() -> np.ndarray:
    """Noise does not compress: with key frames only, the bytes spread evenly over the time."""
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_probe_of_a_clip(make_clip):
    info = probe(make_clip("clip.mp4", rate=30))
    assert (info.has_video, info.has_audio) == (True, True)
    assert info.fps == pytest.approx(30)
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert info.duration == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (180, (64, 48)), (-90, (48, 64))])
def test_probe_gives_the_upright_size(make_clip, degrees, size):
    info = probe(make_clip("turned.mp4", rotation=degrees, audio_codec=None))
    assert (info.width, info.height) == size
    assert info.rotation == degrees % 360


def test_probe_gives_square_pixels(make_clip):
    clip = make_clip("wide.mp4", pixel_aspect=Fraction(2), audio_codec=None)
    assert (probe(clip).width, probe(clip).height) == (128, 48)


def test_probe_without_sound_or_without_picture(make_clip):
    silent = probe(make_clip("silent.mp4", audio_codec=None))
    assert (silent.has_video, silent.has_audio) == (True, False)
    sound = probe(make_clip("sound.wav", video_codec=None, audio_codec="pcm_s16le"))
    assert (sound.has_video, sound.has_audio) == (False, True)
    assert (sound.fps, sound.width, sound.height, sound.rotation) == (None, None, None, 0)


def test_a_raw_stream_without_time_stamps_has_a_duration(make_clip):
    clip = make_clip("raw.h264", audio_codec=None)
    assert probe(clip).duration == pytest.approx(2.0, abs=0.05)
    assert sum(1 for _ in read_frames(clip)) == 50


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.start_encoding()
        image = np.zeros((32, 32, 3), np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
        sound.sample_rate, sound.pts = 16_000, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1, "the file has a cover"
    info = probe(path)
    assert (info.has_video, info.has_audio) == (False, True)
    with pytest.raises(MediaError, match="has no video"):
        read_frames(path)


def test_a_missing_stream_is_a_media_error(make_clip):
    with pytest.raises(MediaError, match="has no sound"):
        read_waveform(make_clip("silent.mp4", audio_codec=None))
    with pytest.raises(MediaError, match="has no video"):
        read_frames(make_clip("sound.wav", video_codec=None, audio_codec="pcm_s16le"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"This is no video.\n" * 50, "not a video or audio file"),
        ("text.txt", b"This is no video.\n" * 50, "a text"),
        ("empty.mp4", b"", "is empty"),
        ("zeros.mp4", bytes(100_000), "not a video or audio file"),
        ("noise.mkv", np.random.default_rng(0).bytes(100_000), "not a video or audio file"),
        ("words.srt", b"1\n00:00:01,000 --> 00:00:02,000\nhello\n", "neither picture nor sound"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile clip.mp4\n", "a list of files"),
        ("colon: 1%d.mp4", b"This is no video.\n" * 50, "not a video or audio file"),
    ],
)
def test_files_that_are_no_media(tmp_path, make_clip, name, content, message):
    make_clip("clip.mp4")  # what the list names
    path = tmp_path / name
    path.write_bytes(content)
    for function in (probe, read_frames, read_waveform):
        with pytest.raises(MediaError, match=message) as caught:
            function(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_missing_file_directory_and_impossible_name(tmp_path):
    for path, message in [
        (tmp_path / "nowhere.mp4", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / ("x" * 300), "cannot be opened"),
        (Path("/dev/null"), "not a regular file"),
    ]:
        with pytest.raises(MediaError, match=message):
            probe(path)


def test_a_still_picture_is_a_media_error(tmp_path, make_clip):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), noisy_picture())
    with pytest.raises(MediaError, match="still picture"):
        probe(path)


def test_an_odd_name_is_no_protocol(make_clip):
    assert probe(make_clip("http: a %03d #1.mp4")).has_video


def test_truncated_mp4_without_its_header_is_a_media_error(make_clip):
    clip = truncate(make_clip("clip.mp4", picture=noisy_picture()), 0.5)
    for function in (probe, read_frames, read_waveform):
        with pytest.raises(MediaError, match="header is missing"):
            function(clip)


@pytest.mark.parametrize(
    ("name", "options"), [("clip.mp4", FASTSTART), ("clip.mkv", {}), ("clip.mov", FASTSTART)]
)
def test_truncated_file_gives_what_is_there_and_a_warning(make_clip, name, options):
    picture = noisy_picture()
    clip = make_clip(name, picture=picture, key_interval=1, duration=6.0, event=0, options=options)
    truncate(clip, 0.5)
    assert probe(clip).has_video
    for read in (
        lambda warn: sum(1 for _ in read_frames(clip, warn=warn)) / 25,
        lambda warn: len(read_waveform(clip, warn=warn)) / 16_000,
    ):
        warnings: list[str] = []
        assert 1.5 < read(warnings.append) < 5.0
        assert any("cut short" in warning or "past" in warning for warning in warnings), warnings
        assert all(name in warning and "\n" not in warning for warning in warnings)


def test_a_complete_file_gives_no_warning_and_warnings_are_logged(make_clip, caplog):
    clip = make_clip("clip.mkv", picture=noisy_picture(), key_interval=1, duration=4.0)
    list(read_frames(clip))
    read_waveform(clip)
    assert not caplog.records
    list(read_frames(truncate(clip, 0.5)))
    assert caplog.records
    assert {record.name for record in caplog.records} == {"avsr.media"}


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_damage_in_the_middle_raises_nothing(make_clip, name):
    options = FASTSTART if name.endswith("mp4") else {}
    clip = make_clip(name, picture=noisy_picture(), key_interval=1, options=options)
    data = bytearray(clip.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = np.random.default_rng(1).bytes(third)
    clip.write_bytes(data)
    warnings: list[str] = []
    frames = sum(1 for _ in read_frames(clip, warn=warnings.append))
    samples = len(read_waveform(clip, warn=warnings.append))
    assert 5 <= frames <= 55
    assert 0.2 * 16_000 <= samples <= 2.2 * 16_000
    assert warnings
