"""How a speaker moves the mouth: clear or slurred, with jaw or lips, smiling, early or late."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class SpeakingStyle:
    """The habits of a speaker; the default is a clear, neutral one."""

    reach: float = 1.0
    """Factor on the time by which a sound extends into its neighbours: below 1 crisp, above 1
    slurred (coarticulation)."""
    effort: float = 1.0
    """Factor on the movements of jaw and lips; required gestures (lips shut for p) are reached with
    every effort."""
    rounding: float = 1.0
    """Factor on the rounding of the lips."""
    jaw_use: float = 1.0
    """Factor on the opening of the jaw; below 1 the lips open the mouth instead."""
    lag: float = 0.0
    """Seconds by which the lips follow the sound; negative: they are ahead."""
    parted: float = 0.0
    """Lips in pauses: 0 shut .. 1 open."""
    smile: float = 0.0
    """0 .. 1."""
    idle: float = 0.0
    """Movements in pauses, such as breathing: 0 .. 1."""
    spread: float = 0.04
    """Standard deviation of every sound from its target."""
    individuality: float = 0.0
    """Standard deviation by which a speaker's version of each viseme differs from the table."""


def draw_style(rng: np.random.Generator) -> SpeakingStyle:
    """Draw the habits of a speaker."""
    return SpeakingStyle(
        reach=float(np.exp(rng.uniform(np.log(0.6), np.log(1.8)))),
        effort=float(rng.triangular(0.5, 0.9, 1.2)),
        rounding=float(rng.uniform(0.6, 1.25)),
        jaw_use=float(rng.uniform(0.6, 1.25)),
        lag=float(rng.triangular(-0.04, 0.0, 0.04)),
        parted=float(max(0.0, rng.uniform(-1.0, 1.0))),  # half of the speakers rest with lips shut
        smile=float(max(0.0, rng.uniform(-1.5, 1.0))),
        idle=float(rng.uniform(0.0, 1.0)),
        spread=float(rng.uniform(0.03, 0.09)),
        individuality=float(rng.uniform(0.02, 0.08)),
    )
