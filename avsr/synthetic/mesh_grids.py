"""Grids of vertices, from which the mesh of a head is put together, and where they are painted."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avsr.synthetic.mesh_moves import MOVES

Floats = NDArray[np.floating]

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


@dataclass
class Grids:
    """Collects grids of vertices."""

    rest: list[Floats] = field(default_factory=list)  # (n, 3) each
    moves: list[Floats] = field(default_factory=list)  # (len(MOVES), n, 3)
    texture: list[Floats] = field(default_factory=list)  # (n, 2)
    triangles: list[NDArray[np.intp]] = field(default_factory=list)  # (m, 3)
    extras: list[Floats] = field(default_factory=list)  # (n, 4): lips, shade, lit, follow
    bias: list[Floats] = field(default_factory=list)  # (m,)
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
        for name, move in (moves or {}).items():
            fields[MOVES.index(name)] = move
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
