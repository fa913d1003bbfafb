"""3-D heads: triangles lie in place, mouths move as asked, the face stage sees the same."""

import cv2
import numpy as np
import pytest

from avsr.errors import CorpusError
from avsr.face import track_mouth
from avsr.synthetic.mesh_build import build_head
from avsr.synthetic.mesh_face import HeadShape
from avsr.synthetic.mesh_head import (
    draw_mesh_identity,
    make_mesh_identity,
    mesh_identity_names,
    render_mesh_frames,
    render_mesh_mouth,
)
from avsr.synthetic.mesh_moves import MOVES, move_amounts
from avsr.synthetic.mesh_raster import rasterize
from avsr.synthetic.mesh_shot import MAX_YAW, draw_shot
from avsr.synthetic.visemes import NUM_PARAMETERS, PARAMETERS, REST, phone_targets
from tests.synthetic.test_faces import hold

HEAD = "mesh-train-0001"


def test_a_triangle_covers_the_pixels_inside_of_it():
    rng = np.random.default_rng(0)
    for _ in range(40):
        points = rng.uniform(-4, 20, (2, 3)).astype(np.float32)
        (x0, x1, x2), (y0, y1, y2) = points
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area < 0:
            points = points[:, ::-1].copy()
        shown = rasterize(
            points, np.zeros(3, np.float32), np.array([[0], [1], [2]]), (16, 12), np.zeros(1)
        )
        x, y = np.meshgrid(np.arange(16), np.arange(12))
        distance = np.full(x.shape, np.inf)  # px inside of the nearest edge
        for i in range(3):
            (xa, ya), (xb, yb) = points[:, i], points[:, (i + 1) % 3]
            side = ((xb - xa) * (y - ya) - (yb - ya) * (x - xa)) / np.hypot(xb - xa, yb - ya)
            distance = np.minimum(distance, side)
        covered = shown.covered
        assert covered[distance > 0.02].all()
        assert not covered[distance < -0.02].any()
        place = shown.interpolate(points[0])[covered]
        assert np.allclose(place, x[covered], atol=0.03)


def test_the_nearer_triangle_hides_the_other():
    points = np.array([[0, 9, 0, 0, 9, 0], [0, 0, 9, 0, 0, 9]], np.float32)
    triangles = np.array([[0, 3], [1, 4], [2, 5]])
    color = np.array([1, 1, 1, 2, 2, 2], np.float32)
    bias = np.zeros(2, np.float32)
    for nearness, seen in ((color, 2), (-color, 1)):
        shown = rasterize(points, nearness, triangles, (10, 10), bias)
        assert np.allclose(shown.interpolate(color)[shown.covered], seen)
    shown = rasterize(points, color, triangles, (10, 10), np.array([3, 0], np.float32))
    assert np.allclose(shown.interpolate(color)[shown.covered], 1)
    assert not rasterize(
        points[::-1], color, triangles, (10, 10), bias
    ).covered.any()  # from behind


def test_identities_are_split_by_name():
    splits = ("train", "valid", "test")
    names = [set(mesh_identity_names(split)) for split in splits]
    assert len(set.union(*names)) == sum(map(len, names))
    people = [draw_mesh_identity(split, np.random.default_rng(0)) for split in splits]
    assert [p.split for p in people] == list(splits)
    assert [p.name in n for p, n in zip(people, names, strict=True)] == [True] * 3
    assert len({p.shape for p in people}) == len({p.look for p in people}) == 3


@pytest.mark.parametrize("name", ["train-001", "mesh-train-9999", "mesh-dev-0001", "mesh-x", ""])
def test_unknown_identity_is_named_with_the_known_ones(name):
    with pytest.raises(CorpusError, match="mesh-train-0000"):
        make_mesh_identity(name)


def test_unknown_split():
    with pytest.raises(CorpusError, match="valid"):
        mesh_identity_names("dev")


def test_same_seed_same_bytes():
    track = hold("p", "a", "s")

    def draw(seed: int, name: str) -> bytes:
        identity = make_mesh_identity(name)
        crops = render_mesh_mouth(identity, track, np.random.default_rng(seed))
        frames = render_mesh_frames(identity, track[:1], np.random.default_rng(seed), (96, 80))
        return crops.tobytes() + b"".join(frame.tobytes() for frame in frames)

    first = draw(1, "mesh-test-0001")
    make_mesh_identity.cache_clear()
    build_head.cache_clear()
    assert draw(1, "mesh-test-0001") == first
    assert draw(2, "mesh-test-0001") != first
    assert draw(1, "mesh-test-0002") != first


@pytest.mark.parametrize("num", [0, 1, 17])
def test_crops_have_the_shape_of_the_face_stage(num):
    track = np.tile(REST, (num, 1))
    crops = render_mesh_mouth(make_mesh_identity(HEAD), track, np.random.default_rng(0))
    assert crops.shape == (num, 96, 96)
    assert crops.dtype == np.uint8
    few = track[:2]
    frames = list(
        render_mesh_frames(make_mesh_identity(HEAD), few, np.random.default_rng(0), (64, 48))
    )
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * len(few)


@pytest.mark.parametrize("name", ["mesh-train-0001", "mesh-valid-0003", "mesh-test-0002"])
@pytest.mark.parametrize("yaw", [0, 25])
def test_the_opening_follows_the_jaw(name, yaw):
    """Between closed lips there is nothing; each step of the jaw opens the mouth by some px."""
    track = np.repeat(REST[None], 8, axis=0)
    track[:, PARAMETERS.index("closure")] = [0.8, 0, 0, 0, 0, 0, 0, 0]
    track[:, PARAMETERS.index("jaw")] = [0, 0, 0.15, 0.3, 0.5, 0.7, 0.85, 1]
    identity = make_mesh_identity(name)
    shot = draw_shot(8, np.random.default_rng(0), yaw)
    crops = render_mesh_mouth(identity, track, np.random.default_rng(0), shot).astype(np.float32)
    amounts = move_amounts(track, identity.shape)
    lower = amounts[:, [MOVES.index(f"low_{p}") for p in ("flat", "round", "narrow")]].sum(axis=1)
    assert lower[0] == 0
    assert (np.diff(lower) > 0.5).all()
    assert 9 < lower[-1] < 24  # px
    changed = (np.abs(crops - crops[0])[:, 26:80, 20:76] > 25).sum(axis=(1, 2))
    assert (np.diff(changed) > 0).all()
    assert np.corrcoef(changed, lower)[0, 1] > 0.9


def unlike(one: np.ndarray, other: np.ndarray) -> float:
    """Mean grey levels between the mouths of two crops, moved by up to 2 px to fit best."""
    steps = range(-2, 3)
    fits = (
        np.abs(one[30:66, 24:72] - other[30 + i : 66 + i, 24 + j : 72 + j]).mean()
        for i in steps
        for j in steps
    )
    return float(min(fits))


@pytest.mark.parametrize("name", ["mesh-train-0001", "mesh-valid-0004", "mesh-test-0003"])
def test_sounds_look_different(name):
    """Two sounds differ by more than two frames of one sound, in all heads."""
    sounds = ("p", "a", "o", "u", "i", "f", "θ", "s", "l")
    crops = render_mesh_mouth(
        make_mesh_identity(name), hold("a", *sounds), np.random.default_rng(1)
    )
    crops = [cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 1) for crop in crops]
    same = unlike(crops[0], crops[2])
    for i in range(1, len(crops)):
        for j in range(i + 1, len(crops)):
            assert unlike(crops[i], crops[j]) > 1.3 * same, (sounds[i - 1], sounds[j - 1])


def test_every_parameter_moves_vertices():
    base = phone_targets("ɛ")[0][0].copy()
    rows = [base]
    for column in range(NUM_PARAMETERS):
        changed = base.copy()
        changed[column] += 0.6 if changed[column] < 0.5 else -0.6
        rows.append(changed)
    shape = HeadShape()
    points = (move_amounts(np.stack(rows), shape) @ build_head(shape).moves).reshape(len(rows), -1)
    assert (np.abs(points[1:] - points[0]).max(axis=1) > 0.5).all()  # px


def test_only_the_lower_half_of_the_head_moves():
    mesh = build_head(HeadShape())
    moved = np.abs(mesh.moves.reshape(len(MOVES), 3, -1)).max(axis=(0, 1)) > 1e-3
    assert moved.any()
    assert not moved[mesh.rest[1] < 100].any()


def test_heads_turn_by_up_to_30_degrees():
    turned = []
    for seed in range(60):
        turns = draw_shot(4, np.random.default_rng(seed)).turns
        assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3), atol=1e-5)
        turned += list(np.degrees(np.arctan2(turns[:, 0, 2], turns[:, 2, 2])))
    assert np.abs(turned).max() <= MAX_YAW + 6  # nodding adds a little
    assert np.std(turned) > 8


@pytest.mark.parametrize(("name", "yaw"), [("mesh-train-0002", 0), ("mesh-test-0005", 25)])
def test_face_stage_sees_what_render_mesh_mouth_draws(name, yaw):
    """mediapipe finds the heads; crops of them match drawn crops in place, scale and look."""
    track = hold("p", "a", "u", "i", "f", "θ", "s", "o", frames=2)
    identity = make_mesh_identity(name)
    shot = draw_shot(len(track), np.random.default_rng(3), yaw)
    tracked = track_mouth(render_mesh_frames(identity, track, np.random.default_rng(3), shot=shot))
    assert tracked.found.all()
    drawn = render_mesh_mouth(identity, track, np.random.default_rng(4), shot)
    scores, shifts = [], []
    for tracked_crop, drawn_crop in zip(tracked.mouth, drawn, strict=True):
        match = cv2.matchTemplate(drawn_crop, tracked_crop[16:80, 16:80], cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(match)
        scores.append(score)
        shifts.append((x - 16, y - 16))
    assert np.mean(scores) > 0.88
    assert np.abs(np.mean(shifts, axis=0)).max() < 4  # px
    assert np.std(shifts, axis=0).max() < 2.5
