"""The first frame ruled the size of all: calls begin small. Wide pixels cost 46 s."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avsr import load_model
from avsr.face import track_mouth
from avsr.face.landmarks import _tiles
from avsr.inspection.crops import crop_video
from avsr.media import Caption, burn_captions, probe, read_frames, read_pictures
from avsr.media.orientation import Orientation
from avsr.media.safe_open import MAX_PIXELS

LARGE, SMALL = (320, 240), (64, 48)
TALL = (120, 240)


def write_changing(
    path: Path, parts: Sequence[tuple[tuple[int, int], int]], image: np.ndarray
) -> Path:
    """Write parts of (size, number of frames), each by an encoder of its own, as one track."""
    codec = "libvpx" if path.suffix == ".webm" else "mpeg2video"
    number = 0
    with av.open(str(path), "w") as file:
        track = file.add_stream(codec, rate=25)
        track.width, track.height = parts[0][0]
        track.pix_fmt = "yuv420p"
        for (width, height), count in parts:
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.gop_size, encoder.bit_rate = 100, 2_000_000
            if codec == "libvpx":
                encoder.options = {"deadline": "realtime", "cpu-used": "8"}
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            first = number
            frames = [av.VideoFrame.from_ndarray(small, format="rgb24") for _ in range(count)]
            for i, frame in enumerate(frames):
                frame.pts, frame.time_base = i, Fraction(1, 25)
            packets = [p for frame in [*frames, None] for p in encoder.encode(frame)]
            for packet in packets:
                packet.pts += first
                packet.dts = packet.pts
                packet.stream = track
                file.mux(packet)
            number += count
    return path


@pytest.fixture
def image() -> np.ndarray:
    return np.full((240, 320, 3), (200, 60, 60), np.uint8)


@pytest.mark.parametrize("name", ["call.webm", "call.ts"])
@pytest.mark.parametrize("parts", [(LARGE, SMALL), (SMALL, (160, 120), LARGE)])
def test_all_frames_have_the_largest_size(tmp_path, image, name, parts):
    path = write_changing(tmp_path / name, [(size, 8) for size in parts], image)
    assert (probe(path).width, probe(path).height) == LARGE
    frames = list(read_frames(path))
    assert len(frames) == pytest.approx(8 * len(parts), abs=1)
    assert {frame.shape for frame in frames} == {(240, 320, 3)}
    assert {(p.width, p.height) for p in read_pictures(path)} == {LARGE}
    assert {f.shape for f in read_frames(path, max_side=64)} == {(48, 64, 3)}
    for frame in frames:  # the whole of it shows the image
        assert np.abs(frame.astype(int) - (200, 60, 60)).max() < 40


def test_a_frame_of_another_shape_gets_black_edges(tmp_path, image):
    path = write_changing(tmp_path / "turned.webm", [(TALL, 12), (LARGE, 12)], image)
    first, *_, last = read_frames(path)
    columns = np.flatnonzero(first[120, :, 0] > 100)
    assert (columns[0], columns[-1]) == (pytest.approx(100, abs=2), pytest.approx(219, abs=2))
    assert (last[:, :, 0] > 100).all()
    burn_captions(path, tmp_path / "burnt.mp4", [Caption(0.2, 0.5, ("hello",))])
    first, *_, last = read_frames(tmp_path / "burnt.mp4")
    assert first.shape == (240, 320, 3)
    columns = np.flatnonzero(first[60, :, 0] > 100)
    assert (columns[0], columns[-1]) == (pytest.approx(100, abs=2), pytest.approx(219, abs=2))
    assert first[60, :95].max() < 30


def test_a_single_broken_key_frame_does_not_rule(tmp_path, image):
    parts = [(SMALL, 40), ((640, 480), 1), (SMALL, 40)]
    path = write_changing(tmp_path / "broken.webm", parts, image)
    assert (probe(path).width, probe(path).height) == SMALL
    assert {frame.shape for frame in read_frames(path)} == {(48, 64, 3)}


def test_a_face_is_followed_when_the_size_changes(tmp_path, draw_face):
    face = draw_face(180, 160, 120, size=LARGE)
    path = write_changing(tmp_path / "call.webm", [((160, 120), 6), (LARGE, 12)], face)
    track = track_mouth(read_pictures(path))
    assert track.found.all()
    assert np.ptp(track.boxes[:, 2]) < 0.1 * track.boxes[:, 2].mean()
    crop_video(path, tmp_path / "call", warn=print)
    assert (probe(tmp_path / "call.overlay.mp4").width or 0) > LARGE[0]


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(100), (64, 48)),
        (Fraction(1, 100), (64, 48)),
        (Fraction(65_535), (64, 48)),
        (Fraction(4, 3), (85, 48)),
        (Fraction(1, 2), (32, 48)),
    ],
)
def test_pixel_shapes_of_nonsense_are_ignored(make_clip, tmp_path, aspect, size):
    clip = make_clip("clip.mp4", pixel_aspect=aspect)
    assert (probe(clip).width, probe(clip).height) == size
    assert next(iter(read_frames(clip))).shape[1::-1] == size
    burn_captions(clip, tmp_path / "burnt.mp4", [Caption(0.2, 0.5, ("hello",))])
    burnt = probe(tmp_path / "burnt.mp4")
    assert (burnt.width, burnt.height) == size


def test_the_displayed_size_is_bounded():
    width, height = Orientation(pixel_aspect=Fraction(4)).square_size((8192, 8192))
    assert 0.99 * MAX_PIXELS < width * height < 1.01 * MAX_PIXELS
    assert width / height == pytest.approx(4, rel=0.01)


def test_a_narrow_strip_has_few_tiles():
    assert len(_tiles(16, 8192)) <= 12
    assert len(_tiles(8192, 16)) <= 12
    assert len(_tiles(720, 1280)) == 10


@pytest.mark.parametrize("name", ["ramp64.webm", "sar100.mp4"])
def test_files_that_failed_have_lips(faults_dir, tmp_path, name):
    assert (probe(faults_dir / name).width, probe(faults_dir / name).height) == (256, 256)
    result = load_model(device="cpu").transcribe(faults_dir / name)
    assert result.modality == "av"
    assert result.warnings == ()
    burn_captions(faults_dir / name, tmp_path / "burnt.mp4", [])
    assert probe(tmp_path / "burnt.mp4").width == 256
