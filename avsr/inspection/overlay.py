"""Draw images to judge mouth crops by: frames with landmarks, and a contact sheet."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from avsr.face.detector import Image
from avsr.face.geometry import FloatArray, invert
from avsr.inspection.quality import Diagnosis
from avsr.media.captions import load_font
from avsr.rates import FPS, MOUTH_SIZE

LONGER_SIDE = 960  # px, longest side of the frame in an overlay
SMALL_SIDE = 480  # px; smaller frames are enlarged to it, to keep their landmarks apart
PANEL = 212  # px, width of the column beside the frame
MIN_HEIGHT = 400  # px, of the column
CROP_SIDE = 2 * MOUTH_SIZE  # px, of the crop in the column

TILE_PICTURE = (192, 144)  # px, width and height of the frame in a tile of the sheet
TILE_CAPTION = 38  # px
COLUMNS, ROWS = 4, 5  # of tiles at even distances; one more row has the worst frames
MARGIN = 12  # px
HEAD = 104  # px, above the tiles
STRIP = 16  # px, height of the time line
WORST = ("face not seen", "smallest face", "most tilted", "most blurred")

Colour = tuple[int, int, int]
GOOD: Final[Colour] = (80, 200, 120)
DOUBTFUL: Final[Colour] = (255, 176, 32)
BAD: Final[Colour] = (235, 72, 72)
TEXT: Final[Colour] = (235, 235, 235)
FAINT: Final[Colour] = (150, 150, 150)
GROUND: Final[Colour] = (24, 24, 28)
BEHIND: Final[Colour] = (44, 44, 50)
LIPS: Final[Colour] = (80, 220, 255)


def colour_of(diagnosis: Diagnosis) -> Colour:
    """Return green, amber for a frame with a problem, or red without a face."""
    if diagnosis.track is None:
        return BAD
    return DOUBTFUL if diagnosis.problems else GOOD


def draw_landmarks(
    frame: Image, points: FloatArray, matrix: FloatArray, ratio: float, colour: Colour
) -> Image:
    """Mark lips, nose, eyes and the edge of the crop in a copy of a frame.

    Args:
        frame: The frame (H, W, 3), which may be reduced.
        points: Landmarks (25, 2) in px of the full frame; nan without a face.
        matrix: Matrix (2, 3) from the full frame to the crop; nan without a face.
        ratio: Size of ``frame`` relative to the full frame.
        colour: Colour of the edge of the crop.

    Returns:
        The copy; frames of less than 480 px are enlarged.
    """
    grow = max(1.0, SMALL_SIDE / max(frame.shape[:2]))
    size = (round(frame.shape[1] * grow), round(frame.shape[0] * grow))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) if grow > 1 else frame
    picture = np.array(picture, np.uint8)
    if np.isnan(matrix).any():
        return picture
    scale = ratio * grow
    edge = MOUTH_SIZE - 0.5
    corners = np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)])
    back = invert(matrix)
    _draw_line(picture, corners @ back[:, :2].T + back[:, 2], scale, colour, 2)
    _draw_line(picture, points[5:17], scale, LIPS, 1)
    _draw_line(picture, points[17:25], scale, LIPS, 1)
    for x, y in _to_sixteenths(points[:5], scale):
        cv2.circle(picture, (x, y), 3 << 4, GOOD, -1, cv2.LINE_AA, 4)
    return picture


def draw_faces(
    picture: Image, boxes: Mapping[int, NDArray[np.float32]], selected: int | None, scale: float
) -> None:
    """Write the number of each face into ``picture``, and a box around those not ``selected``.

    ``boxes`` are x, y, w, h by face number, in px of the full frame; ``picture`` is ``scale`` times
    as large as that.
    """
    for number, box in boxes.items():
        x, y, width, height = (round(float(value) * scale) for value in box)
        colour = GOOD if number == selected else TEXT
        if number != selected:
            cv2.rectangle(picture, (x, y), (x + width, y + height), colour, 1, cv2.LINE_AA)
        corner = (max(0, x), max(16, y - 6))
        for thickness, ink in ((4, GROUND), (1, colour)):
            cv2.putText(
                picture,
                f"face {number}",
                corner,
                cv2.FONT_HERSHEY_DUPLEX,
                0.6,
                ink,
                thickness,
                cv2.LINE_AA,
            )


def _to_sixteenths(points: FloatArray, scale: float) -> NDArray[np.int32]:
    """Scale positions and convert them to 1/16 px, in which cv2 draws."""
    return np.round(((points + 0.5) * scale - 0.5) * 16).astype(np.int32)


def _draw_line(
    picture: Image, points: FloatArray, scale: float, colour: Colour, width: int
) -> None:
    cv2.polylines(picture, [_to_sixteenths(points, scale)], True, colour, width, cv2.LINE_AA, 4)


def draw_overlay(
    picture: Image, crop: NDArray[np.uint8], diagnosis: Diagnosis, index: int
) -> Image:
    """Put a column with the crop and its numbers beside a frame.

    Args:
        picture: The frame, from ``draw_landmarks``.
        crop: Its mouth crop (96, 96).
        diagnosis: Its quality.
        index: Its number, at 25 fps.
    """
    height = max(MIN_HEIGHT, picture.shape[0])
    width = picture.shape[1]
    out = np.empty((height, width + PANEL, 3), np.uint8)
    out[:] = GROUND
    top = (height - picture.shape[0]) // 2
    out[top : top + picture.shape[0], :width] = picture
    sheet = PILImage.fromarray(out)
    draw = ImageDraw.Draw(sheet)
    left = width + (PANEL - CROP_SIDE) // 2
    _paste_crop(sheet, crop, left, 10, CROP_SIDE, colour_of(diagnosis))
    y = 10 + CROP_SIDE + 12
    for name, text in [
        ("time", f"{index / FPS:.2f} s"),
        ("frame", str(index)),
        *_numbers(diagnosis),
    ]:
        draw.text((left, y), name, FAINT, load_font(14))
        draw.text((left + 64, y), text, TEXT, load_font(14))
        y += 21
    words = ", ".join(diagnosis.problems) or "good"
    draw.text((left, y + 6), words, colour_of(diagnosis), load_font(15))
    return np.asarray(sheet)


def _numbers(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """List names and values; a missing value is a dash."""
    d = diagnosis
    return [
        ("track", "–" if d.track is None else str(d.track)),
        ("scale", "–" if d.scale is None else f"{d.scale:.2f}"),
        ("angle", "–" if d.angle is None else f"{round(d.angle)}°"),
        ("blur", "–" if d.blur is None else f"{d.blur:.2f}"),
    ]


def _paste_crop(
    sheet: PILImage.Image, crop: NDArray[np.uint8], x: int, y: int, side: int, colour: Colour
) -> None:
    """Paste the crop, enlarged to ``side`` px, with a coloured edge of 3 px around it."""
    large = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
    ImageDraw.Draw(sheet).rectangle((x - 3, y - 3, x + side + 2, y + side + 2), colour)
    sheet.paste(PILImage.fromarray(np.asarray(large, np.uint8)), (x, y))


def draw_tile(picture: Image, crop: NDArray[np.uint8], diagnosis: Diagnosis, index: int) -> Image:
    """Draw a small frame, its crop beside it and two lines of text; see ``draw_overlay``."""
    width, height = TILE_PICTURE
    gap = 6
    sheet = PILImage.new("RGB", tile_size(), GROUND)
    fit = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * fit)), max(1, round(picture.shape[0] * fit)))
    sheet.paste(BEHIND, (0, 0, width, height + 6))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    sheet.paste(
        PILImage.fromarray(np.asarray(small, np.uint8)),
        ((width - size[0]) // 2, 3 + (height - size[1]) // 2),
    )
    _paste_crop(sheet, crop, width + gap + 3, 3, height, colour_of(diagnosis))
    draw = ImageDraw.Draw(sheet)
    right = tile_size()[0] - 3
    y = height + 8
    draw.text((0, y), f"{index / FPS:.2f} s", TEXT, load_font(13))
    words = ", ".join(diagnosis.problems) or "good"
    draw.text((right, y), words, colour_of(diagnosis), load_font(13), anchor="ra")
    numbers = "   ".join(f"{name} {value}" for name, value in _numbers(diagnosis))
    draw.text((0, y + 17), numbers, FAINT, load_font(12))
    return np.asarray(sheet)


def tile_size() -> tuple[int, int]:
    """Return width and height of a tile, px."""
    width, height = TILE_PICTURE
    return width + height + 12, height + TILE_CAPTION + 8


class ContactSheet:
    """Collects tiles while frames come in; stores few of them however many frames there are."""

    def __init__(self) -> None:
        self.step = 1
        self.tiles: list[tuple[int, Image]] = []
        self.worst: dict[str, tuple[float, int, Image]] = {}
        self.line = bytearray()

    def add(
        self, picture: Image, crop: NDArray[np.uint8], diagnosis: Diagnosis, index: int
    ) -> None:
        """Add the next frame; arguments as in ``draw_overlay``."""
        colour = colour_of(diagnosis)
        self.line.append((GOOD, DOUBTFUL, BAD).index(colour))
        ranks = {
            "smallest face": diagnosis.scale,
            "most tilted": None if diagnosis.angle is None else abs(diagnosis.angle),
            "most blurred": diagnosis.blur,
            "face not seen": None if diagnosis.found else 1.0,
        }
        new = {
            name: rank
            for name, rank in ranks.items()
            if rank is not None and (name not in self.worst or rank > self.worst[name][0])
        }
        due = index % self.step == 0
        if not new and not due:
            return
        tile = draw_tile(picture, crop, diagnosis, index)
        for name, rank in new.items():
            self.worst[name] = (rank, index, tile)
        if due:
            self.tiles.append((index, tile))
        if len(self.tiles) > 2 * COLUMNS * ROWS:
            # Drop every other tile: the others stay at even distances however long it gets.
            self.tiles = self.tiles[::2]
            self.step *= 2

    def save(self, path: Path, title: str, summary: str) -> None:
        """Write the sheet as PNG: title, summary, time line, even tiles, the worst ones."""
        rng = np.linspace(0, len(self.tiles) - 1, min(len(self.tiles), COLUMNS * ROWS))
        even = [self.tiles[i][1] for i in np.round(rng).astype(int)]
        width, height = tile_size()
        rows = -(-len(even) // COLUMNS)
        full = COLUMNS * (width + MARGIN) + MARGIN
        worst_top = HEAD + rows * (height + MARGIN)
        bottom = worst_top + (30 + height + MARGIN if self.worst else 0)
        sheet = PILImage.new("RGB", (full, bottom), GROUND)
        draw = ImageDraw.Draw(sheet)
        draw.text((MARGIN, 12), title, TEXT, load_font(22))
        draw.text((MARGIN, 44), summary, FAINT, load_font(15))
        sheet.paste(PILImage.fromarray(self._time_line(full - 2 * MARGIN)), (MARGIN, 72))
        _paste_row(sheet, even, HEAD)
        names = [name for name in WORST if name in self.worst]
        for i, name in enumerate(names):
            left = MARGIN + i * (width + MARGIN)
            draw.text((left, worst_top + 2), name, TEXT, load_font(15))
        _paste_row(sheet, [self.worst[name][2] for name in names], worst_top + 26)
        sheet.save(path, format="PNG")

    def _time_line(self, width: int) -> Image:
        """Draw the recording from left to right; a column has the worst colour of its frames."""
        states = np.frombuffer(bytes(self.line), np.uint8)
        edges = np.linspace(0, len(states), width + 1)
        columns = [
            states[int(a) : max(int(a) + 1, int(np.ceil(b)))].max() for a, b in pairwise(edges)
        ]
        colours = np.array([GOOD, DOUBTFUL, BAD], np.uint8)[columns]
        return np.repeat(colours[None], STRIP, axis=0)


def _paste_row(sheet: PILImage.Image, tiles: Sequence[Image], top: int) -> None:
    """Paste tiles in rows of four, from ``top`` down."""
    width, height = tile_size()
    for i, tile in enumerate(tiles):
        row, column = divmod(i, COLUMNS)
        corner = (MARGIN + column * (width + MARGIN), top + row * (height + MARGIN))
        sheet.paste(PILImage.fromarray(tile), corner)
