"""Corruptions of the video: a covered mouth, a poor picture, lost frames, late sound."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from avsr.errors import ConfigError
from avsr.rates import SAMPLE_RATE

FROZEN_FRAMES = 10  # a frozen picture stands still for 0.4 s at a time
AMOUNTS = {  # lowest and highest amount, and its meaning
    "occlusion": (0.0, 1.0, "side of a grey square over the mouth, as a share of the crop"),
    "blur": (0.0, 50.0, "sigma of a Gaussian in pixels of the 96x96 crop"),
    "resolution": (1.0, 96.0, "side in pixels to which the crop is scaled down, then up again"),
    "dropped": (0.0, 1.0, "share of frames that are black"),
    "frozen": (0.0, 1.0, "share of 0.4 s stretches in which the picture stands still"),
    "compression": (1.0, 100.0, "quality of JPEG, in which each frame is stored"),
    "brightness": (0.0, 10.0, "factor on the grey levels, which end at white"),
    "noise": (0.0, 100.0, "standard deviation of noise in grey levels, as of a camera in the dark"),
    "offset": (-5000.0, 5000.0, "milliseconds by which the sound comes later than the picture"),
}


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption of the video, or of its timing, and its strength.

    Args:
        kind: A key of ``AMOUNTS``.
        amount: Strength, in the unit that ``AMOUNTS`` gives for the kind.
    """

    kind: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a corruption from text.

        Args:
            text: ``KIND:AMOUNT``, e.g. ``blur:2`` for a blur with a sigma of 2 pixels.

        Raises:
            ConfigError: The kind is unknown, or the amount is out of bounds.
        """
        kind, _, number = text.partition(":")
        if kind not in AMOUNTS:
            raise ConfigError(f"video corruption '{text}': the kinds are {', '.join(AMOUNTS)}")
        low, high, meaning = AMOUNTS[kind]
        try:
            amount = float(number)
        except ValueError:
            amount = float("nan")
        if not low <= amount <= high:
            raise ConfigError(
                f"video corruption '{text}': write {kind}:AMOUNT with {low:g} to {high:g}, the "
                f"{meaning}"
            )
        return cls(kind, amount)

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"

    def apply(self, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Corrupt mouth crops.

        Args:
            mouth: (T, 96, 96) uint8, which stays unchanged.
            rng: Decides which frames are dropped or frozen, and draws noise.

        Returns:
            (T, 96, 96) uint8.
        """
        size = mouth.shape[1]
        if self.kind == "occlusion":
            side = round(self.amount * size)
            first = (size - side) // 2
            return cover(mouth, side, (first, first), round(float(mouth.mean())))
        if self.kind == "blur" and self.amount > 0:
            return np.stack([cv2.GaussianBlur(frame, (0, 0), self.amount) for frame in mouth])
        if self.kind == "resolution":
            side = round(self.amount)
            small = (cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in mouth)
            return np.stack(
                [cv2.resize(f, (size, size), interpolation=cv2.INTER_LINEAR) for f in small]
            )
        if self.kind == "compression":
            return np.stack([_compress(frame, round(self.amount)) for frame in mouth])
        if self.kind == "brightness":
            return cv2.convertScaleAbs(mouth, alpha=self.amount)
        if self.kind == "noise":
            noise = rng.standard_normal(mouth.shape, np.float32)
            return (mouth + self.amount * noise).round().clip(0, 255).astype(np.uint8)
        shown = self.shown(len(mouth), rng)
        return mouth[shown] * (shown >= 0)[:, None, None].astype(np.uint8)

    def shown(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """Return which frame is shown in place of each of ``length`` frames (T,); -1 is black."""
        frames = np.arange(length)
        if self.kind == "dropped":
            return np.where(rng.random(length) >= self.amount, frames, -1)
        if self.kind == "frozen":
            still = rng.random(-(-length // FROZEN_FRAMES)) < self.amount
            stretch = frames // FROZEN_FRAMES
            return np.where(still[stretch], stretch * FROZEN_FRAMES, frames)
        return frames

    def delay(self, waveform: np.ndarray) -> np.ndarray:
        """Shift the sound against the picture.

        Args:
            waveform: (S,) samples at 16 kHz.

        Returns:
            (S,) samples, with silence where the sound moved away; unchanged unless the kind is
            ``offset``.
        """
        if self.kind != "offset":
            return waveform
        shift = round(self.amount / 1000 * SAMPLE_RATE)
        shifted = np.zeros_like(waveform)
        if shift >= 0:
            shifted[shift:] = waveform[: max(0, len(waveform) - shift)]
        else:
            shifted[:shift] = waveform[-shift:]
        return shifted


def cover(
    mouth: np.ndarray, side: int, corner: tuple[int, int], filling: int | np.ndarray
) -> np.ndarray:
    """Cover a square of mouth crops.

    Args:
        mouth: (T, 96, 96) uint8, which stays unchanged.
        side: Pixels.
        corner: Row and column of the upper left corner; the square may reach over the edges.
        filling: Grey level, or grey levels (side, side).

    Returns:
        (T, 96, 96) uint8.
    """
    covered = mouth.copy()
    (top, bottom), (left, right) = ((max(0, first), max(0, first + side)) for first in corner)
    if isinstance(filling, np.ndarray):
        height, width = covered[0, top:bottom, left:right].shape
        row, column = top - corner[0], left - corner[1]
        filling = filling[row : row + height, column : column + width]
    covered[:, top:bottom, left:right] = filling
    return covered


def _compress(frame: np.ndarray, quality: int) -> np.ndarray:
    """Store a frame (96, 96) uint8 as JPEG and read it."""
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
