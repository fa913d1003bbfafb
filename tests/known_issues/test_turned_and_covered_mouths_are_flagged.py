"""Heads turned by 60 degrees, hands before the mouth and black frames were called good."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from avsr import media
from avsr.face import is_readable, track_mouth
from avsr.face.geometry import MOUTH
from avsr.inspection.quality import diagnose
from avsr.media import write_video
from avsr.rates import SAMPLES_PER_FRAME
from avsr.recognition.reading import read_recording
from benchmarks.readability import cover_mouth

EXAMPLE = Path(__file__).parents[2] / "demo/examples/de.mp4"
COVERED = slice(15, 30)  # frames


def turn_head(degrees: float) -> np.ndarray:
    """A photograph on an ellipsoid with a nose, turned to a side (320, 320, 3)."""
    photo = cv2.resize(skimage.data.astronaut()[:300, 70:370], (320, 320))
    y, x = np.mgrid[:960, :960] / 3
    u, v = (x - 154) / 80, (y - 112) / 112
    nose = np.exp(-(((x - 154) / 14) ** 2) - ((y - 125) / np.where(y < 125, 28, 12)) ** 2)
    depth = 80 * np.sqrt(np.clip(1 - u**2 - v**2, 0, None)) + 26 * nose
    turn, head = np.deg2rad(degrees), u**2 + v**2 < 1
    columns = (154 + 80 * u * np.cos(turn) + depth * np.sin(turn))[head]
    nearest_last = np.argsort((depth * np.cos(turn) - 80 * u * np.sin(turn))[head])
    rows, columns = y[head][nearest_last].astype(int), columns[nearest_last].astype(int)
    picture = np.full_like(photo, 90)
    picture[rows, columns.clip(0, 319)] = cv2.resize(photo, (960, 960))[head][nearest_last]
    return cv2.medianBlur(picture, 3)


@pytest.mark.parametrize(
    ("degrees", "readable"), [(-60, False), (-30, True), (0, True), (30, True)]
)
def test_a_turned_head(degrees: float, readable: bool) -> None:
    track = track_mouth([turn_head(degrees)] * 4)
    assert track.found.all()
    assert (is_readable(track) == readable).all()
    assert [("turned" in row.problems) for row in diagnose(track)] == [not readable] * 4


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(media.read_frames(EXAMPLE))


def cover(frames: list[np.ndarray], part: slice, kind: str) -> list[np.ndarray]:
    """The same thing before the mouth in a part of the frames."""
    landmarks = track_mouth(frames).landmarks
    covered = list(frames)
    for i in range(*part.indices(len(frames))):
        mouth = landmarks[i, MOUTH]
        half = float(np.ptp(mouth[:, 0])) / 2
        rng = np.random.default_rng(5)
        covered[i] = cover_mouth(frames[i], *mouth.mean(axis=0), half, kind, rng)
    return covered


@pytest.mark.parametrize("kind", ["skin_patch", "fingers", "microphone", "flat"])
def test_a_covered_mouth(frames: list[np.ndarray], kind: str) -> None:
    track = track_mouth(cover(frames, COVERED, kind))
    flagged = ~is_readable(track)
    assert flagged[COVERED].mean() >= 0.95
    assert np.delete(flagged, range(15, 30)).mean() <= 0.02
    problems = [row.problems for row in diagnose(track)]
    assert sum(bool(row) for row in problems[COVERED]) >= 0.95 * 15


@pytest.mark.parametrize("color", [(0, 0, 0), (20, 120, 60)])
def test_a_blank_frame_shows_no_face_and_ends_no_track(frames, color) -> None:
    flashes = [7, 8, 20]
    blank = [np.full_like(f, color) if i in flashes else f for i, f in enumerate(frames)]
    track = track_mouth(blank)
    assert np.flatnonzero(~track.found).tolist() == flashes
    assert np.flatnonzero(~is_readable(track)).tolist() == flashes
    assert set(track.tracks) == {0}
    assert all("not seen" in row.problems for i, row in enumerate(diagnose(track)) if i in flashes)


def test_lips_that_something_covers_are_not_read(frames, tmp_path) -> None:
    path = tmp_path / "covered.mp4"
    sound = media.read_waveform(EXAMPLE)[: len(frames) * SAMPLES_PER_FRAME]
    write_video(path, cover(frames, slice(None), "fingers"), waveform=sound, crf=12)
    recording = read_recording(path)
    assert recording.modality == "audio"
    assert "something covers the mouth" in recording.warnings
