"""Corruptions of the video: a covered mouth, blur, low resolution, lost frames, late sound."""

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
    "offset": (-5000.0, 5000.0, "milliseconds by which the sound comes later than the picture"),
}

TRAINING_AMOUNTS = {  # range from which training draws
    "occlusion": (0.3, 1.0),
    "blur": (1.0, 6.0),
    "resolution": (5.0, 32.0),
    "dropped": (0.1, 0.9),
    "frozen": (0.3, 1.0),
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

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw a random corruption of the picture, for training."""
        kind = str(rng.choice(list(TRAINING_AMOUNTS)))
        return cls(kind, float(rng.uniform(*TRAINING_AMOUNTS[kind])))

    def apply(self, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Corrupt mouth crops.

        Args:
            mouth: (T, 96, 96) uint8, which stays unchanged.
            rng: Decides which frames are dropped or frozen.

        Returns:
            (T, 96, 96) uint8.
        """
        size = mouth.shape[1]
        if self.kind == "occlusion":
            side = round(self.amount * size)
            first = (size - side) // 2
            occluded = mouth.copy()
            occluded[:, first : first + side, first : first + side] = round(float(mouth.mean()))
            return occluded
        if self.kind == "blur" and self.amount > 0:
            return np.stack([cv2.GaussianBlur(frame, (0, 0), self.amount) for frame in mouth])
        if self.kind == "resolution":
            side = round(self.amount)
            small = (cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in mouth)
            return np.stack(
                [cv2.resize(f, (size, size), interpolation=cv2.INTER_LINEAR) for f in small]
            )
        if self.kind == "dropped":
            return mouth * (rng.random(len(mouth)) >= self.amount)[:, None, None].astype(np.uint8)
        if self.kind == "frozen":
            still = rng.random(-(-len(mouth) // FROZEN_FRAMES)) < self.amount
            frames = np.arange(len(mouth))
            stretch = frames // FROZEN_FRAMES
            return mouth[np.where(still[stretch], stretch * FROZEN_FRAMES, frames)]
        return mouth

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
