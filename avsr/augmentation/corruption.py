"""Damage to the picture of a test: what it is, how much, and where a hash puts it."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from avsr.errors import ConfigError
from avsr.rates import SAMPLE_RATE

FROZEN_FRAMES = 10  # a picture that stands still does so for 0.4 s at a time
AMOUNTS = {  # lowest and highest amount, and what it means
    "occlusion": (0.0, 1.0, "side of a grey square over the mouth, as a share of the crop"),
    "blur": (0.0, 50.0, "sigma of a Gaussian in pixels of the 96x96 crop"),
    "resolution": (1.0, 96.0, "side in pixels that the crop is scaled down to, and up again"),
    "dropped": (0.0, 1.0, "share of frames that are black"),
    "frozen": (0.0, 1.0, "share of stretches of 0.4 s in which the picture stands still"),
    "offset": (-5000.0, 5000.0, "milliseconds by which the sound comes later than the picture"),
}

DRAWN = {  # range of amounts in training
    "occlusion": (0.3, 1.0),
    "blur": (1.0, 6.0),
    "resolution": (5.0, 32.0),
    "dropped": (0.1, 0.9),
    "frozen": (0.3, 1.0),
}


@dataclass(frozen=True)
class Corruption:
    """One kind of damage to the picture, or to its place in time."""

    kind: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """``"blur:2"`` -> blur with sigma 2; raise ConfigError for an unknown kind or amount."""
        kind, _, number = text.partition(":")
        if kind not in AMOUNTS:
            raise ConfigError(f"picture '{text}': the kinds are {', '.join(AMOUNTS)}")
        low, high, meaning = AMOUNTS[kind]
        try:
            amount = float(number)
        except ValueError:
            amount = float("nan")
        if not low <= amount <= high:
            raise ConfigError(
                f"picture '{text}': write {kind}:AMOUNT with {low:g} to {high:g}, the {meaning}"
            )
        return cls(kind, amount)

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A random damage of the picture, for training."""
        kind = str(rng.choice(list(DRAWN)))
        return cls(kind, float(rng.uniform(*DRAWN[kind])))

    def damage(self, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Mouth crops (T, 96, 96) uint8 with the damage."""
        size = mouth.shape[1]
        if self.kind == "occlusion":
            side = round(self.amount * size)
            first = (size - side) // 2
            covered = mouth.copy()
            covered[:, first : first + side, first : first + side] = round(float(mouth.mean()))
            return covered
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
        """Sound (S,) moved against the picture, as long as before, with silence where it left."""
        if self.kind != "offset":
            return waveform
        shift = round(self.amount / 1000 * SAMPLE_RATE)
        moved = np.zeros_like(waveform)
        if shift >= 0:
            moved[shift:] = waveform[: max(0, len(waveform) - shift)]
        else:
            moved[:shift] = waveform[-shift:]
        return moved
