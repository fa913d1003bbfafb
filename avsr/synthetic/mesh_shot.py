"""Camera, movement and light of a clip, and the mesh of a head as it is seen in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsr.synthetic.mesh_build import HeadMesh
from avsr.synthetic.mesh_identities import to_color
from avsr.synthetic.mesh_moves import MOVES
from avsr.synthetic.mesh_skin import Color, Look
from avsr.synthetic.motion import smooth_noise

Floats = NDArray[np.float32]

PIVOT = np.array([0.0, 125.0, -60.0], np.float32)  # px, around which the head turns
GREY_SKIN = 205.0  # grey level of skin that is exposed as it is
MAX_YAW, MAX_PITCH, MAX_ROLL = 30.0, 15.0, 12.0  # degrees


@dataclass(frozen=True)
class Shot:
    """Camera, pose and light of a clip; T frames."""

    turns: Floats  # (T, 3, 3) rotation of the head
    shifts: Floats  # (T, 2) px by which the head moves
    distance: float  # px from the camera to the pivot
    sun: Floats  # (3,) direction to the light
    ambient: float  # light from everywhere
    diffuse: float  # light from the sun at right angles
    exposure: Floats  # (T,)
    backdrop: Color  # RGB 0-255


def draw_shot(num: int, rng: np.random.Generator, yaw: float | None = None) -> Shot:
    """Draw camera, movement and light of a clip.

    Args:
        num: Number of frames T.
        rng: Random state.
        yaw: Degrees by which the head is turned in the mean; None draws them.
    """
    fixed = rng.standard_normal(6)
    drift = 0.8 * smooth_noise(num, 30, 6, rng) + 0.3 * smooth_noise(num, 12, 6, rng)
    yaw = 13.0 * fixed[0] if yaw is None else yaw
    degrees = np.stack([yaw + 2.5 * drift[:, 0], 5 * fixed[1] + 2 * drift[:, 1],
                        3 * fixed[2] + 1.2 * drift[:, 2]], axis=1)  # fmt: skip
    limits = np.array([MAX_YAW, MAX_PITCH, MAX_ROLL])
    side, height = rng.normal(0, 0.7), rng.normal(-0.45, 0.4)
    sun = np.array([side, height, rng.uniform(0.45, 1.1)])
    ambient = rng.uniform(0.34, 0.7)
    return Shot(
        turns=_rotations(np.radians(degrees.clip(-limits, limits))),
        shifts=(drift[:, 3:5] * [3.0, 2.0]).astype(np.float32),
        distance=float(rng.uniform(450, 1300)),
        sun=(sun / np.linalg.norm(sun)).astype(np.float32),
        ambient=float(ambient),
        diffuse=float((1.1 - ambient) * rng.uniform(0.8, 1.2)),
        exposure=(np.exp(0.2 * fixed[3]) * (1 + 0.015 * drift[:, 5])).astype(np.float32),
        backdrop=to_color(rng.uniform(20, 235) + rng.normal(0, 14, 3)),
    )


def _rotations(angles: NDArray[np.floating]) -> Floats:
    """Return matrices (T, 3, 3) from yaw, pitch and roll (T, 3) in radians."""
    (sy, sp, sr), (cy, cp, cr) = np.sin(angles).T, np.cos(angles).T
    o, i = np.zeros(len(angles)), np.ones(len(angles))
    yaw = np.array([[cy, o, sy], [o, i, o], [-sy, o, cy]])
    pitch = np.array([[i, o, o], [o, cp, -sp], [o, sp, cp]])
    roll = np.array([[cr, -sr, o], [sr, cr, o], [o, o, i]])
    return np.einsum("abt,bct,cdt->tad", roll, pitch, yaw).astype(np.float32)


@dataclass(frozen=True)
class MeshPose:
    """A mesh in T frames."""

    points: Floats  # (T, 2, V) canvas px; x from the middle of the face
    nearness: Floats  # (T, V)
    light: Floats  # (T, V)
    gloss: Floats  # (T, V) grey levels


def pose_mesh(look: Look, mesh: HeadMesh, amounts: Floats, shot: Shot, start: int) -> MeshPose:
    """Move, light, turn and project the mesh in the frames from ``start`` on."""
    num, stop = len(amounts), start + len(amounts)
    points = (amounts @ mesh.moves).reshape(num, 3, -1)
    points += mesh.rest
    turns = shot.turns[start:stop]
    sun = (shot.sun @ turns)[:, None]  # (T, 1, 3) light as seen from the head
    half = sun + turns[:, 2:]  # half-way to the camera
    half /= np.maximum(np.linalg.norm(half, axis=2, keepdims=True), 1e-6)
    normals = np.repeat(mesh.normals[None], num, axis=0)
    rings, angles = mesh.rings
    face = points[:, :, : rings * angles].reshape(num, 3, rings, angles)
    normals[:, :, : rings * angles] = _ring_normals(face).reshape(num, 3, -1)
    toward = (sun @ normals)[:, 0]
    fall = ((toward + 0.3) / 1.3).clip(0, None)  # soft: light also gets a little round the edge
    opening = amounts[:, _OPENINGS].sum(axis=1)
    inside = (0.40 + 0.04 * opening).clip(0, 0.88)[:, None] * (shot.ambient + 0.75 * shot.diffuse)
    outside = shot.ambient * (0.82 - 0.16 * normals[:, 1]) + shot.diffuse * fall
    light = mesh.shade * (inside + mesh.lit * (outside - inside))
    mirror = (half @ normals)[:, 0].clip(0, 1)
    for _ in range(4):
        mirror *= mirror  # to the power of 16
    shine = look.shine + mesh.lips * (look.gloss - look.shine)
    gloss = (shine * mesh.lit * mesh.shade * shot.diffuse) * mirror
    # A camera exposes dark skin longer, by about half of what would make it look light.
    gain = np.float32((GREY_SKIN / max(1.0, float(np.mean(look.skin)))) ** 0.5)
    light *= gain ** (0.4 + 0.6 * mesh.lit)  # teeth are light enough
    gloss *= gain
    away = points - PIVOT[:, None]
    turned = turns @ away - away
    turned[:, :2] += shot.shifts[start:stop, :, None]
    away += mesh.follow * turned
    zoom = shot.distance / (shot.distance - away[:, 2:])
    return MeshPose(away[:, :2] * zoom + PIVOT[:2, None], away[:, 2], light, gloss)


_OPENINGS = [i for i, name in enumerate(MOVES) if name.startswith(("low_", "top_"))]


def _ring_normals(points: Floats) -> Floats:
    """Return unit normals (T, 3, R, A) of rings of vertices."""
    around = np.roll(points, -1, axis=3) - np.roll(points, 1, axis=3)
    out = np.empty_like(points)
    np.subtract(points[:, :, 2:], points[:, :, :-2], out=out[:, :, 1:-1])
    out[:, :, 0], out[:, :, -1] = out[:, :, 1], out[:, :, -2]
    ax, ay, az = np.moveaxis(around, 1, 0)
    ox, oy, oz = np.moveaxis(out, 1, 0)
    normals = np.empty_like(points)
    normals[:, 0] = ay * oz - az * oy
    normals[:, 1] = az * ox - ax * oz
    normals[:, 2] = ax * oy - ay * ox
    length = np.sqrt(np.square(normals).sum(axis=1, keepdims=True))
    normals /= np.maximum(length, 1e-4)
    return normals
