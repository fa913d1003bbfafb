"""Identities: faces derived from one portrait by name, and their skin textures."""

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.synthetic import portrait
from avsr.synthetic.identity_names import IdentityNames
from avsr.synthetic.lips import MouthBuild
from avsr.synthetic.portrait import Grid, sample

Floats = NDArray[np.float32]
Color = tuple[float, float, float]  # R, G, B

NAMES = IdentityNames("", {"train": 1000, "valid": 20, "test": 20}, digits=3)
BEARDS = {"none": 0.7, "moustache": 0.08, "goatee": 0.06, "full": 0.11, "chin": 0.05}  # shares
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G, B

HEAD_GRID = Grid(-70, -60, 800, 800, 2.0)  # the head on the canvas, two pixels per canvas px


@dataclass(frozen=True)
class Identity:
    """A face derived from the portrait; ``make_identity`` makes one by name."""

    name: str
    split: str
    seed: int  # of the random textures of the face: spots, stubble
    build: MouthBuild
    flipped: bool
    jaw_width: float  # factor - 1 on the width of the lower face
    nose_width: float
    lip_tint: float  # factor on the brightness of the lips
    skin: Color  # factors on R, G, B
    gamma: float
    contrast: float
    light_x: float  # change of brightness across the face
    light_y: float
    stubble: float
    spots: float
    blur: float  # px of the canvas
    noise: float  # grey levels
    hair: Color  # factors
    clothes: Color
    background: Color  # 0-255
    beard: str  # a key of BEARDS
    beard_tone: float  # brightness, of the skin
    beard_density: float
    lip_shade: (
        float  # factor on the brightness of the upper lip, which light from above leaves dark
    )


def identity_names(split: str) -> tuple[str, ...]:
    """Return all identity names of a split, such as "train-000"; raise CorpusError for no split."""
    return NAMES.names(split)


def draw_identity(split: str, rng: np.random.Generator) -> Identity:
    """Draw an identity of a split at random.

    Args:
        split: train, valid or test; the splits share no identity.
        rng: Used for one draw.

    Raises:
        CorpusError: For an unknown split.
    """
    return make_identity(NAMES.draw(split, rng))


@lru_cache(maxsize=1024)
def make_identity(name: str) -> Identity:
    """Make the face of a name; the same name always gives the same face.

    Args:
        name: One of ``identity_names``, such as "train-017".

    Raises:
        CorpusError: For an unknown name.
    """
    split, seed = NAMES.parse(name)
    rng = np.random.default_rng(seed)

    def vary(middle: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(middle, spread), low, high))

    build = MouthBuild(
        y=vary(151.5, 2.2, 146, 157),
        half_width=vary(22.5, 2.6, 17, 29.5),
        upper=vary(6.0, 1.7, 2.4, 10.5),
        lower=vary(8.0, 2.0, 3.6, 13.0),
        chin=vary(1.0, 4.0, -6, 10),
        corner=vary(0.0, 1.4, -3.0, 3.0),
        jaw=vary(0.9, 0.17, 0.55, 1.3),
        teeth=vary(0.90, 0.15, 0.5, 1.1),
        inside=vary(1.0, 0.2, 0.5, 1.5),
        gap=max(0.0, vary(0.15, 0.2, -0.2, 0.6)),
        tooth=vary(5.2, 0.7, 3.8, 7.0),
        upper_teeth=vary(1.0, 1.6, -3.0, 3.2),
        lower_teeth=vary(3.4, 1.5, 1.0, 8.0),
        bow=vary(0.16, 0.10, 0.0, 0.40),
        tilt=vary(0.0, 0.8, -2.0, 2.0),
        skew=vary(0.0, 0.12, -0.3, 0.3),
        line=vary(0.45, 0.15, 0.1, 0.75),
    )
    tone = vary(0.78, 0.25, 0.32, 1.12)
    warm = vary(0.02, 0.04, -0.04, 0.1)
    cloth = vary(0.7, 0.3, 0.1, 1.1)
    wall = vary(125.0, 55, 20, 235)
    hair = vary(0.75, 0.3, 0.2, 1.3)
    return Identity(
        name=name,
        split=split,
        seed=seed,
        build=build,
        flipped=bool(rng.random() < 0.5),
        jaw_width=vary(0.0, 0.09, -0.18, 0.20),
        nose_width=vary(0.05, 0.12, -0.2, 0.35),
        lip_tint=vary(0.78, 0.13, 0.45, 1.05),
        skin=(tone * (1 + warm), tone, tone * (1 - warm)),
        gamma=vary(1.0, 0.2, 0.6, 1.6),
        contrast=vary(0.9, 0.18, 0.45, 1.25),
        light_x=vary(0.0, 0.22, -0.55, 0.55),
        light_y=vary(0.0, 0.12, -0.3, 0.25),
        stubble=max(0.0, vary(-0.02, 0.18, -1, 0.35)),
        spots=max(0.0, vary(0.015, 0.02, 0, 0.06)),
        blur=max(0.0, vary(0.5, 0.4, 0, 1.5)),
        noise=max(0.0, vary(2.5, 2.0, 0.3, 8.0)),
        hair=(hair * (1 + warm), hair, hair * (1 - 2 * warm)),
        clothes=(cloth * vary(1, 0.2, 0.6, 1.4), cloth, cloth * vary(1, 0.2, 0.6, 1.4)),
        background=(wall + vary(0, 12, -15, 15), wall, wall + vary(0, 12, -15, 15)),
        beard=str(rng.choice(list(BEARDS), p=list(BEARDS.values()))),
        beard_tone=vary(0.3, 0.2, 0.1, 0.9),
        beard_density=vary(0.75, 0.15, 0.4, 0.95),
        lip_shade=vary(0.88, 0.1, 0.65, 1.05),
    )


def draw_skin(identity: Identity, grid: Grid) -> Floats:
    """Draw the portrait with the shape and colours of an identity.

    Args:
        identity: The face.
        grid: Raster over the canvas.

    Returns:
        (H, W, 4) float32: RGB 0-255 and the cover of the person 0-1.
    """
    base = portrait.canvas_photograph(HEAD_GRID)
    x, y = np.meshgrid(grid.x, grid.y)
    dx, dy = x - portrait.MOUTH_X, y - 120.0
    cheeks = np.clip((np.abs(dx) - 26) / 22, 0, 1) * np.clip((y - 95) / 60, 0, 1)
    cheeks *= np.clip((240 - y) / 60, 0, 1)
    nose = np.exp(-((dx / 16) ** 2) - (dy / 14) ** 2)
    from_x = x - dx * (identity.jaw_width * cheeks + identity.nose_width * nose)
    skin = sample(base, HEAD_GRID, from_x, y)
    face = _face_mask(from_x, y)
    person = sample(person_mask(), HEAD_GRID, from_x, y)
    cloth = np.clip((skin[..., 0] - skin[..., 2] - 60) / 60, 0, 1) * (y > 185) * (1 - face)
    grey_cloth = skin @ GREY
    skin += (grey_cloth[..., None] * np.array(identity.clothes, np.float32) * 1.4 - skin) * cloth[
        ..., None
    ]
    hair = (1 - face) * np.clip((175 - y) / 25, 0, 1)
    skin *= 1 + (np.array(identity.hair, np.float32) - 1) * hair[..., None]
    lips = _lip_mask(from_x, y)
    rng = np.random.default_rng(identity.seed)
    skin = _grow_beard(skin, identity, from_x, y, grid, rng) if identity.beard != "none" else skin
    beard = np.clip((y - 118) / 25, 0, 1) * np.clip((62 - np.abs(dx)) / 12, 0, 1) * (1 - lips)
    grain = cv2.GaussianBlur(rng.standard_normal(x.shape, np.float32), (0, 0), 0.6 * grid.scale)
    spots = cv2.GaussianBlur(rng.standard_normal(x.shape, np.float32), (0, 0), 2.5 * grid.scale)
    factor = 1 - identity.stubble * beard * np.clip(0.8 + 0.7 * grain, 0, 1.6)
    factor *= 1 - identity.spots * spots / max(float(spots.std()), 1e-6)
    factor *= 1 - (1 - identity.lip_tint) * lips
    factor *= 1 - (1 - identity.lip_shade) * lips * (y < _lip_line(from_x))
    factor *= 1 + identity.light_x * dx / 60 + identity.light_y * (y - 150) / 60
    tone = 1 + (np.array(identity.skin, np.float32) - 1) * (1 - np.maximum(hair, cloth))[..., None]
    skin = skin * factor.clip(0.15, 1.9)[..., None] * tone
    skin = 255 * (skin / 255).clip(0, 1.2) ** identity.gamma
    skin = 110 + (skin - 110) * identity.contrast
    if identity.blur > 0.2:
        skin = cv2.GaussianBlur(skin, (0, 0), identity.blur * grid.scale)
    return np.dstack([skin.clip(0, 255), person]).astype(np.float32)


def _grow_beard(
    skin: Floats, identity: Identity, x: Floats, y: Floats, grid: Grid, rng: np.random.Generator
) -> Floats:
    """Lay the hair of a beard over the skin (H, W, 3)."""
    dx = np.abs(x - portrait.MOUTH_X)
    u = ((x - portrait.MOUTH_X) / portrait.MOUTH_HALF).clip(-1, 1)
    top, bottom = (np.interp(u, portrait.CURVE_U, portrait.LIP_CURVES[i]) for i in (0, 3))

    def inside(distance: Floats, soft: float) -> Floats:
        return np.asarray(np.clip(distance / soft + 0.5, 0, 1), np.float32)

    moustache = inside(top + 1 - y, 2) * inside(y - top + 8 - 0.08 * dx, 4) * inside(33 - dx, 6)
    sides = inside(y - top + 6, 4) * inside(dx - 29, 3) * inside(38 - dx, 6)  # beside the mouth
    chin = inside(y - bottom - 4 + 0.002 * dx * dx, 4) * inside(30 - dx, 8)
    cheeks = inside(dx - 26, 8) * inside(y - 128 - (62 - dx).clip(0) * 0.35, 10)
    cheeks = np.maximum(cheeks, inside(y - bottom - 8, 5)) * inside(72 - dx, 8)
    parts = {
        "moustache": (moustache,),
        "goatee": (moustache, sides * inside(185 - y, 10), chin),
        "full": (moustache, sides, chin, cheeks),
        "chin": (chin,),
    }[identity.beard]
    mask = np.maximum.reduce(parts) * inside(204 - y, 16) * (1 - _lip_mask(x, y))
    sigma = 0.4 * grid.scale
    hair = cv2.GaussianBlur(
        rng.standard_normal(x.shape, np.float32), (0, 0), sigma, None, 3.5 * sigma
    )
    hair = 1 + 0.35 * hair / max(float(hair.std()), 1e-6)
    cover = identity.beard_density * mask * hair.clip(0.4, 1.2)
    grey = np.asarray(identity.hair, np.float32) * (150 * identity.beard_tone)
    return np.asarray(skin + (grey - skin) * cover.clip(0, 1)[..., None], np.float32)


def _face_mask(x: Floats, y: Floats) -> Floats:
    """Return 1 on face and neck, 0 on hair and clothes, with soft edges."""
    oval = portrait.region_mask(portrait.FACE_OVAL, HEAD_GRID, 2.5)
    neck_y = np.clip((HEAD_GRID.y - 165) / 10, 0, 1) * np.clip((225 - HEAD_GRID.y) / 10, 0, 1)
    neck_x = np.clip((50 - np.abs(HEAD_GRID.x - portrait.MOUTH_X)) / 5, 0, 1)
    neck = neck_y[:, None] * neck_x[None]
    return sample(np.maximum(oval, neck), HEAD_GRID, x, y)


@cache
def person_mask() -> Floats:
    """Return 1 on the person, 0 on the background, over ``HEAD_GRID``."""
    return portrait.region_mask(portrait.PERSON, HEAD_GRID, 1.2)


def _lip_line(x: Floats) -> NDArray[np.float64]:
    """Return the canvas y of the line between the photographed lips."""
    u = (x - portrait.MOUTH_X) / portrait.MOUTH_HALF
    return np.interp(u, portrait.CURVE_U, portrait.LIP_CURVES[1:3].mean(axis=0))


def _lip_mask(x: Floats, y: Floats) -> Floats:
    """Return 1 on the photographed lips, 0 elsewhere, with soft edges."""
    u = (x - portrait.MOUTH_X) / portrait.MOUTH_HALF
    top, bottom = (np.interp(u, portrait.CURVE_U, portrait.LIP_CURVES[i]) for i in (0, 3))
    mask = np.clip((y - top) / 1.5, 0, 1) * np.clip((bottom - y) / 2.0, 0, 1)
    return (mask * np.clip((1 - np.abs(u)) * 8, 0, 1)).astype(np.float32)
