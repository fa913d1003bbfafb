"""Render talking 3-D heads: identities, whole frames, and mouth crops in the geometry of avsr.face.

The second renderer beside ``faces``: a triangle mesh under a perspective camera, turned by up to
30 degrees, lit from any side and painted without a photograph. The same identity, trajectory and
random state give the same bytes.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.face.geometry import crop_matrices
from avsr.rates import MOUTH_SIZE
from avsr.synthetic.mesh_build import build_head
from avsr.synthetic.mesh_identities import (
    MeshIdentity,
    draw_mesh_identity,
    make_mesh_identity,
    mesh_identity_names,
)
from avsr.synthetic.mesh_moves import move_amounts
from avsr.synthetic.mesh_raster import rasterize
from avsr.synthetic.mesh_shot import Shot, draw_shot, pose_mesh
from avsr.synthetic.mesh_skin import paint_eyes, paint_head, texture_grid
from avsr.synthetic.motion import draw_blinks, smooth_noise

__all__ = [
    "MeshIdentity",
    "draw_mesh_identity",
    "make_mesh_identity",
    "mesh_identity_names",
    "render_mesh_frames",
    "render_mesh_mouth",
]

Floats = NDArray[np.float32]

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G, B
CHUNK = 8  # frames whose vertices are computed at a time
FINE = 1.5  # samples per px of a crop, along each side
FRAME_FINE = 2  # and of a frame
MOUTH_TOP = 75.0  # canvas y above which no mouth crop reaches
VIEW_HEIGHT = 280.0  # canvas px from top to bottom of a frame at average zoom


@lru_cache(maxsize=64)
def _grey_texture(identity: MeshIdentity) -> Floats:
    look, shape = identity.look, identity.shape
    return paint_head(look, shape, identity.seed, 1.0, MOUTH_TOP) @ GREY


def render_mesh_mouth(
    identity: MeshIdentity,
    trajectory: NDArray[np.floating],
    rng: np.random.Generator,
    shot: Shot | None = None,
) -> NDArray[np.uint8]:
    """Render mouth crops of a talking head.

    Args:
        identity: The head.
        trajectory: Articulation parameters (T, P) of ``visemes.PARAMETERS`` at 25 Hz.
        rng: Varies pose, camera, light and the position of the crop.
        shot: Camera, pose and light; None draws them.

    Returns:
        (T, 96, 96) uint8 grey.
    """
    num = len(trajectory)
    out = np.empty((num, MOUTH_SIZE, MOUTH_SIZE), np.uint8)
    if num == 0:
        return out
    mesh = build_head(identity.shape)
    amounts = move_amounts(trajectory, identity.shape)
    shot = draw_shot(num, rng) if shot is None else shot
    texture, grid = _grey_texture(identity), texture_grid(1.0)
    skin = float(np.array(identity.look.skin) @ GREY)
    lips = 1 + mesh.lips * (float(np.array(identity.look.lips) @ GREY) - 1)
    size = round(MOUTH_SIZE * FINE)
    backdrop = float(np.array(shot.backdrop) @ GREY)
    poses = [
        pose_mesh(identity.look, mesh, amounts[i : i + CHUNK], shot, i)
        for i in range(0, num, CHUNK)
    ]
    landmarks = np.concatenate([pose.points[..., mesh.landmarks] for pose in poses])
    matrices = _crop_placement(landmarks.transpose(0, 2, 1), rng)
    u, v = (mesh.texture - [[grid.left], [grid.top]]).astype(np.float32)
    for t in range(num):
        pose, k = poses[t // CHUNK], t % CHUNK
        points = matrices[t, :, :2] @ pose.points[k] + matrices[t, :, 2:]
        points = points * FINE + (FINE - 1) / 2
        shown = rasterize(points, pose.nearness[k], mesh.triangles, (size, size), mesh.bias)
        level = _remap(texture, shown.interpolate(u), shown.interpolate(v))
        light = pose.light[k] * lips + pose.gloss[k] / skin
        level *= shown.interpolate(light * shot.exposure[t])
        np.copyto(level, backdrop, where=~shown.covered)
        fine = cv2.resize(level, (MOUTH_SIZE, MOUTH_SIZE), interpolation=cv2.INTER_AREA)
        out[t] = fine.clip(0, 255)
    return out


def _remap(texture: Floats, u: Floats, v: Floats) -> Floats:
    return np.asarray(cv2.remap(texture, u, v, cv2.INTER_LINEAR), np.float32)


def _crop_placement(landmarks: Floats, rng: np.random.Generator) -> Floats:
    """Return matrices (T, 2, 3) from the canvas to crops, as the face stage would place them."""
    num = len(landmarks)
    noise = 0.3 * smooth_noise(num, 3, 2 * landmarks.shape[1], rng).reshape(landmarks.shape)
    fixed = rng.standard_normal(landmarks.shape[1:]) * 0.7
    return crop_matrices(landmarks + noise + fixed).astype(np.float32)


def render_mesh_frames(
    identity: MeshIdentity,
    trajectory: NDArray[np.floating],
    rng: np.random.Generator,
    size: tuple[int, int] = (320, 320),
    shot: Shot | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Render a talking head.

    Args:
        identity: The head.
        trajectory: Articulation parameters (T, P) of ``visemes.PARAMETERS`` at 25 Hz.
        rng: Varies pose, camera, light, background, zoom and blinks.
        size: (width, height) of the frames in px.
        shot: Camera, pose and light; None draws them.

    Yields:
        T frames (H, W, 3) uint8 RGB.
    """
    num = len(trajectory)
    mesh = build_head(identity.shape)
    amounts = move_amounts(trajectory, identity.shape)
    shot = draw_shot(num, rng) if shot is None else shot
    blinks = draw_blinks(num, rng)
    width, height = size[0] * FRAME_FINE, size[1] * FRAME_FINE
    zoom = min(width, height) / VIEW_HEIGHT * float(rng.uniform(0.88, 1.12))
    middle = np.array([width, height]) / 2 + rng.normal(0, 5 * zoom, 2)
    background = _draw_background(shot, (width, height), rng)
    scale = 1.0 if zoom <= 1.15 else 2.0
    grid = texture_grid(scale)
    u, v = ((mesh.texture - [[grid.left], [grid.top]]) * scale).astype(np.float32)
    tint = np.array(identity.look.lips, np.float32) - 1
    skin = paint_head(identity.look, identity.shape, identity.seed, scale)
    textures: dict[float, Floats] = {}
    for start in range(0, num, CHUNK):
        pose = pose_mesh(identity.look, mesh, amounts[start : start + CHUNK], shot, start)
        for k in range(len(pose.points)):
            closed = round(float(blinks[start + k]) * 4) / 4
            if closed not in textures:
                textures[closed] = paint_eyes(skin, identity.look, identity.shape, scale, closed)
            points = (pose.points[k] - [[0], [122]]) * zoom + middle[:, None]
            shown = rasterize(
                points.astype(np.float32),
                pose.nearness[k],
                mesh.triangles,
                (width, height),
                mesh.bias,
            )
            map_u, map_v, lips, light, gloss = (
                shown.interpolate(values)[..., None]
                for values in (u, v, mesh.lips, pose.light[k], pose.gloss[k])
            )
            color = _remap(textures[closed], map_u, map_v)
            color *= light * (1 + lips * tint)
            color += gloss
            color *= shot.exposure[start + k]
            frame = np.where(shown.covered[..., None], color, background)
            fine = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            yield fine.clip(0, 255).astype(np.uint8)


def _draw_background(shot: Shot, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Draw a wall with soft light and a few upright shapes, (H, W, 3) float32."""
    knots = np.array(shot.backdrop, np.float32) + rng.normal(0, 18, (3, 3, 1)).astype(np.float32)
    wall = cv2.resize(knots, size, interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 5))):
        left, top = rng.uniform(0, 1, 2) * size
        corner = (int(left + rng.uniform(0.1, 0.5) * size[0]), size[1])
        shade = wall[int(top) % size[1], int(left) % size[0]] * float(rng.uniform(0.6, 1.3))
        cv2.rectangle(wall, (int(left), int(top)), corner, shade.tolist(), -1)
    return np.asarray(cv2.GaussianBlur(wall, (0, 0), 3 + rng.uniform(0, 8)), np.float32).clip(
        0, 255
    )
