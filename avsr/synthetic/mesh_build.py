"""Triangle mesh of a head: rings of vertices around the mouth, and grids for the rest.

The face is a set of rings around the mouth: behind the lips, over the lips, over the skin to the
outline of the face, and round the back of the head. Other parts are grids of their own
(``mesh_parts``). All movement is linear in a few moves (see ``mesh_moves``).
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
from avsr.synthetic.mesh_grids import Grids, patch_points
from avsr.synthetic.mesh_moves import MOVES, face_moves
from avsr.synthetic.mesh_parts import add_mouth, add_torso

Floats = NDArray[np.floating]

LIP_SHARES = (0.0, 0.22, 0.5, 0.8, 1.0)  # of the lip's thickness, from the line of the lips
BEHIND = ((7.0, 1.6), (4.0, 0.5), (1.6, 0.0))  # px back, px apart: rings behind the lips
SKIN_RINGS = 16
BACK = (70, 84, 100, 122, 150, 180)  # degrees from straight ahead: rings round the back
NUM_BEHIND = len(BEHIND)
FIRST_SKIN = NUM_BEHIND + len(LIP_SHARES)  # ring
THROAT = 60.0  # px that the dark behind the teeth counts as lying further back


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


@lru_cache(maxsize=64)
def build_head(shape: HeadShape) -> HeadMesh:
    """Build the mesh of a head."""
    grids = Grids()
    _add_face(grids, shape)
    add_mouth(grids, shape)
    add_torso(grids, shape)
    landmarks = _add_landmarks(grids, shape)
    rest = np.concatenate(grids.rest)
    extras = np.ascontiguousarray(np.concatenate(grids.extras).T)
    triangles = np.concatenate(grids.triangles)
    return HeadMesh(
        rest=np.ascontiguousarray(rest.T),
        moves=np.concatenate(grids.moves, axis=1).transpose(0, 2, 1).reshape(len(MOVES), -1),
        texture=np.ascontiguousarray(np.concatenate(grids.texture).T),
        triangles=np.ascontiguousarray(triangles.T),
        bias=np.concatenate(grids.bias),
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


def _add_face(grids: Grids, shape: HeadShape) -> None:
    """Add the rings of face and skull."""
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
    grids.add(
        points,
        texture,
        moves=face_moves(points, NUM_BEHIND, len(LIP_SHARES), shape),
        closed=True,
        lips=lips,
        shade=shade,
    )
    _add_throat(grids, points, shape)


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


def _add_throat(grids: Grids, points: Floats, shape: HeadShape) -> None:
    """Close the mouth behind teeth and tongue with a dark sheet that fills the open lips."""
    moves = face_moves(points, NUM_BEHIND, len(LIP_SHARES), shape)
    ring = np.stack([points[NUM_BEHIND]] * 2)
    fields = {name: np.stack([field[NUM_BEHIND]] * 2) for name, field in moves.items()}
    for values in (ring, *fields.values()):
        values[0] = values[0].mean(axis=0)
    spot = patch_points("throat", np.full((2, NUM_ANGLES), 0.5), np.full((2, NUM_ANGLES), 0.5))
    grids.add(ring, spot, moves=fields, closed=True, shade=0.4, lit=0.0, bias=-THROAT)


def _add_landmarks(grids: Grids, shape: HeadShape) -> NDArray[np.intp]:
    """Add the points that hold still; return the vertices of all landmarks (25,)."""
    nose = (0.0, nose_tip_y(shape) + 8.3)
    x, y = np.array([nose, *eye_corners(shape)]).T
    points = np.stack([x, y, surface(x, y, shape)], axis=-1)[None]
    stable = grids.count + np.arange(len(x))
    grids.add(points, points[..., :2])  # one row: no triangles

    def contour(ring: int, shares: tuple[float, ...]) -> list[int]:
        columns = [round(s * NUM_ANGLES) % NUM_ANGLES for s in shares]
        return [ring * NUM_ANGLES + column for column in columns]

    outer = (0.5, 0.39, 0.3, 0.25, 0.2, 0.11, 0.0, 0.875, 0.8, 0.75, 0.7, 0.625)
    inner = (0.48, 0.33, 0.25, 0.17, 0.02, 0.83, 0.75, 0.67)
    return np.array([*stable, *contour(FIRST_SKIN - 1, outer), *contour(NUM_BEHIND, inner)])
