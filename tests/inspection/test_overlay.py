"""Overlays and contact sheets, pixel by pixel where it matters."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from avsr.face import track_mouth
from avsr.inspection.overlay import (
    BAD,
    COLUMNS,
    DOUBTFUL,
    GOOD,
    PANEL,
    ROWS,
    ContactSheet,
    colour_of,
    draw_landmarks,
    draw_overlay,
)
from avsr.inspection.quality import Diagnosis, diagnose

FINE = Diagnosis(found=True, track=0, box=(0, 0, 1, 1), scale=1.0, angle=0.0, blur=0.5)
TILTED = Diagnosis(found=True, track=0, box=(0, 0, 1, 1), scale=1.0, angle=40.0, blur=0.5)
NONE = Diagnosis(found=False, track=None, box=None, scale=None, angle=None, blur=None)
CROP = np.tile(np.arange(96, dtype=np.uint8), (96, 1))


def test_colours() -> None:
    assert [colour_of(d) for d in (FINE, TILTED, NONE)] == [GOOD, DOUBTFUL, BAD]


@pytest.mark.parametrize("width", [1280, 640, 320])
def test_the_edge_is_drawn_where_the_crop_was_cut(draw_face, width: int) -> None:
    frame = draw_face(300, 600, 350)
    track = track_mouth([frame])
    small = cv2.resize(frame, (width, width * 9 // 16), interpolation=cv2.INTER_AREA)
    before = small.copy()
    drawn = draw_landmarks(
        small, track.landmarks[0], track.matrices[0], width / 1280, (255, 0, 255)
    )
    assert (small == before).all()
    assert drawn.shape[1] == max(480, width)
    scale = drawn.shape[1] / 1280
    pink = (drawn[..., 0] > 200) & (drawn[..., 1] < 60) & (drawn[..., 2] > 200)
    ys, xs = np.nonzero(pink)
    linear, shift = track.matrices[0][:, :2], track.matrices[0][:, 2]
    # Back in crop coordinates, all that is pink lies on the edge of the 96x96 square.
    positions = np.stack([xs, ys], axis=1) / scale @ linear.T + shift
    away = np.abs(np.abs(positions - 47.5).max(axis=1) - 48)
    assert len(positions) > 100
    assert np.quantile(away, 0.95) < 2 / scale * np.hypot(*linear[:, 0])


def test_no_face_draws_nothing(background) -> None:
    nothing = np.full((25, 2), np.nan), np.full((2, 3), np.nan)
    drawn = draw_landmarks(background, *nothing, 1.0, BAD)
    assert (drawn == background).all()


@pytest.mark.parametrize("size", [(48, 64), (720, 405), (300, 900)])
def test_an_overlay_has_the_frame_and_the_crop(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), (10, 60, 110), np.uint8)
    overlay = draw_overlay(picture, CROP, TILTED, 12)
    assert overlay.shape == (max(400, size[0]), size[1] + PANEL, 3)
    assert (overlay[:, : size[1]] == (10, 60, 110)).all(axis=2).sum() == size[0] * size[1]
    crop = overlay[10 : 10 + 192, size[1] + 10 : size[1] + 10 + 192]
    assert np.abs(crop[::2, ::2, 0].astype(int) - CROP).max() <= 1
    assert (overlay[100, size[1] + 8] == DOUBTFUL).all()


@pytest.mark.parametrize("count", [1, 3, 100, 1000])
def test_a_sheet_keeps_few_even_tiles_and_the_worst(tmp_path: Path, count: int) -> None:
    sheet = ContactSheet()
    picture = np.full((90, 160, 3), 90, np.uint8)
    for i in range(count):
        row = NONE if i == count - 1 else TILTED if i == count // 2 else FINE
        sheet.add(picture, CROP, row, i)
        assert len(sheet.tiles) <= 2 * COLUMNS * ROWS
    indices = [index for index, _ in sheet.tiles]
    assert len(indices) >= min(count, COLUMNS * ROWS)
    assert len(set(np.diff(indices))) <= 1
    assert indices[0] == 0
    if count > 1:
        assert sheet.worst["most tilted"][1] == count // 2
    assert sheet.worst["face not seen"][1] == count - 1
    sheet.save(tmp_path / "sheet.png", "talk.mp4", "a summary")
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    line = {tuple(pixel) for pixel in pixels[80, 12:-12].tolist()}
    assert line == ({BAD} if count == 1 else {GOOD, DOUBTFUL, BAD})


def test_the_time_line_does_not_lose_a_single_bad_frame(tmp_path: Path) -> None:
    sheet = ContactSheet()
    picture = np.full((9, 16, 3), 90, np.uint8)
    for i in range(20_000):
        sheet.add(picture, CROP, NONE if i == 7_777 else FINE, i)
    sheet.save(tmp_path / "sheet.png", "talk.mp4", "a summary")
    with Image.open(tmp_path / "sheet.png") as image:
        line = np.asarray(image)[80, 12:-12]
    (bad,) = np.nonzero((line == BAD).all(axis=1))
    assert 1 <= len(bad) <= 2
    assert bad[0] / len(line) == pytest.approx(7_777 / 20_000, abs=0.002)
    assert len(sheet.tiles) <= 2 * COLUMNS * ROWS


def test_real_rows_can_be_drawn(draw_face) -> None:
    frame = draw_face(200, 640, 360)
    track = track_mouth([frame])
    (row,) = diagnose(track)
    overlay = draw_overlay(frame, track.mouth[0], row, 0)
    assert overlay.shape == (720, 1280 + PANEL, 3)
