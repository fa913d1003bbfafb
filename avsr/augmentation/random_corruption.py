"""Corruptions of the video as training draws them: several at once, at random places and times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avsr.augmentation.corruption import Corruption, cover
from avsr.augmentation.lips import Lips, worse_of
from avsr.rates import MOUTH_SIZE

RANGES = {  # of the amounts that training draws
    "occlusion": (0.2, 1.0),
    "blur": (1.0, 14.0),
    "resolution": (4.0, 40.0),
    "dropped": (0.1, 1.0),
    "frozen": (0.3, 1.0),
    "compression": (1.0, 40.0),
    "brightness": (0.15, 3.0),
    "noise": (5.0, 60.0),
}
# By lips alone the bundled model of 0.2 has 43 % of the letters wrong in synthetic clips (greedy);
# blur of 2, 4, 10: 46, 57, 96 %; resolution 24, 12, 6: 48, 57, 93 %; compression 15, 5: 45, 58 %;
# brightness 0.5, 1.6: 44, 47 %; noise 15, 40: 49, 65 %.
CLEAR = {  # range of the amounts that leave the lips clear
    "blur": (0.0, 2.0),
    "resolution": (24.0, 96.0),
    "compression": (15.0, 100.0),
    "brightness": (0.5, 1.6),
    "noise": (0.0, 10.0),
}
UNREADABLE = {  # range of the amounts that leave nothing to read
    "blur": (10.0, 50.0),
    "resolution": (1.0, 6.0),
}
KINDS = (0.6, 0.3, 0.1)  # probabilities of one, two and three corruptions of a clip
MIN_SPAN = 8  # frames: shortest part of a clip that is corrupted
LIPS_ROWS, LIPS_COLUMNS = slice(34, 66), slice(24, 72)  # where the lips lie in a crop
CLEAR_SHARE, COVERED_SHARE = 0.1, 0.6  # of the lips that a cover may and must hide
DROPS = 3  # most spans of lips that are lost
DROP_FRAMES = (5, 38)  # length of a span: 0.2 to 1.5 s
TEXTURES = 8  # sides in pixels of the squares of a patterned cover's grey levels


@dataclass(frozen=True, kw_only=True)
class ClipCorruption:
    """A corruption of a part of a clip."""

    corruption: Corruption
    first: int
    """Frame with which the part begins."""
    last: int
    """Frame after its last one."""
    seed: int
    """Of the place and look of a cover, of dropped and frozen frames, and of noise."""

    def shown(self, length: int) -> np.ndarray:
        """Return which frame is shown in place of each of ``length`` frames (T,).

        In place of a black frame the nearest other one is shown, as in inference.
        """
        shown = np.arange(max(length, self.last))
        part = self.corruption.shown(self.last - self.first, np.random.default_rng(self.seed))
        shown[self.first : self.last] = np.where(part < 0, -1, part + self.first)
        shown = shown[:length].clip(max=length - 1)  # a video may lack the last frame
        valid = np.flatnonzero(shown >= 0)
        if not len(valid):
            return np.zeros(length, int)  # a still picture
        after = np.searchsorted(valid, np.arange(length)).clip(max=len(valid) - 1)
        before = (after - 1).clip(min=0)
        later = np.abs(valid[after] - np.arange(length)) < np.abs(np.arange(length) - valid[before])
        return shown[np.where(later, valid[after], valid[before])]

    def look(self, mouth: np.ndarray) -> np.ndarray:
        """Return mouth crops (T, 96, 96) uint8 that look as they do with this corruption."""
        rng = np.random.default_rng(self.seed)
        part = mouth[self.first : self.last]
        if not len(part):
            return mouth
        if self.corruption.kind == "occlusion":
            side, corner = self.place(rng)
            part = cover(part, side, corner, _draw_filling(part, side, rng))
        elif self.corruption.kind not in ("dropped", "frozen"):
            part = self.corruption.apply(part, rng)
        out = mouth.copy()
        out[self.first : self.last] = part
        return out

    def place(self, rng: np.random.Generator) -> tuple[int, tuple[int, int]]:
        """Draw side and upper left corner of a cover, whose middle is inside the crop."""
        side = round(self.corruption.amount * MOUTH_SIZE)
        row, column = (int(rng.integers(MOUTH_SIZE)) - side // 2 for _ in range(2))
        if rng.random() < 0.5:  # half of them in the middle
            row = column = (MOUTH_SIZE - side) // 2
        return side, (row, column)

    def clarity(self, length: int) -> np.ndarray:
        """Return how clear the lips stay in ``length`` frames (T,): as in ``Lips``."""
        clarity = np.ones(length)
        kind, amount = self.corruption.kind, self.corruption.amount
        if kind == "occlusion":
            seen = np.zeros((1, MOUTH_SIZE, MOUTH_SIZE), np.uint8)
            side, corner = self.place(np.random.default_rng(self.seed))
            share = cover(seen, side, corner, 1)[0, LIPS_ROWS, LIPS_COLUMNS].mean()
            is_clear, is_hidden = share <= CLEAR_SHARE, share >= COVERED_SHARE
        elif kind in CLEAR:
            is_clear, is_hidden = (
                low <= amount <= high
                for low, high in (CLEAR[kind], UNREADABLE.get(kind, (np.inf, np.inf)))
            )
        else:
            return clarity  # frames of other moments are clear: ``shown`` names them
        clarity[self.first : self.last] = 1.0 if is_clear else 0.0 if is_hidden else np.nan
        return clarity


def _draw_filling(part: np.ndarray, side: int, rng: np.random.Generator) -> int | np.ndarray:
    """Draw the look of a cover: the mean grey of the crops, one grey, or a pattern of greys."""
    kind = int(rng.integers(3))
    if kind == 0:
        return round(float(part.mean()))
    if kind == 1:
        return int(rng.integers(256))
    cells = -(-side // TEXTURES) or 1
    greys = rng.integers(256, size=(cells, cells)).astype(np.uint8)
    return greys.repeat(TEXTURES, 0).repeat(TEXTURES, 1)[:side, :side]


def sample_corruptions(length: int, rng: np.random.Generator) -> tuple[ClipCorruption, ...]:
    """Draw one to three corruptions of a clip, each of all of it or of a part.

    They depend on the length and ``rng`` only, so that what they leave of the lips can be told
    without the video.

    Args:
        length: Frames of the clip.
        rng: Source of everything random.
    """
    count = 1 + int(rng.choice(len(KINDS), p=KINDS))
    corruptions = []
    for kind in rng.choice(list(RANGES), count, replace=False).tolist():
        amount = float(rng.uniform(*RANGES[kind]))
        first, last = 0, length
        if rng.random() < 0.5 and length > MIN_SPAN:
            width = int(rng.integers(MIN_SPAN, length + 1))
            first = int(rng.integers(length - width + 1))
            last = first + width
        seed = int(rng.integers(1 << 31))
        corruption = Corruption(kind, amount)
        corruptions.append(ClipCorruption(corruption=corruption, first=first, last=last, seed=seed))
    return tuple(corruptions)


def corrupt_lips(
    lips: Lips, corruptions: Sequence[ClipCorruption], *, is_done: bool = False
) -> Lips:
    """Corrupt lips.

    Args:
        lips: Mouth crops (T, 96, 96) uint8; with ``is_done`` anything of T frames.
        corruptions: From ``sample_corruptions`` for T frames.
        is_done: The frames come of a video with these corruptions: they stay, and only what can be
            read from them changes.

    Returns:
        The corrupted lips.
    """
    length = len(lips.frames)
    for one in corruptions:
        moved = lips.take(torch.from_numpy(one.shown(length)))
        clarity = worse_of(moved.clarity, torch.from_numpy(one.clarity(length)).float())
        frames = lips.frames if is_done else torch.from_numpy(one.look(moved.frames.numpy()))
        lips = Lips(frames, moved.moments, clarity)
    return lips


def drop_lips(lips: Lips, rng: np.random.Generator) -> Lips:
    """Lose one to three spans of lips (T, ...), of pixels or features, as a camera or detector may.

    A span stands still, shows the nearest frame before or after it, or is zeros or noise.
    """
    length = len(lips.frames)
    for _ in range(int(rng.integers(1, DROPS + 1))):
        width = min(length, int(rng.integers(*DROP_FRAMES)))
        first = int(rng.integers(length - width + 1))
        last = first + width
        kind = rng.choice(("frozen", "nearest", "zero", "noise"))
        if kind == "zero":
            lips = lips.replace(first, last, 0.0)
        elif kind == "noise":
            span = lips.frames[first:last]
            noise = torch.from_numpy(rng.standard_normal(span.shape, np.float32))
            lips = lips.replace(first, last, lips.frames.mean() + lips.frames.std() * noise)
        else:
            indices = torch.arange(length)
            middle = first if kind == "frozen" else first + width // 2
            indices[first:middle] = max(0, first - 1)
            indices[middle:last] = first if kind == "frozen" else min(last, length - 1)
            lips = lips.take(indices)
    return lips
