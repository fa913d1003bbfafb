"""Identities of 3-D heads: shape and look drawn from continuous ranges by name."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avsr.synthetic.identity_names import IdentityNames
from avsr.synthetic.mesh_face import HeadShape
from avsr.synthetic.mesh_skin import Look

NAMES = IdentityNames("mesh-", {"train": 4000, "valid": 200, "test": 200}, digits=4)
# RGB of skin from light to dark, and of hair.
TONES = ((250, 212, 188), (232, 186, 152), (204, 150, 112), (150, 100, 70), (92, 60, 44))
HAIRS = ((28, 22, 20), (58, 40, 28), (98, 66, 40), (150, 112, 66), (196, 164, 108), (150, 72, 36),
         (150, 148, 146))  # fmt: skip


@dataclass(frozen=True)
class MeshIdentity:
    """A 3-D head; ``make_mesh_identity`` makes one by name."""

    name: str
    split: str
    seed: int  # of its patterns
    shape: HeadShape
    look: Look


def mesh_identity_names(split: str) -> tuple[str, ...]:
    """Return all names of a split, such as "mesh-train-0000"; raise CorpusError for no split."""
    return NAMES.names(split)


def draw_mesh_identity(split: str, rng: np.random.Generator) -> MeshIdentity:
    """Draw an identity of a split at random.

    Args:
        split: train, valid or test; the splits share no identity.
        rng: Used for one draw.

    Raises:
        CorpusError: For an unknown split.
    """
    return make_mesh_identity(NAMES.draw(split, rng))


@lru_cache(maxsize=1024)
def make_mesh_identity(name: str) -> MeshIdentity:
    """Make the head of a name; the same name always gives the same head.

    Args:
        name: One of ``mesh_identity_names``, such as "mesh-train-0017".

    Raises:
        CorpusError: For an unknown name.
    """
    split, seed = NAMES.parse(name)
    rng = np.random.default_rng(seed)

    def vary(middle: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(middle, spread), low, high))

    female = bool(rng.random() < 0.5)
    shape = HeadShape(
        face_width=vary(1.0, 0.045, 0.9, 1.12),
        jaw_width=vary(0.97 if female else 1.03, 0.06, 0.82, 1.16),
        depth=vary(1.0, 0.08, 0.8, 1.2),
        chin=vary(0.0 if female else 2.0, 3.5, -6, 11),
        chin_size=vary(4.0, 2.0, 0, 9),
        cheek=vary(3.0, 2.0, -1, 8),
        brow=vary(2.5 if female else 4.0, 1.5, 0, 7),
        nose_length=vary(0.0, 1.8, -4, 3),
        nose_height=vary(16.0, 2.5, 11, 22),
        nose_width=vary(1.0, 0.13, 0.78, 1.35),
        eye_apart=vary(0.0, 1.0, -2, 2),
        eye_width=vary(1.0, 0.06, 0.88, 1.12),
        eye_depth=vary(5.0, 1.5, 2, 8),
        mouth_y=vary(153.0, 2.8, 147.5, 160.0),
        mouth_half=vary(24.0, 1.9, 19.5, 28.5),
        upper_lip=vary(5.6, 1.5, 2.6, 9.5),
        lower_lip=vary(7.6, 1.6, 4.2, 12.0),
        muzzle=vary(14.0, 2.0, 10, 18),
        teeth=vary(0.9, 1.0, -1.5, 2.5),
        lip_bulge=vary(3.0, 0.9, 1, 5.5),
        bow=vary(0.2, 0.09, 0, 0.4),
        corner=vary(0.0, 1.0, -2.2, 2.2),
        jaw_move=vary(0.9, 0.18, 0.5, 1.3),
        lip_move=vary(0.95, 0.18, 0.55, 1.35),
        lopsided=vary(0.0, 2.0, -4, 4),
        hairline=vary(52.0, 5.0, 40, 62),
        fringe=vary(6.0, 9.0, -8, 24),
        temple=vary(59.0, 3.0, 53, 64),
        hair_volume=vary(7.0, 2.5, 2, 14),
        hair_length=vary(0.65, 0.3, 0.2, 1.0) if rng.random() < (0.7 if female else 0.08) else 0.0,
    )
    tone = rng.uniform(0, len(TONES) - 1)
    skin = np.array(
        [np.interp(tone, range(len(TONES)), column) for column in zip(*TONES, strict=True)]
    )
    skin = skin * [vary(1, 0.03, 0.93, 1.07), 1, vary(1, 0.04, 0.9, 1.1)]
    hair = np.array(HAIRS[rng.integers(len(HAIRS) if tone < 1.8 else 2)]) * rng.uniform(0.8, 1.2)
    painted = female and rng.random() < 0.5
    lip_light = vary(0.72 if painted else 0.88, 0.10, 0.5, 1.05)
    lip_red = vary(1.22 if painted else 1.12, 0.06, 1.0, 1.4)
    beard, moustache = 0.0, 0.0
    if not female and (kind := rng.random()) < 0.6:
        beard = rng.uniform(0.1, 0.45) if kind < 0.35 else rng.uniform(0.6, 1.0)
        moustache = beard * rng.uniform(0.8, 1.1) if kind < 0.5 else rng.uniform(0.5, 1.0)
        beard *= 0.0 if kind > 0.54 else 1.0
    look = Look(
        skin=to_color(skin),
        lips=to_color(np.array([lip_red, 0.92, 0.95]) * lip_light),
        gloss=vary(22.0 if painted else 12.0, 8.0, 2, 50),
        hair=to_color(hair),
        bald=1.0 if not female and rng.random() < 0.15 else 0.0,
        brows=vary(0.35 if female else 0.65, 0.2, 0.1, 1.0),
        brow_y=vary(0.0, 1.5, -3, 3),
        iris=((70, 45, 25), (60, 90, 120), (80, 100, 60), (45, 30, 20))[rng.integers(4)],
        eye_open=vary(1.0, 0.14, 0.65, 1.3),
        redness=vary(0.7, 0.4, 0, 1.6),
        patches=vary(0.8, 0.4, 0.1, 2),
        pores=vary(0.8, 0.5, 0.1, 2.2),
        spots=max(0.0, vary(-0.1, 0.25, -1, 0.6)),
        folds=vary(0.35, 0.35, 0, 1.2),
        beard=beard,
        moustache=min(1.0, moustache),
        shine=vary(10.0, 6.0, 0, 28),
        teeth=vary(0.86, 0.12, 0.55, 1.05),
        gaps=vary(0.25, 0.18, 0, 0.7),
        tongue=to_color(np.array([204, 116, 118]) * vary(1, 0.1, 0.75, 1.2)),
        clothes=to_color(rng.uniform(20, 235, 3)),
        stripes=vary(0.0, 0.4, -1, 1) if rng.random() < 0.4 else 0.0,
        collar=vary(0.0, 5.0, -10, 10),
    )
    return MeshIdentity(name=name, split=split, seed=seed % 2**32, shape=shape, look=look)


def to_color(color: NDArray[np.floating]) -> tuple[float, float, float]:
    """Turn RGB (3,) into a tuple."""
    red, green, blue = (float(value) for value in color)
    return red, green, blue
