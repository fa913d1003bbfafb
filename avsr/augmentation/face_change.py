"""Vary the face in mouth crops: its shape, mirror image, skin, light, resolution and position."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from avsr.rates import MOUTH_SIZE

MIDDLE = (MOUTH_SIZE - 1) / 2
GRID = 5  # control points per axis of the warp
WARP = 2.2  # px, standard deviation of the control points
SCALE = (0.85, 1.15)
ASPECT = (0.9, 1.1)  # width to height
TURN = 0.10  # rad, standard deviation
SHIFT = 3.0  # px, standard deviation
JITTER = 0.6  # px, standard deviation of the drift of the crop from frame to frame
JITTER_FRAMES = 6  # over which the drift is smooth
GAMMA = (0.6, 1.7)
CONTRAST = (0.65, 1.3)
BRIGHTNESS = 12.0  # grey levels, standard deviation
LIGHT = 0.35  # a side that is this much brighter, the other darker
LIPS = (0.75, 1.25)  # factor on the brightness of the mouth region
LIPS_SIZE = (0.30, 0.16)  # of the crop: standard deviations of that region, across and down
SIDE = (38.0, 96.0)  # px to which the crop is scaled down: a mouth of 24 px is a crop of about 50
LOW_RESOLUTION = 0.4  # share of the faces that are scaled down
GRAIN = 4.0  # grey levels, largest noise


@dataclass(frozen=True)
class FaceChange:
    """How one face becomes another, the same in every frame but for the drift of the crop."""

    map_x: np.ndarray
    """(96, 96) float32: the column that each pixel comes from."""
    map_y: np.ndarray
    """(96, 96) float32: the row."""
    tones: np.ndarray
    """(256,) float32: brightness -> brightness."""
    light: np.ndarray
    """(96, 96) float32: factor on the brightness."""
    side: int
    """Resolution in pixels; 96 keeps it."""
    grain: float
    """Standard deviation of the noise in grey levels."""

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw a change."""
        rows, columns = np.mgrid[:MOUTH_SIZE, :MOUTH_SIZE].astype(np.float32) - MIDDLE
        scale = np.exp(rng.uniform(*np.log(SCALE)))
        aspect = np.exp(rng.uniform(*np.log(ASPECT)) / 2)
        angle, shift = rng.normal(0, TURN), rng.normal(0, SHIFT, 2)
        x, y = columns / scale / aspect, rows / scale * aspect
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        control = rng.normal(0, WARP, (2, GRID, GRID)).astype(np.float32)
        warp = [cv2.resize(c, (MOUTH_SIZE,) * 2, interpolation=cv2.INTER_CUBIC) for c in control]
        map_x = mirror * (np.cos(angle) * x - np.sin(angle) * y) + shift[0] + warp[0] + MIDDLE
        map_y = np.sin(angle) * x + np.cos(angle) * y + shift[1] + warp[1] + MIDDLE

        gamma = np.exp(rng.uniform(*np.log(GAMMA)))
        contrast = np.exp(rng.uniform(*np.log(CONTRAST)))
        tones = (np.linspace(0, 1, 256) ** gamma - 0.5) * contrast * 255 + 127.5
        tones += rng.normal(0, BRIGHTNESS)
        direction = rng.uniform(0, 2 * np.pi)
        slope = (np.cos(direction) * columns + np.sin(direction) * rows) / MIDDLE
        light = 1 + rng.uniform(0, LIGHT) * slope
        across, down = (columns / MOUTH_SIZE / LIPS_SIZE[0], rows / MOUTH_SIZE / LIPS_SIZE[1])
        light *= 1 + (rng.uniform(*LIPS) - 1) * np.exp(-(across**2 + down**2) / 2)
        low = rng.random() < LOW_RESOLUTION
        return cls(
            map_x=map_x.astype(np.float32),
            map_y=map_y.astype(np.float32),
            tones=tones.astype(np.float32),
            light=light.astype(np.float32),
            side=round(rng.uniform(*SIDE)) if low else MOUTH_SIZE,
            grain=float(rng.uniform(0, GRAIN)),
        )

    def apply(self, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change mouth crops.

        Args:
            mouth: (T, 96, 96) uint8.
            rng: Source of the drift of the crop and of the noise.

        Returns:
            (T, 96, 96) uint8.
        """
        drift = _smooth(rng.normal(0, 1, (len(mouth) + 2 * JITTER_FRAMES, 2))) * JITTER
        changed = np.empty_like(mouth)
        for number, frame in enumerate(mouth):
            map_x = self.map_x + np.float32(drift[number, 0])
            map_y = self.map_y + np.float32(drift[number, 1])
            image = cv2.remap(
                self.tones[frame], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            image = image * self.light
            if self.side < MOUTH_SIZE:
                image = cv2.resize(image, (self.side,) * 2, interpolation=cv2.INTER_AREA)
            image = image + rng.standard_normal(image.shape, np.float32) * np.float32(self.grain)
            if self.side < MOUTH_SIZE:
                image = cv2.resize(image, (MOUTH_SIZE,) * 2, interpolation=cv2.INTER_LINEAR)
            changed[number] = np.clip(np.round(image), 0, 255)
        return changed


def _smooth(steps: np.ndarray) -> np.ndarray:
    """Smooth noise (T + 12, 2) over time to a standard deviation of 1, (T, 2)."""
    kernel = np.hanning(2 * JITTER_FRAMES + 1)
    kernel /= np.sqrt(np.sum(kernel**2))
    columns = [np.convolve(column, kernel)[2 * JITTER_FRAMES :] for column in steps.T]
    return np.stack(columns, axis=1)[: len(steps) - 2 * JITTER_FRAMES]
