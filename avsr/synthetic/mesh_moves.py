"""Movement of a 3-D head: articulation parameters -> amounts of a few linear moves of vertices.

A move is a field of displacements over the vertices. The jaw turns around its hinge; lower and
upper lip open in three profiles (flat, round, narrow), so that spread and rounded mouths open
differently.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsr.synthetic.mesh_face import HeadShape, lip_lines, ramp
from avsr.synthetic.visemes import PARAMETERS

Floats = NDArray[np.floating]

MOVES = (
    "jaw",  # radians that the jaw turns
    *("low_flat", "low_round", "low_narrow"),  # px that the lower lip moves down
    *("top_flat", "top_round", "top_narrow"),  # px that the upper lip moves up
    "corner",  # px that the corners move down
    "lopsided",  # px that the left corner moves further than the right one
    *("spread", "round"),  # 0 .. 1
    "forward",  # px that the lips move to the camera
    "thin",  # share of the lips' thickness that is rolled in
    *("tuck", "press"),  # 0 .. 1
    *("tongue_up", "tongue_forward", "tongue_body"),  # px
)
HINGE = (118.0, -75.0)  # y, z of the axis around which the jaw turns
JAW_TURN = 0.20  # radians at jaw 1
NARROW = 0.8  # share of the width that opens in the narrow profile
_INDEX = {name: i for i, name in enumerate(PARAMETERS)}


def _between(x: Floats, low: float, high: float) -> Floats:
    """Return 0 below ``low``, 1 above ``high``, linear between."""
    return ((x - low) / (high - low)).clip(0, 1)


def move_amounts(trajectory: NDArray[np.floating], shape: HeadShape) -> Floats:
    """Convert articulation parameters (T, P) to amounts of the moves (T, len(MOVES))."""
    p = {name: np.asarray(trajectory[:, i], np.float32) for name, i in _INDEX.items()}
    spread, rounding = p["width"].clip(0, None), (-p["width"]).clip(0, None)
    tuck = p["tuck"].clip(0, 1)
    raised, dropped = p["upper_raise"], p["lower_drop"]
    lips = shape.lip_move
    open_ = 1 - _between(p["closure"], 0.15, 0.62)
    press = _between(p["closure"], 0.7, 1.0)
    turn = JAW_TURN * shape.jaw_move * p["jaw"]
    drop = -HINGE[1] * turn  # px that the lower teeth sink
    between = _between(p["tongue_front"], 0.66, 0.92)
    low = open_ * (1.0 + drop + lips * (3.6 * dropped + 2.2 * p["protrusion"]) + 1.5 * between)
    low = low * (1 - tuck) + 0.6 * tuck
    top = open_ * (0.5 + 1.4 * p["jaw"] + lips * (4.0 * raised - 0.7 * rounding * (1 - raised)))
    top = top.clip(0, None) + 1.6 * tuck
    flat = (0.25 + 0.75 * p["width"]).clip(0, 1)
    narrow = (1.15 * rounding).clip(0, 1)
    shares = (flat, (1 - flat) * (1 - narrow), (1 - flat) * narrow)
    tip = _between(p["tongue_tip"], 0.30, 1.0)
    front = p["tongue_front"].clip(0, 1.1)
    amounts = {
        "jaw": turn,
        **{f"low_{name}": low * share for name, share in zip(_PROFILES, shares, strict=True)},
        **{f"top_{name}": top * share for name, share in zip(_PROFILES, shares, strict=True)},
        "corner": 0.3 * low,
        "lopsided": shape.lopsided * (0.3 * spread + 0.03 * low),
        "spread": spread * lips,
        "round": rounding * lips,
        "forward": 8.0 * lips * p["protrusion"] + 2.0 * rounding,
        "thin": 0.45 * press - 0.25 * p["protrusion"] + 0.14 * spread,
        "tuck": tuck,
        "press": press,
        "tongue_up": tip * (8.5 + drop) * (1 - between) + between * (5.0 + 0.8 * drop),
        "tongue_forward": np.where(front < 0.6, (front - 0.6) * 22, (front - 0.6) * 26),
        "tongue_body": p["tongue_body"].clip(0, 1) * (0.5 * drop + 5),
    }
    return np.stack([amounts[name] for name in MOVES], axis=1).astype(np.float32)


_PROFILES = ("flat", "round", "narrow")


def _opening(u: Floats) -> dict[str, Floats]:
    """Return how far each profile opens at u (-1 .. 1 across the mouth)."""
    narrow = np.cos(np.pi / 2 * (np.abs(u) / NARROW).clip(0, 1)) ** 0.8
    return {"flat": 1 - u**4, "round": np.sqrt(1 - u * u), "narrow": narrow}


def turn_jaw(points: Floats) -> Floats:
    """Return the change of positions (..., 3) per radian that the jaw turns."""
    y, z = points[..., 1] - HINGE[0], points[..., 2] - HINGE[1]
    return np.stack([np.zeros_like(y), z, -y], axis=-1)


def face_moves(
    points: Floats, num_behind: int, num_lips: int, shape: HeadShape
) -> dict[str, Floats]:
    """Compute the moves of the rings around the mouth.

    Args:
        points: Vertices (rings, angles, 3): behind the lips, over the lips, skin, back of the head.
        num_behind: Number of rings behind the lips.
        num_lips: Number of rings over the lips.
        shape: Build of the head.

    Returns:
        Fields (rings, angles, 3) by the name of the move.
    """
    u, half, line, thick = lip_lines(shape)
    rim = points[num_behind + num_lips - 1]  # border between lips and skin
    away = np.linalg.norm(points[..., :2] - rim[..., :2], axis=-1)  # px past the border
    first_skin = num_behind + num_lips
    away[:first_skin] = 0
    front = ramp(points[..., 2], -75, -35)  # 0 on the back of the head
    near = ramp(-away, -24, 0) * front
    wide = ramp(-away, -38, 0) * front
    is_lower, is_upper = half < 0, half > 0
    zero = np.zeros(points.shape[:2])

    def field(x: ArrayLike = 0.0, y: ArrayLike = 0.0, z: ArrayLike = 0.0) -> Floats:
        return np.stack([zero + np.asarray(v) for v in (x, y, z)], axis=-1).astype(np.float32)

    down = ramp(-np.sin(2 * np.pi * np.arange(len(u)) / len(u)), -0.25, 0.5)  # 1 under the mouth
    with_jaw = ramp(away, 2, 24) * down * ramp(points[..., 2], -80, -30)
    fields = {"jaw": turn_jaw(points) * with_jaw[..., None]}
    lower_fall = (1 - ramp(away, 2, 24)) * is_lower
    upper_fall = (1 - ramp(away, 1, 14)) * is_upper
    for name, profile in _opening(u).items():
        fields[f"low_{name}"] = field(y=lower_fall * profile, z=-0.35 * lower_fall * profile)
        fields[f"top_{name}"] = field(y=-upper_fall * profile, z=0.1 * upper_fall * profile)
    ends = np.abs(u) ** 4
    fields["corner"] = field(y=ends * near)
    fields["lopsided"] = field(y=0.5 * np.sign(-u) * ends * near)
    fields["spread"] = field(x=0.17 * shape.mouth_half * u * wide, y=-1.2 * ends * wide,
                             z=-3.5 * u * u * wide)  # fmt: skip
    fields["round"] = field(x=-0.38 * shape.mouth_half * u * wide, z=2.0 * u * u * wide)
    fields["forward"] = field(z=(1 - 0.35 * u * u) * near)
    # Thickness: the border moves to the line of the lips, and the skin next to it follows.
    share = (points[..., 1] - line) / np.where(half == 0, 1.0, -half * thick)
    share = np.where(away > 0, 1.0, share.clip(0, 1))
    fields["thin"] = field(y=half * thick * share * (1 - ramp(away, 0, 10)))
    lower_lip = is_lower * (1 - u**4) * (1 - ramp(away, 0, 12))
    fields["tuck"] = field(y=-0.45 * thick * share * lower_lip, z=-4.0 * lower_lip)
    fields["press"] = field(z=-2.0 * (1 - ramp(away, 0, 10)) * np.sqrt(1 - u * u),
                            y=-1.0 * down * ramp(away, 4, 20) * wide)  # fmt: skip
    return fields
