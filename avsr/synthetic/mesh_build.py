"""Triangle mesh of a head: rings of vertices around the mouth, and grids for the rest.

The face is a set of rings around the mouth: behind the lips, over the lips, over the skin to the
outline of the face, and round the back of the head. Teeth, tongue, palate, neck, shoulders and hair
are grids of their own. All movement is linear in a few moves (see ``mesh_moves``).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avsr.synthetic.mesh_face import (
    MIDDLE,
    NUM_ANGLES,
    HeadShape,
    eye_corners,
    hair_mask,
    lip_lines,
    nose_tip_y,
    outline_points,
    ramp,
    surface,
)
from avsr.synthetic.mesh_moves import MOVES, face_moves, turn_jaw

Floats = NDArray[np.floating]

LIP_SHARES = (0.0, 0.22, 0.5, 0.8, 1.0)  # of the lip's thickness, from the line of the lips
BEHIND = ((7.0, 1.6), (4.0, 0.5), (1.6, 0.0))  # px back, px apart: rings behind the lips
SKIN_RINGS = 19
BACK = (70, 84, 100, 122, 150, 180)  # degrees from straight ahead: rings round the back
NUM_BEHIND = len(BEHIND)
FIRST_SKIN = NUM_BEHIND + len(LIP_SHARES)  # ring
THROAT = 60.0  # px that the dark behind the teeth counts as lying further back
TEETH_BACK = 7.5  # px that the upper teeth lie behind the front of the face

# Left, top, right, bottom of the texture in canvas px: the skin is unrolled around the face,
# patches for the rest lie to its right.
TEXTURE = (-60.0, -50.0, 410.0, 300.0)
PATCHES = {
    "upper teeth": (330.0, -40.0, 390.0, -20.0),
    "lower teeth": (330.0, -10.0, 390.0, 10.0),
    "tongue": (330.0, 20.0, 360.0, 50.0),
    "throat": (330.0, 60.0, 350.0, 80.0),
    "torso": (330.0, 90.0, 400.0, 220.0),
    "hair": (330.0, 230.0, 400.0, 295.0),
}


@dataclass(frozen=True)
class HeadMesh:
    """A head at rest and how it moves; V vertices."""

    rest: Floats  # (3, V)
    moves: Floats  # (len(MOVES), 3 * V) change of the positions for a move of 1
    texture: Floats  # (2, V) canvas px
    triangles: NDArray[np.intp]  # (3, M)
    bias: Floats  # (M,) px by which a triangle counts as closer to the camera
    rings: tuple[int, int]  # rings and angles of the head, which are the first vertices
    lips: Floats  # (V,) 1 on the lips
    shade: Floats  # (V,) light that reaches a vertex
    lit: Floats  # (V,) 1 where the light falls on, 0 inside of the mouth
    normals: Floats  # (3, V) at rest
    follow: Floats  # (V,) 1 turns with the head .. 0 stays
    landmarks: NDArray[np.intp]  # (25,) vertices of ``avsr.face.geometry.POINT_IDS``


@dataclass
class _Builder:
    """Collects grids of vertices."""

    rest: list[Floats]
    moves: list[Floats]
    texture: list[Floats]
    triangles: list[NDArray[np.intp]]
    extras: list[Floats]  # (n, 4): lips, shade, lit, follow
    bias: list[Floats]
    count: int = 0

    def add(
        self,
        points: Floats,
        texture: Floats,
        *,
        moves: dict[str, Floats] | None = None,
        closed: bool = False,
        flip: bool = False,
        both: bool = False,
        lips: Floats | float = 0.0,
        shade: Floats | float = 1.0,
        lit: float = 1.0,
        follow: Floats | float = 1.0,
        bias: float = 0.0,
    ) -> None:
        """Add a grid of vertices (rows, columns, 3).

        ``closed``: its columns form rings. ``flip``: it is seen from its other side; ``both``: from
        both sides.
        """
        rows, columns = points.shape[:2]
        index = self.count + np.arange(rows * columns).reshape(rows, columns)
        right = np.roll(index, -1, axis=1)
        if not closed:
            index, right = index[:, :-1], right[:, :-1]
        a, b, c, d = index[:-1], right[:-1], right[1:], index[1:]
        quads = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
        if both:
            quads = np.concatenate([quads, quads[:, ::-1]])
        self.triangles.append(quads[:, ::-1] if flip else quads)
        self.bias.append(np.full(len(quads), bias, np.float32))
        fields = np.zeros((len(MOVES), rows, columns, 3), np.float32)
        for name, field in (moves or {}).items():
            fields[MOVES.index(name)] = field
        self.rest.append(points.reshape(-1, 3).astype(np.float32))
        self.moves.append(fields.reshape(len(MOVES), -1, 3))
        self.texture.append(texture.reshape(-1, 2).astype(np.float32))
        extra = [np.broadcast_to(v, (rows, columns)).ravel() for v in (lips, shade, lit, follow)]
        self.extras.append(np.stack(extra, axis=1).astype(np.float32))
        self.count += rows * columns


def patch_points(name: str, across: Floats, down: Floats) -> Floats:
    """Return texture positions at shares of a patch's sides."""
    left, top, right, bottom = PATCHES[name]
    across, down = np.broadcast_arrays(across, down)
    return np.stack([left + (right - left) * across, top + (bottom - top) * down], axis=-1)


@lru_cache(maxsize=256)
def build_head(shape: HeadShape) -> HeadMesh:
    """Build the mesh of a head."""
    builder = _Builder([], [], [], [], [], [])
    landmarks = _add_face(builder, shape)
    _add_mouth(builder, shape)
    _add_torso(builder, shape)
    rest = np.concatenate(builder.rest)
    extras = np.ascontiguousarray(np.concatenate(builder.extras).T)
    triangles = np.concatenate(builder.triangles)
    return HeadMesh(
        rest=np.ascontiguousarray(rest.T),
        moves=np.concatenate(builder.moves, axis=1).transpose(0, 2, 1).reshape(len(MOVES), -1),
        texture=np.ascontiguousarray(np.concatenate(builder.texture).T),
        triangles=np.ascontiguousarray(triangles.T),
        bias=np.concatenate(builder.bias),
        rings=(FIRST_SKIN + SKIN_RINGS + 1 + len(BACK), NUM_ANGLES),
        lips=extras[0],
        shade=extras[1],
        lit=extras[2],
        follow=extras[3],
        normals=np.ascontiguousarray(_vertex_normals(rest, triangles).T),
        landmarks=landmarks,
    )


def _vertex_normals(points: Floats, triangles: NDArray[np.intp]) -> Floats:
    """Return unit normals (V, 3), the mean of the triangles around a vertex."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros(points.shape)
    for i in range(3):
        np.add.at(total, triangles[:, i], face)
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6)).astype("f4")


def _add_face(builder: _Builder, shape: HeadShape) -> NDArray[np.intp]:
    """Add the rings of face and skull; return the vertices of the landmarks."""
    u, half, line, thick = lip_lines(shape)
    shares = np.array([*(0.0 for _ in BEHIND), *LIP_SHARES])[:, None]
    x = shape.mouth_half * u * (1 + 0.05 * shares)
    apart = np.array([*(b[1] for b in BEHIND), *(0.0 for _ in LIP_SHARES)])[:, None]
    y = line - half * (shares * thick + apart * np.sqrt(1 - u * u))
    bulge = shape.lip_bulge * np.sin(np.pi * (0.2 + 0.8 * shares)) * np.sqrt(1 - u * u)
    back = np.array([*(b[0] for b in BEHIND), *(0.0 for _ in LIP_SHARES)])[:, None]
    z = surface(x, y, shape) + bulge - back
    texture_y = y - half * apart

    # Skin from the border of the lips to the outline of the face.
    border = np.stack([x[-1], y[-1]], axis=-1)
    outline = outline_points(shape)
    growth = (np.arange(1, SKIN_RINGS + 1) / SKIN_RINGS)[:, None, None]
    growth = 0.35 * growth + 0.65 * growth**2
    growth = np.concatenate([[[[0.012]]], growth])  # a ring at the border keeps the lips sharp
    skin = border + (outline - border) * growth
    skin_z = surface(skin[..., 0], skin[..., 1], shape) - 24 * growth[..., 0] ** 6

    # Round the back of the head, on an ellipsoid.
    back_xyz, unrolled = _back_points(outline, skin_z[-1], shape)
    points = np.concatenate([np.stack([x, y, z], -1), np.dstack([skin, skin_z]), back_xyz]).astype(
        np.float32
    )
    texture = np.concatenate([np.stack([x, texture_y], -1), skin, unrolled])
    volume = hair_mask(texture[..., 0], texture[..., 1], shape) * shape.hair_volume
    points += (volume * ramp(-points[..., 2], -10, 30))[..., None] * _outward(points)
    texture = texture + np.array([MIDDLE, 0])

    rings = len(points)
    lips = np.zeros((rings, 1), np.float32)
    lips[:FIRST_SKIN] = 1
    shade = np.ones((rings, 1), np.float32)
    shade[: NUM_BEHIND + 2, 0] = (0.12, 0.25, 0.42, 0.62, 0.92)
    builder.add(
        points,
        texture,
        moves=face_moves(points, NUM_BEHIND, len(LIP_SHARES), shape),
        closed=True,
        lips=lips,
        shade=shade,
    )
    _add_throat(builder, points, shape)
    return _landmarks(points, shape)


def _back_points(outline: Floats, z: Floats, shape: HeadShape) -> tuple[Floats, Floats]:
    """Return the rings round the back of the head (rings, angles, 3) and their texture."""
    around = np.arctan2((outline[:, 1] - 100) / 90, outline[:, 0] / 62)
    down, across = np.sin(around), np.cos(around)
    rings, unrolled = [], []
    away = outline - [0, 100]
    away = away / np.linalg.norm(away, axis=1, keepdims=True)
    for number, degrees in enumerate(BACK, 1):
        polar = np.radians(degrees)
        radius_y = np.where(down > 0, 66, 95)
        ellipsoid = np.stack(
            [
                67 * shape.face_width * np.sin(polar) * np.sign(across) * np.abs(across) ** 0.8,
                100 + radius_y * np.sin(polar) * down,
                -68 + 78 * np.cos(polar) + 0 * down,
            ],
            axis=-1,
        )
        start = np.column_stack([outline * [1.0, 1.0], z - 16 * number])
        blend = min(1.0, number / 2)
        rings.append(start + (ellipsoid - start) * blend)
        unrolled.append(outline + away * 11 * number)
    return np.stack(rings), np.stack(unrolled)


def _outward(points: Floats) -> Floats:
    """Return unit vectors from the middle of the head."""
    away = points - np.array([0, 105, -65], np.float32)
    return away / np.linalg.norm(away, axis=-1, keepdims=True)


def _add_throat(builder: _Builder, points: Floats, shape: HeadShape) -> None:
    """Close the mouth behind teeth and tongue with a dark sheet that fills the open lips."""
    moves = face_moves(points, NUM_BEHIND, len(LIP_SHARES), shape)
    ring = np.stack([points[NUM_BEHIND]] * 2)
    fields = {name: np.stack([field[NUM_BEHIND]] * 2) for name, field in moves.items()}
    for values in (ring, *fields.values()):
        values[0] = values[0].mean(axis=0)
    spot = patch_points("throat", np.full((2, NUM_ANGLES), 0.5), np.full((2, NUM_ANGLES), 0.5))
    builder.add(ring, spot, moves=fields, closed=True, shade=0.22, lit=0.0, bias=-THROAT)


def _add_mouth(builder: _Builder, shape: HeadShape) -> None:
    """Add teeth, tongue and the dark of the mouth behind them."""
    y = shape.mouth_y
    front = float(surface(np.zeros(1), np.array([y]), shape)[0]) - TEETH_BACK
    along = np.linspace(-1, 1, 25)  # the row of teeth, from the left molars to the right ones
    x = 25 * np.sin(1.35 * along) / np.sin(1.35)
    arc = (x / 22) ** 2
    depth = 38 * (1 - np.cos(1.35 * along))
    across = (x + 25) / 50
    sides = (1 - 0.5 * along**2)[None]

    def rows(heights: tuple[float, ...], curve: float, backs: tuple[float, ...]) -> Floats:
        grid_y = y + np.array(heights)[:, None] + curve * arc
        grid_z = front - depth - np.array(backs)[:, None]
        return np.stack(np.broadcast_arrays(x, grid_y, grid_z), axis=-1)

    upper = rows((-9.0, -6.0, shape.teeth - 4.0, shape.teeth), -2.4, (2.0, 0.6, 0.0, 0.8))
    shares = np.array([0, 0.3, 0.65, 1.0])[:, None]
    shade = np.array([0.45, 0.7, 0.95, 1.0])[:, None] * sides
    builder.add(upper, patch_points("upper teeth", across, shares), both=True, shade=shade, lit=0.0)
    lower = rows((2.6, 5.5, 8.0, 10.5), -1.5, (4.0, 4.0, 5.0, 7.0))
    shade = np.array([0.92, 0.85, 0.7, 0.5])[:, None] * sides
    builder.add(
        lower,
        patch_points("lower teeth", across, shares),
        moves={"jaw": turn_jaw(lower)},
        both=True,
        shade=shade,
        lit=0.0,
    )
    # Tongue: from under its tip over the tip to the back.
    side = np.linspace(-1, 1, 11)[None]
    heights = np.array([10.0, 8.0, 6.6, 5.6, 4.2, 2.4, 0.6, -1.0])[:, None]
    backs = np.array([6.0, 5.0, 5.5, 7.0, 12.0, 18.0, 25.0, 33.0])[:, None]
    widths = np.array([7.0, 8.5, 9.5, 11.5, 15.0, 18.0, 20.5, 22.0])[:, None]
    sag = np.array([0.5, 1.0, 1.8, 2.6, 3.5, 4.0, 4.5, 4.5])[:, None]
    tongue = np.stack(
        np.broadcast_arrays(
            widths * side, y + heights + sag * side**2, front - backs - 4.0 * side**2
        ),
        axis=-1,
    )
    tip = np.array([0.9, 1.0, 1.0, 0.9, 0.55, 0.2, 0, 0])[:, None]
    body = np.array([0, 0, 0.05, 0.25, 0.7, 1.0, 1.0, 0.8])[:, None]
    forward = np.array([0.5, 0.9, 1, 1, 1, 0.9, 0.7, 0.5])[:, None]
    flat = np.zeros(tongue.shape)

    def lift(share: Floats, axis: int, sign: float) -> Floats:
        field = flat.copy()
        field[..., axis] = sign * share
        return field

    builder.add(
        tongue,
        patch_points("tongue", (side + 1) / 2, np.linspace(0, 1, 8)[:, None]),
        moves={
            "jaw": turn_jaw(tongue),
            "tongue_up": lift(tip * (1 - 0.3 * side**2), 1, -1.0),
            "tongue_forward": lift(forward + 0 * side, 2, 1.0),
            "tongue_body": lift(body * (1 - 0.4 * side**2), 1, -1.0),
        },
        both=True,
        shade=np.array([0.6, 0.85, 1.05, 1.1, 0.95, 0.75, 0.55, 0.4])[:, None]
        * (1 - 0.2 * side**2),
        lit=0.0,
    )


def _add_torso(builder: _Builder, shape: HeadShape) -> None:
    """Add neck, shoulders, ears and, behind the head, long hair."""
    y = np.array([150.0, 178.0, 205.0, 226.0, 238.0, 250.0, 272.0, 310.0, 380.0])
    half = np.array([36.0, 36.0, 37.0, 41.0, 58.0, 88.0, 116.0, 130.0, 134.0])
    deep = np.array([34.0, 34.0, 34.0, 36.0, 42.0, 48.0, 52.0, 56.0, 58.0])
    half[:4] *= 0.35 + 0.65 * shape.face_width * shape.jaw_width
    angle = np.linspace(-np.pi / 2, np.pi / 2, 21)
    grid = np.stack(
        np.broadcast_arrays(
            half[:, None] * np.sin(angle),
            y[:, None] + (14 * np.abs(np.sin(angle)) ** 2 - 7) * ramp(y, 230, 250)[:, None],
            -78 + deep[:, None] * np.cos(angle),
        ),
        axis=-1,
    )
    builder.add(
        grid,
        patch_points("torso", np.linspace(0, 1, 21), ((y - 150) / 230)[:, None]),
        shade=np.array([0.45, 0.5, 0.8, 1, 1, 1, 1, 1, 1])[:, None],
        follow=(1 - ramp(y, 160, 235))[:, None],
    )
    for sign in (-1, 1):  # ears
        out, down = np.meshgrid(np.linspace(0, 1, 5), np.linspace(-1, 1, 9))
        round_ = np.sqrt(1 - 0.999 * down**2)
        ear = np.stack(
            [
                sign * shape.face_width * (60 + 8 * out * round_),
                112 + 20 * down - 3 * out,
                -58 - 12 * out * round_ + 3 * np.sin(np.pi * out),
            ],
            axis=-1,
        )
        skin = patch_points("torso", 0.45 + 0.1 * out, 0.02 + 0.1 * (down + 1))
        builder.add(ear, skin, flip=sign < 0, shade=0.9 - 0.35 * np.sin(np.pi * out) * round_)
    if shape.hair_length > 0.15:
        down = np.linspace(0, 1, 12)[:, None]
        side = np.linspace(-1, 1, 13)[None]
        bottom = 130 + 110 * shape.hair_length
        width = (70 + shape.hair_volume) * np.sin(np.pi * (0.12 + 0.62 * down)) ** 0.5
        hair = np.stack(
            np.broadcast_arrays(
                width * side, 20 + (bottom - 20) * down - 6 * side**2, -80 - 14 * side**2 + 0 * down
            ),
            axis=-1,
        )
        builder.add(
            hair,
            patch_points("hair", (side + 1) / 2, down),
            shade=0.75 - 0.2 * down + 0 * side,
            follow=1 - 0.5 * ramp(down, 0.5, 1) + 0 * side,
        )


def _landmarks(points: Floats, shape: HeadShape) -> NDArray[np.intp]:
    """Return the vertices next to the landmarks of the face stage (25,)."""
    skin = points[FIRST_SKIN : FIRST_SKIN + SKIN_RINGS + 1].reshape(-1, 3)
    nose = (0.0, nose_tip_y(shape) + 8.3)
    stable = []
    for x, y in (nose, *eye_corners(shape)):
        distance = (skin[:, 0] - x) ** 2 + (skin[:, 1] - y) ** 2
        stable.append(FIRST_SKIN * NUM_ANGLES + int(distance.argmin()))

    def contour(ring: int, shares: tuple[float, ...]) -> list[int]:
        columns = [round(s * NUM_ANGLES) % NUM_ANGLES for s in shares]
        return [ring * NUM_ANGLES + column for column in columns]

    outer = (0.5, 0.39, 0.3, 0.25, 0.2, 0.11, 0.0, 0.875, 0.8, 0.75, 0.7, 0.625)
    inner = (0.48, 0.33, 0.25, 0.17, 0.02, 0.83, 0.75, 0.67)
    return np.array([*stable, *contour(FIRST_SKIN - 1, outer), *contour(NUM_BEHIND, inner)])
