"""Parts of a 3-D head besides its face: teeth, tongue, cheeks from inside, neck, ears and hair."""

import numpy as np
from numpy.typing import NDArray

from avsr.synthetic.mesh_face import HeadShape, ramp, surface
from avsr.synthetic.mesh_grids import Grids, patch_points
from avsr.synthetic.mesh_moves import turn_jaw

Floats = NDArray[np.floating]

TEETH_BACK = 8.0  # px that the upper teeth lie behind the front of the face


def add_mouth(grids: Grids, shape: HeadShape) -> None:
    """Add teeth, tongue and the dark of the mouth behind them."""
    y = shape.mouth_y
    front = float(surface(np.zeros(1), np.array([y]), shape)[0]) - TEETH_BACK
    along = np.linspace(-1, 1, 25)  # the row of teeth, from the left molars to the right ones
    x = 25 * np.sin(1.35 * along) / np.sin(1.35)
    arc = (x / 22) ** 2
    depth = 38 * (1 - np.cos(1.35 * along))
    across = (x + 25) / 50
    sides = (1 - 0.35 * along**2)[None]

    def rows(heights: tuple[float, ...], curve: float, backs: tuple[float, ...]) -> Floats:
        grid_y = y + np.array(heights)[:, None] + curve * arc
        grid_z = front - depth - np.array(backs)[:, None]
        return np.stack(np.broadcast_arrays(x, grid_y, grid_z), axis=-1)

    upper = rows((-9.0, -6.0, shape.teeth - 4.0, shape.teeth), -2.4, (2.0, 0.6, 0.0, 0.8))
    shares = np.array([0, 0.3, 0.65, 1.0])[:, None]
    shade = np.array([0.45, 0.7, 0.95, 1.0])[:, None] * sides
    grids.add(upper, patch_points("upper teeth", across, shares), both=True, shade=shade, lit=0.0)
    lower = rows((2.6, 5.5, 8.0, 10.5), -1.5, (4.0, 4.0, 5.0, 7.0))
    shade = np.array([0.92, 0.85, 0.7, 0.5])[:, None] * sides
    grids.add(
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
    widths = np.array([8.5, 10.5, 12.0, 15.0, 18.5, 21.0, 23.0, 24.0])[:, None]
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

    grids.add(
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
    for side_x, columns in ((26.0, (42.0, 30.0, 20.0, 12.0)), (-26.0, (12.0, 20.0, 30.0, 42.0))):
        wall = np.stack(  # inside of a cheek
            np.broadcast_arrays(
                side_x, y + np.array([-14.0, 0.0, 14.0, 28.0])[:, None], -np.array(columns)
            ),
            axis=-1,
        )
        grids.add(
            wall,
            patch_points("tongue", np.full((4, 4), 0.2), np.full((4, 4), 0.5)),
            moves={"jaw": 0.5 * turn_jaw(wall)},
            shade=np.broadcast_to(0.75 - 0.011 * np.array(columns), (4, 4)),
            lit=0.0,
            bias=-12.0,
        )


def add_torso(grids: Grids, shape: HeadShape) -> None:
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
    grids.add(
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
        grids.add(ear, skin, flip=sign < 0, shade=0.9 - 0.35 * np.sin(np.pi * out) * round_)
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
        grids.add(
            hair,
            patch_points("hair", (side + 1) / 2, down),
            shade=0.75 - 0.2 * down + 0 * side,
            follow=1 - 0.5 * ramp(down, 0.5, 1) + 0 * side,
        )
