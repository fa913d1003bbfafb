"""The lips of a training utterance, and what can be read from each of their frames."""

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 2  # lips of so many frames before or after still help: 80 ms, recipes/synthetic/RESULTS.md


@dataclass(frozen=True)
class Lips:
    """Frames of lips, pixels or features of a visual front end."""

    frames: Tensor
    """(T, ...)."""
    moments: Tensor
    """(T,) number of the frame of the utterance whose lips each frame shows."""
    clarity: Tensor
    """(T,) 1 where the lips are clear, 0 where nothing can be read from them, NaN in between."""

    @classmethod
    def clear(cls, frames: Tensor) -> "Lips":
        """Return lips that are as they were recorded."""
        return cls(frames, torch.arange(len(frames)), torch.ones(len(frames)))

    def take(self, indices: Tensor) -> "Lips":
        """Return the frames ``indices`` (T,), in this order."""
        return Lips(self.frames[indices], self.moments[indices], self.clarity[indices])

    def shift(self, late: int) -> "Lips":
        """Return lips whose frame t is frame t + ``late``; past either end the last one stays."""
        indices = torch.arange(len(self.frames)) + late
        return self.take(indices.clamp(0, len(self.frames) - 1))

    def loop(self, length: int, first: int = 0) -> "Lips":
        """Return ``length`` frames from ``first`` on, repeated from the start after the end."""
        return self.take((first + torch.arange(length)) % len(self.frames))

    def replace(self, first: int, last: int, value: Tensor | float) -> "Lips":
        """Return lips with frames ``first:last`` replaced by what is no lips."""
        frames, clarity = self.frames.clone(), self.clarity.clone()
        frames[first:last] = value
        clarity[first:last] = 0.0
        return Lips(frames, self.moments, clarity)

    def readable(self) -> Tensor:
        """Return whether each frame tells what is said in it: (T,) 1 or 0, NaN = unknown.

        It does if the lips are clear and those of this moment, and not if they are of a moment that
        is more than NEAR frames away.
        """
        distance = (self.moments - torch.arange(len(self.moments))).abs()
        timing = torch.where(distance == 0, 1.0, torch.nan).masked_fill(distance > NEAR, 0.0)
        return worse_of(self.clarity, timing)


def worse_of(one: Tensor, other: Tensor) -> Tensor:
    """Combine two (T,) of 1, 0 and NaN: 0 if one of them is, else NaN if one of them is."""
    return (one * other).masked_fill((one == 0) | (other == 0), 0.0)
