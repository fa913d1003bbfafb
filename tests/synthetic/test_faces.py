"""Drawn faces: who they are, what their mouths show, and that the face stage sees the same."""

import cv2
import numpy as np
import pytest

from avsr.errors import CorpusError
from avsr.face import track_mouth
from avsr.synthetic import portrait
from avsr.synthetic.faces import (
    Identity,
    draw_identity,
    identity_names,
    make_identity,
    render_frames,
    render_mouth,
)
from avsr.synthetic.lips import REACH, MouthBuild, deformation, lip_mean, shape_mouth
from avsr.synthetic.motion import draw_blinks
from avsr.synthetic.portrait import Grid
from avsr.synthetic.visemes import NUM_PARAMETERS, REST, phone_targets

FACE = "train-000"


def hold(*symbols: str, frames: int = 1) -> np.ndarray:
    """A trajectory (T, P) that holds each sound for some frames, without blending."""
    shapes = [phone_targets(symbol)[0][0] for symbol in symbols]
    return np.repeat(np.stack(shapes), frames, axis=0)


def mouths(*symbols: str, name: str = FACE) -> dict[str, np.ndarray]:
    crops = render_mouth(make_identity(name), hold(*symbols), np.random.default_rng(1))
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
    assert dark["a"] > 250
    assert dark["p"] < 15


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


@pytest.mark.parametrize("name", ["train-002", "test-005"])
def test_face_stage_sees_what_render_mouth_draws(name: str) -> None:
    """mediapipe finds the drawn heads; crops of them match drawn crops in place, scale and look."""
    symbols = ("p", "a", "u", "i", "f", "θ", "s", "l", "o", "m")
    track = hold(*symbols, frames=3)
    identity = make_identity(name)
    tracked = track_mouth(render_frames(identity, track, np.random.default_rng(3)))
    assert tracked.found.mean() >= 0.95
    drawn = render_mouth(identity, track, np.random.default_rng(4))
    scores, shifts = [], []
    for tracked_crop, drawn_crop in zip(tracked.mouth, drawn, strict=True):
        match = cv2.matchTemplate(drawn_crop, tracked_crop[16:80, 16:80], cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(match)
        scores.append(score)
        shifts.append((x - 16, y - 16))
    assert np.mean(scores) > 0.84
    assert np.abs(np.mean(shifts, axis=0)).max() < 5  # px; training crops vary by 8
    assert np.std(shifts, axis=0).max() < 2.5
