"""Drawn faces: who they are, what their mouths show, and that the face stage sees the same."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from avsr.errors import CorpusError
from avsr.face import track_mouth
from avsr.face.readability import is_readable
from avsr.synthetic import portrait
from avsr.synthetic.faces import (
    Identity,
    draw_identity,
    identity_names,
    make_identity,
    render_frames,
    render_mouth,
)
from avsr.synthetic.head_turn import MAX_PITCH, MAX_YAW, align_turned, project, unturn
from avsr.synthetic.identities import BEARDS, GREY, draw_skin
from avsr.synthetic.lips import (
    REACH,
    MouthBuild,
    deformation,
    lip_mean,
    paint_inside,
    shape_mouth,
)
from avsr.synthetic.motion import draw_blinks, draw_turns
from avsr.synthetic.portrait import Grid
from avsr.synthetic.visemes import NUM_PARAMETERS, REST, phone_targets

FACE = "train-000"


def hold(*symbols: str, frames: int = 1) -> np.ndarray:
    """A trajectory (T, P) that holds each sound for some frames, without blending."""
    shapes = [phone_targets(symbol)[0][0] for symbol in symbols]
    return np.repeat(np.stack(shapes), frames, axis=0)


def turn(num: int, yaw: float = 0.0, pitch: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch (T,) of a head that is turned and keeps still."""
    return np.full(num, yaw, np.float32), np.full(num, pitch, np.float32)


def mouths(*symbols: str, name: str = FACE) -> dict[str, np.ndarray]:
    crops = render_mouth(
        make_identity(name), hold(*symbols), np.random.default_rng(1), turns=turn(len(symbols))
    )
    return dict(zip(symbols, crops.astype(np.float32), strict=True))


def test_identities_are_split_by_name() -> None:
    splits = ("train", "valid", "test")
    people = [make_identity(identity_names(split)[3]) for split in splits]
    assert [p.split for p in people] == list(splits)
    assert len({p.build for p in people}) == 3
    for split in splits:
        assert draw_identity(split, np.random.default_rng(0)).split == split


@pytest.mark.parametrize("name", ["train-9999", "nobody", "test-x", "-1", ""])
def test_unknown_identity_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(CorpusError, match="train-000"):
        make_identity(name)


def test_unknown_split() -> None:
    with pytest.raises(CorpusError, match="valid"):
        identity_names("dev")


def test_same_seed_same_bytes() -> None:
    track = hold("p", "a", "s", frames=3)

    def draw(seed: int, identity: Identity) -> bytes:
        crops = render_mouth(identity, track, np.random.default_rng(seed))
        frames = render_frames(identity, track[:2], np.random.default_rng(seed), (96, 96))
        return crops.tobytes() + b"".join(frame.tobytes() for frame in frames)

    first = draw(1, make_identity("test-001"))
    make_identity.cache_clear()
    assert draw(1, make_identity("test-001")) == first
    assert draw(2, make_identity("test-001")) != first
    assert draw(1, make_identity("test-002")) != first


@pytest.mark.parametrize("num", [0, 1, 17])
def test_crops_have_the_shape_of_the_face_stage(num: int) -> None:
    track = np.tile(REST, (num, 1))
    crops = render_mouth(make_identity(FACE), track, np.random.default_rng(0))
    assert crops.shape == (num, 96, 96)
    assert crops.dtype == np.uint8
    assert len(list(render_frames(make_identity(FACE), track, np.random.default_rng(0)))) == num


def unlike(one: np.ndarray, other: np.ndarray) -> float:
    """Mean grey levels between the mouths of two crops, moved by up to 2 px to fit best."""
    one, other = (cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 1) for crop in (one, other))
    steps = range(-2, 3)
    fits = (
        np.abs(one[30:66, 24:72] - other[30 + i : 66 + i, 24 + j : 72 + j]).mean()
        for i in steps
        for j in steps
    )
    return float(min(fits))


@pytest.mark.parametrize("name", ["train-000", "train-001", "valid-003", "test-004"])
def test_sounds_look_different(name: str) -> None:
    """Two sounds differ by more than two frames of one sound, in all faces."""
    sounds = ("p", "a", "o", "u", "i", "f", "θ", "s", "l")
    crops = mouths(*sounds, name=name)
    takes = render_mouth(make_identity(name), hold("a", "a"), np.random.default_rng(1))
    for one, other in ((a, b) for a in sounds for b in sounds if a < b):
        assert unlike(crops[one], crops[other]) > 1.3 * unlike(*takes), (one, other)


def test_open_mouth_is_dark_inside_and_closed_lips_are_not() -> None:
    crops = mouths("p", "a")
    dark = {s: int((crop[30:66, 24:72] < 40).sum()) for s, crop in crops.items()}
    assert dark["a"] > 100  # this face shows much of its teeth
    assert dark["p"] < 5


def test_spread_is_wider_than_round_and_open_is_taller() -> None:
    shape = shape_mouth(hold("i", "u", "a", "p"), MouthBuild())
    assert shape.half[0] > 1.5 * shape.half[1]
    gap = shape.bottom - shape.top
    assert gap[2] > 2 * gap[0] > 0
    assert gap[3] == 0


def test_lower_lip_meets_the_upper_teeth_in_f() -> None:
    shape = shape_mouth(hold("f"), MouthBuild())
    assert -1.0 < shape.bottom[0] < 2.0  # the edge of the upper teeth lies at 2
    assert shape.top[0] < -3  # which show under the raised lip


def test_crop_follows_the_jaw() -> None:
    build = MouthBuild()
    shut, wide = lip_mean(shape_mouth(hold("p", "a"), build), build)
    assert 2 < wide - shut < 10


def test_nothing_moves_far_from_the_mouth() -> None:
    grid = Grid(40, 100, 178, 180)
    map_x, map_y = deformation(shape_mouth(hold("a", "u"), MouthBuild()), MouthBuild(), grid)
    far = np.abs(grid.x - portrait.MOUTH_X) > REACH + 2
    assert far.sum() > 20
    rows = np.broadcast_to(grid.y[:, None], map_y.shape[1:])
    assert np.allclose(map_y[:, :, far], rows[:, far], atol=0.02)
    assert np.allclose(map_x[:, :, far], grid.x[far], atol=0.02)
    above = grid.y < 114
    assert np.allclose(map_y[:, above], rows[above], atol=0.02)


def test_still_face_keeps_still() -> None:
    crops = render_mouth(make_identity(FACE), hold("a", frames=20), np.random.default_rng(2))
    change = np.abs(np.diff(crops.astype(np.float32), axis=0)).mean(axis=(1, 2))
    assert change.max() < 12  # grey levels: noise, and steps of the crop by one pixel


def test_blinks_close_the_eyes_for_a_moment() -> None:
    closed = draw_blinks(1500, np.random.default_rng(0))  # a minute
    assert closed.max() == 1
    assert 5 <= int((closed == 1).sum()) <= 40
    assert closed.min() == 0


def test_every_parameter_shows() -> None:
    """No column of the trajectory is without effect on an open mouth."""
    base = phone_targets("ɛ")[0][0].copy()
    rows = [base]
    for column in range(NUM_PARAMETERS):
        changed = base.copy()
        changed[column] += 0.6 if changed[column] < 0.5 else -0.6
        rows.append(changed)
    shape = shape_mouth(np.stack(rows), MouthBuild())
    fields = np.stack([getattr(shape, name) for name in shape.__dataclass_fields__])
    for column in range(NUM_PARAMETERS):
        assert np.abs(fields[:, column + 1] - fields[:, 0]).max() > 0.05, column


@pytest.mark.parametrize(
    ("name", "yaw", "pitch"),
    [("train-002", 0, 0), ("test-005", 0, 0), ("train-004", 28, 0), ("test-004", -18, 15)],
)
def test_face_stage_sees_what_render_mouth_draws(name: str, yaw: float, pitch: float) -> None:
    """mediapipe finds the drawn heads; crops of them match drawn crops in place, scale and look."""
    symbols = ("p", "a", "u", "i", "f", "θ", "s", "l", "o", "m")
    track = hold(*symbols, frames=3)
    identity = make_identity(name)
    turns = turn(len(track), yaw, pitch)
    tracked = track_mouth(render_frames(identity, track, np.random.default_rng(3), turns=turns))
    assert is_readable(tracked).mean() >= 0.95
    drawn = render_mouth(identity, track, np.random.default_rng(4), turns=turns)
    scores, shifts = [], []
    for tracked_crop, drawn_crop in zip(tracked.mouth, drawn, strict=True):
        match = cv2.matchTemplate(drawn_crop, tracked_crop[16:80, 16:80], cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(match)
        scores.append(score)
        shifts.append((x - 16, y - 16))
    assert np.mean(scores) > 0.84
    assert np.abs(np.mean(shifts, axis=0)).max() < 5  # px; training crops vary by 8
    assert np.std(shifts, axis=0).max() < 2.5


@pytest.mark.parametrize(("yaw", "pitch"), [(10, 0), (28, 0), (-28, 10), (0, 20), (0, -20)])
def test_turning_back_is_the_inverse(yaw: float, pitch: float) -> None:
    angles = np.full(1, yaw, np.float32), np.full(1, pitch, np.float32)
    # Lips and chin, without the side of the nose, behind which a turned head hides its cheek.
    x, y = np.meshgrid(np.arange(108, 153, 4, np.float32), np.arange(144, 190, 4, np.float32))
    again = project(*unturn(x, y, *angles), *angles)
    assert np.hypot(again[0] - x, again[1] - y).max() < 0.5  # canvas px


def test_a_turned_head_shows_a_narrower_mouth_and_more_of_one_cheek() -> None:
    """The corners of the mouth come closer in crops of a head that is turned."""
    corners = np.array([portrait.MOUTH_X - 24, portrait.MOUTH_X + 24], np.float32)
    rows = np.full(2, 150, np.float32)
    widths = {}
    for yaw in (0, 28):
        angles = np.full(1, yaw, np.float32), np.zeros(1, np.float32)
        align = align_turned(yaw, 0)
        points = np.column_stack(project(corners, rows, *angles)) @ align[:, :2].T
        widths[yaw] = np.hypot(*(points[1] - points[0]))
    assert abs(widths[0] - 48) < 0.5
    assert 0.75 < widths[28] / widths[0] < 0.97


def test_drawn_heads_turn_to_all_sides_but_not_too_far() -> None:
    rng = np.random.default_rng(0)
    turns = np.array([draw_turns(50, rng) for _ in range(200)])  # (200, 2, 50)
    assert np.abs(turns[:, 0]).max() <= MAX_YAW
    assert np.abs(turns[:, 1]).max() <= MAX_PITCH
    ahead = np.abs(turns).mean(axis=2)
    assert 0.4 < (ahead[:, 0] < 10).mean() < 0.8
    assert (turns[:, 0].mean(axis=1) > 20).any()
    assert (turns[:, 0].mean(axis=1) < -20).any()


def test_beards_cover_the_skin_and_spare_the_lips() -> None:
    shaved = replace(make_identity("train-007"), beard="none", stubble=0.0, spots=0.0)
    grid = Grid(80, 120, 200, 180, 2.0)
    bare = draw_skin(shaved, grid)[..., :3] @ GREY
    lips = (slice(50, 60), slice(92, 108))  # canvas y 145 to 150, x 126 to 134
    for kind in BEARDS:
        beard = replace(shaved, beard=kind, beard_tone=0.2, beard_density=0.9)
        grown = draw_skin(beard, grid)[..., :3] @ GREY
        assert np.abs(grown - bare)[lips].mean() < 5, kind
        changed = float((np.abs(grown - bare) > 10).mean())
        assert (changed == 0) if kind == "none" else (0.02 < changed < 0.7), kind
    kinds = {make_identity(name).beard for name in identity_names("train")[:200]}
    assert kinds == set(BEARDS)


def test_mouths_may_be_crooked() -> None:
    grid = Grid(100, 130, 60, 50)
    shape = shape_mouth(hold("a"), MouthBuild())
    straight, crooked = (
        paint_inside(shape, build, grid).cover[0] for build in (MouthBuild(), MouthBuild(skew=0.3))
    )
    half = int(portrait.MOUTH_X - 100)
    assert abs(straight[:, :half].sum() - straight[:, half + 1 :].sum()) < 12
    assert crooked[:, half + 1 :].sum() > 1.2 * crooked[:, :half].sum()


def test_upper_teeth_may_stay_hidden() -> None:
    shape = shape_mouth(hold("ɛ"), MouthBuild())
    grid = Grid(100, 130, 60, 50)
    shown, hidden = (
        paint_inside(shape, MouthBuild(upper_teeth=edge), grid) for edge in (2.0, -3.0)
    )
    assert (hidden.teeth * hidden.cover).sum() < 0.7 * (shown.teeth * shown.cover).sum()
