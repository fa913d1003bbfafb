"""A broken time stamp or delay became hours of repeated pictures, each searched for faces."""

import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from avsr import face, load_model
from avsr.errors import MediaError
from avsr.face.detector import Face, Frame
from avsr.face.landmarks import MediapipeDetector
from avsr.inspection.crops import crop_video
from avsr.media import burn_captions, probe, read_frames, read_pictures, read_waveform
from avsr.media.video import FROZEN
from tests.media.test_sound import beep_start, flash_start

MakeClip = Callable[..., Path]


class CountingDetector:
    """Looks at pictures and finds nobody, or the same face in each."""

    def __init__(self, found: Face | None = None) -> None:
        self.found, self.looks = found, 0

    def find(
        self, frame: Frame, *, exclude: Sequence[Face] = (), search_tiles: bool = True
    ) -> list[Face]:
        self.looks += 1
        return [self.found] if self.found is not None and not exclude else []

    def follow(self, frame: Frame, last: Face, *, verify: bool = False) -> Face | None:
        self.looks += 1
        return self.found


def slow_gif(path: Path, delay: float, count: int) -> Path:
    """A GIF of ``count`` pictures, each for ``delay`` s."""
    header = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + bytes((0, 0, 0, 255, 255, 255))
    picture = b"!\xf9\x04\0" + struct.pack("<H", round(delay * 100)) + b"\0\0"
    picture += b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\x02\x03\x44\x34\x05\0"
    path.write_bytes(header + picture * count + b";")
    return path


def count_frames(path: Path, warnings: list[str]) -> int:
    return sum(1 for _ in read_frames(path, max_side=64, warn=warnings.append))


def test_delays_of_hours_are_cut(tmp_path):
    warnings: list[str] = []
    num_frames = count_frames(slow_gif(tmp_path / "slow.gif", 655.35, 30), warnings)
    assert 30 <= num_frames <= 60 * 25
    (line,) = warnings
    assert "leap 29 times" in line


def test_delays_of_minutes_are_ten_minutes_in_all(tmp_path):
    warnings: list[str] = []
    num_frames = count_frames(slow_gif(tmp_path / "slow.gif", 100.0, 30), warnings)
    assert 500 * 25 <= num_frames <= 700 * 25
    assert len(warnings) == 1


def spoil_ts(path: Path, number: int, seconds: float, *, decoding: bool = False) -> None:
    """Move the time stamps of one picture of a transport stream, or its decoding time alone."""
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"\0\0\1\xe0", data)]
    header = starts[number]
    has_two = bool(data[header + 7] & 0x40)
    assert has_two or not decoding
    for place in (14,) if decoding else (9, 14) if has_two else (9,):
        first, *rest = data[header + place : header + place + 5]
        ticks = (first >> 1 & 7) << 30 | rest[0] << 22 | rest[1] >> 1 << 15
        ticks = (ticks | rest[2] << 7 | rest[3] >> 1) + round(seconds * 90_000)
        parts = first & 0xF1 | ticks >> 29 & 0x0E, ticks >> 22 & 255, ticks >> 14 & 255 | 1
        data[header + place : header + place + 5] = [*parts, ticks >> 7 & 255, ticks << 1 & 255 | 1]
    path.write_bytes(data)


def spoil_mkv(path: Path, milliseconds: int) -> None:
    """Move the time stamp of the picture at 1 s by up to 31 s."""
    data = path.read_bytes()
    block = re.compile(rb"(\xa3(?:[\x81-\xfe]|[\x40-\x7f].|[\x20-\x3f]..)\x81)\x03\xe8", re.S)
    moved = struct.pack(">h", 1000 + milliseconds)
    spoilt, count = block.subn(lambda match: match[1] + moved, data)
    assert count == 1
    path.write_bytes(spoilt)


def check_moved_nothing(clip: Path) -> None:
    warnings: list[str] = []
    frames = list(read_frames(clip, warn=warnings.append))
    assert len(frames) == pytest.approx(50, abs=2)
    assert flash_start(frames) == pytest.approx(1.2, abs=1.5 / 25)
    assert beep_start(read_waveform(clip, warn=warnings.append)) == pytest.approx(1.2, abs=0.05)
    assert not warnings


@pytest.mark.parametrize("wild", [30.0, 1_000.0, 20_000.0, -20.0])
def test_one_wild_stamp_of_a_ts_moves_nothing(make_clip, wild):
    clip = make_clip("one.ts", event=1.2, options={"output_ts_offset": "100"})
    spoil_ts(clip, 20, wild)
    check_moved_nothing(clip)


@pytest.mark.parametrize("number", [0, 22])
@pytest.mark.parametrize("wild", [1_000.0, -20_000.0])
def test_one_wild_decoding_time_moves_nothing(make_clip, number, wild):
    clip = make_clip("one.ts", event=1.2, b_frames=2, options={"output_ts_offset": "30000"})
    spoil_ts(clip, number, wild, decoding=True)
    check_moved_nothing(clip)


@pytest.mark.parametrize("wild", [31_000, -10_000])
def test_one_wild_stamp_of_a_mkv_moves_nothing(make_clip, wild):
    clip = make_clip("one.mkv", event=1.2, video_codec="mpeg4")
    spoil_mkv(clip, wild)
    check_moved_nothing(clip)


@pytest.mark.parametrize("name", ["gap.mp4", "gap.mkv", "gap.webm"])
@pytest.mark.parametrize("with_sound", [True, False])
def test_a_gap_of_hours_is_none(make_clip, name, with_sound):
    """Half of the pictures are hours later: nothing confirms it, whatever the header says."""
    stamps = [k / 25 + (20_000 if k >= 25 else 0) for k in range(50)]
    codec = "libopus" if name == "gap.webm" else "aac"
    clip = make_clip(
        name,
        stamps=stamps,
        event=1.2,
        video_codec="libvpx" if name == "gap.webm" else "libx264",
        audio_codec=codec if with_sound else None,
    )
    warnings: list[str] = []
    assert count_frames(clip, warnings) == pytest.approx(50, abs=3)
    assert len(warnings) == 1
    assert "leap by" in warnings[0]


def test_a_slide_keeps_its_clock_while_somebody_speaks(make_clip):
    stamps = [0.0, 1.0, *(200 + k / 25 for k in range(25))]
    clip = make_clip(
        "slides.mkv",
        stamps=stamps,
        duration=201.0,
        event=200.4,
        audio_codec="pcm_s16le",
        audio_rate=8_000,
        layout="mono",
    )
    warnings: list[str] = []
    frames = read_frames(clip, max_side=16, warn=warnings.append)
    assert flash_start(frames) == pytest.approx(200.4, abs=1.5 / 25)
    assert beep_start(read_waveform(clip)) == pytest.approx(200.4, abs=0.05)
    assert not warnings


@pytest.mark.parametrize("name", ["joined.ts", "joined.mpg"])
def test_joined_recordings_are_one_warning_and_stay_in_step(make_clip, name):
    """Sound and picture of each part differ in length, which must not add up."""
    video, audio = ("libx264", "aac") if name == "joined.ts" else ("mpeg1video", "mp2")
    part = make_clip(name, event=0.6, duration=1.2, video_codec=video, audio_codec=audio)
    part.write_bytes(part.read_bytes() * 8)
    warnings: list[str] = []
    frames = [frame.mean() > 128 for frame in read_frames(part, warn=warnings.append)]
    waveform = read_waveform(part, warn=warnings.append)
    leaps = {line for line in warnings if "leap" in line}
    (line,) = leaps
    assert "leap 7 times" in line
    assert len(frames) / 25 == pytest.approx(9.6, abs=1.0)
    assert len(waveform) / 16_000 == pytest.approx(len(frames) / 25, abs=0.15)
    for second in range(1, 8):  # the first flash and beep after each second
        flash = (second * 25 + frames[second * 25 :].index(True)) / 25
        beep = second + beep_start(waveform[second * 16_000 :])
        assert flash == pytest.approx(beep, abs=0.1)


@pytest.mark.parametrize("has_face", [True, False])
def test_a_picture_that_stays_is_looked_at_no_more(make_clip, has_face):
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    clip = make_clip("still.mkv", stamps=[0.0, 60.0], picture=picture, event=99, audio_codec=None)
    points = np.random.default_rng(0).uniform(10, 40, (25, 2))
    found = Face(points, np.array([5.0, 5.0, 40.0, 40.0])) if has_face else None
    detector = CountingDetector(found)
    faces = face.track_faces(read_pictures(clip), detector)
    assert faces.num_frames == pytest.approx(60 * 25, abs=2)
    assert detector.looks <= 30
    assert len(faces.tracks) == has_face
    for track in faces.tracks:
        assert track.found.all()
        assert len(track.found) == FROZEN


def test_the_same_array_is_looked_at_once():
    rng = np.random.default_rng(0)
    detector = CountingDetector()
    face.track_faces([rng.integers(0, 255, (48, 64, 3), np.uint8)] * 500, detector)
    assert detector.looks <= 20


def test_a_gif_of_hours_is_cropped(tmp_path):
    warnings: list[str] = []
    gif = slow_gif(tmp_path / "slow.gif", 655.35, 2)
    report = crop_video(gif, tmp_path / "gif", warn=warnings.append)
    assert report.num_frames <= 10 * 25
    assert len(warnings) == len(set(warnings))


def test_a_gif_of_hours_ends_at_once(tmp_path, faults_dir, monkeypatch):
    looks = []
    for name in ("find", "follow"):
        real = getattr(MediapipeDetector, name)
        monkeypatch.setattr(
            MediapipeDetector,
            name,
            lambda self, *given, real=real, **options: (
                looks.append(1) or real(self, *given, **options)
            ),
        )
    with pytest.raises(MediaError, match="nothing to transcribe"):
        load_model(device="cpu").transcribe(faults_dir / "gifbomb.gif")
    assert len(looks) <= 10 * 20
    burn_captions(faults_dir / "gifbomb.gif", tmp_path / "burnt.mp4", [])
    assert probe(tmp_path / "burnt.mp4").duration <= 60
