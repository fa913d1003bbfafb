"""The crop geometry: planted transforms, and the reference implementation's own numbers."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from avsr.face import geometry as g


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def face_points(matrix: np.ndarray) -> np.ndarray:
    """Landmarks (25, 2) of a mean face with a mouth around (130, 157), carried by ``matrix``."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    mouth = np.stack([130 + 22 * np.cos(angle), 157 + 10 * np.sin(angle)], axis=1)
    points = np.concatenate([g.MEAN_FACE, mouth])
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_interpolation_is_linear_inside_and_copies_at_the_ends() -> None:
    landmarks = np.full((7, 2, 2), np.nan)
    landmarks[1], landmarks[4] = 10.0, 40.0
    filled = g.interpolate_landmarks(landmarks, [False, True, False, False, True, False, False])
    assert filled[:, 1, 0].tolist() == [10, 10, 20, 30, 40, 40, 40]


def test_interpolation_needs_a_face() -> None:
    with pytest.raises(ValueError, match="no frame has landmarks"):
        g.interpolate_landmarks(np.zeros((3, 25, 2)), [False] * 3)


@pytest.mark.parametrize(("scale", "degrees"), [(0.3, 25.0), (1.0, 0.0), (2.5, -70.0)])
def test_planted_similarity_is_found(scale: float, degrees: float) -> None:
    planted = similarity(scale, degrees, (31.0, -12.0))
    source = np.random.default_rng(0).normal(size=(5, 2)) * 50
    target = source @ planted[:, :2].T + planted[:, 2]
    np.testing.assert_allclose(g.estimate_similarity(source, target), planted, atol=1e-10)


def test_similarity_never_mirrors() -> None:
    mirrored = g.MEAN_FACE * [-1, 1]
    assert np.linalg.det(g.estimate_similarity(mirrored, g.MEAN_FACE)[:, :2]) > 0


def test_similarity_of_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        g.estimate_similarity(np.ones((5, 2)), g.MEAN_FACE)


def test_smoothing_looks_ahead_and_reuses_the_last_window() -> None:
    # A face that moves right by 1 px a frame: the mean of frames i..i+11 lies 5.5 px ahead.
    landmarks = np.stack([face_points(similarity(1, 0, (i, 0))) for i in range(30)])
    transforms = g.smooth_transforms(landmarks)
    shifts = -transforms[:, 0, 2]
    expected = np.minimum(np.arange(30), 18) + 5.5
    np.testing.assert_allclose(shifts, expected, atol=1e-9)


def test_short_clip_has_one_transform() -> None:
    landmarks = np.stack([face_points(similarity(1, 0, (i, 0))) for i in range(5)])
    np.testing.assert_allclose(-g.smooth_transforms(landmarks)[:, 0, 2], 2.0, atol=1e-9)


def test_crop_centres_the_mouth_of_every_frame() -> None:
    rng = np.random.default_rng(1)
    landmarks = np.stack(
        [
            face_points(similarity(0.5 + 0.01 * i, i, (40 + 3 * i, 20 + rng.normal())))
            for i in range(20)
        ]
    )
    for points, matrix in zip(landmarks, g.crop_matrices(landmarks), strict=True):
        mouth = matrix[:, :2] @ points[g.MOUTH].mean(axis=0) + matrix[:, 2]
        assert np.abs(mouth - 48).max() <= 0.5


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_crop_brings_a_face_of_any_size_upright(scale: float) -> None:
    # A white disc of 20 canvas px where the mouth is, in a tilted face of the given size.
    planted = similarity(scale, 20, (300 * scale, 50 * scale))
    points = face_points(planted)
    image = np.zeros((int(500 * scale), int(600 * scale)), np.uint8)
    center = points[g.MOUTH].mean(axis=0)
    cv2.circle(image, [round(v * 16) for v in center], round(20 * scale * 16), 255, -1, shift=4)
    crop = g.crop_mouth(image, g.crop_matrices(points[None])[0])
    assert crop.shape == (96, 96)
    ys, xs = np.nonzero(crop > 127)
    np.testing.assert_allclose([xs.mean(), ys.mean()], [48, 48], atol=0.7)
    assert len(xs) == pytest.approx(np.pi * 20**2, rel=0.1)


def test_shrinking_averages_instead_of_skipping() -> None:
    # Columns of 0 and 255 in turn are grey from afar; skipping pixels would show stripes.
    image = np.zeros((800, 800), np.uint8)
    image[:, ::2] = 255
    matrix = similarity(0.25, 0, (0.0, 0.0))
    inside = g.crop_mouth(image, matrix)[1:, 1:]
    assert inside.min() >= 126
    assert inside.max() <= 128


def test_reduction_keeps_positions() -> None:
    image = np.zeros((60, 60), np.uint8)
    image[30:33, 42:45] = 200
    small, matrix = g.reduce_image(image, 3)
    assert np.unravel_index(small.argmax(), small.shape) == (10, 14)
    np.testing.assert_allclose(matrix[:, :2] @ [43, 31] + matrix[:, 2], [14, 10])


def test_cut_is_at_whole_pixels_halves_to_even() -> None:
    assert g.cut_corner((120.5, 121.5)).tolist() == [72, 74]


def test_crop_stays_on_the_mouth_of_a_fast_face() -> None:
    # Two face widths within the smoothing window: far off the canvas that the window agrees on.
    landmarks = np.stack([face_points(similarity(0.5, 0, (12 * i, 0))) for i in range(20)])
    for points, matrix in zip(landmarks, g.crop_matrices(landmarks), strict=True):
        mouth = matrix[:, :2] @ points[g.MOUTH].mean(axis=0) + matrix[:, 2]
        assert np.abs(mouth - 48).max() <= 0.5


def test_identity_warp_copies_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    assert (g.warp(image, similarity(1, 0, (0, 0))) == image).all()


def test_outside_of_the_picture_is_black() -> None:
    image = np.full((40, 40), 255, np.uint8)
    crop = g.warp(image, similarity(1, 0, (30, 30)))
    assert (crop[30:70, 30:70] == 255).all()
    assert int(crop.sum()) == 255 * 1600


# --- numbers of the reference implementation -----------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    root = os.environ.get("AVSR_REFERENCE")
    if not root:
        pytest.skip("AVSR_REFERENCE is not set")
    with np.load(Path(root) / "mouth_crop.npz") as arrays:
        return dict(arrays)


def needed(landmarks: np.ndarray) -> np.ndarray:
    return landmarks[:, list(g.POINT_IDS)]


def test_mean_face_is_the_reference_one(reference: dict[str, np.ndarray]) -> None:
    assert reference["stable_ids"].tolist() == list(g.STABLE_IDS)
    mean_face = reference["mean_face"][list(g.STABLE_IDS)]
    np.testing.assert_allclose(g.MEAN_FACE, mean_face, atol=6e-5)


@pytest.mark.parametrize("clip", ["long", "short"])
def test_landmarks_and_transforms_agree(reference: dict[str, np.ndarray], clip: str) -> None:
    raw, found = reference[f"{clip}/landmarks"], reference[f"{clip}/detected"]
    filled = g.interpolate_landmarks(raw, found)
    np.testing.assert_allclose(filled, reference[f"{clip}/landmarks_interpolated"], atol=1e-9)
    ours = g.smooth_transforms(needed(filled))
    theirs = reference[f"{clip}/transforms"][:, :2]
    np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=2e-4)
    assert (ours[len(theirs) :] == ours[len(theirs) - 1]).all()


@pytest.mark.parametrize("clip", ["long", "short"])
def test_crops_agree(reference: dict[str, np.ndarray], clip: str) -> None:
    filled = g.interpolate_landmarks(reference[f"{clip}/landmarks"], reference[f"{clip}/detected"])
    frames, crops = reference[f"{clip}/frames_bgr"], reference[f"{clip}/crops_gray"]
    matrices = g.crop_matrices(needed(filled))
    for frame, matrix, theirs in zip(frames, matrices, crops, strict=True):
        ours = g.crop_mouth(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), matrix)
        difference = np.abs(ours.astype(int) - theirs)
        # Grey before the warp and not after it: each channel is cut to whole levels there.
        assert difference.mean() < 0.5
        assert difference.max() <= 2


@pytest.mark.parametrize("clip", ["long", "short"])
def test_warp_agrees(reference: dict[str, np.ndarray], clip: str) -> None:
    frame, theirs = reference[f"{clip}/frames_bgr"][0], reference[f"{clip}/warp_frame0"]
    matrix = reference[f"{clip}/warp_frame0_params"][:2]
    for channel in range(3):
        ours = g.warp(np.ascontiguousarray(frame[..., channel]), matrix, 256)
        difference = np.abs(ours.astype(int) - theirs[..., channel])
        assert difference.mean() < 0.1
        # The one-pixel rim differs: the reference never goes below the darkest pixel there.
        assert (difference > 1).mean() < 2e-3


def test_cuts_agree(reference: dict[str, np.ndarray]) -> None:
    image = reference["cut_patch/img"]
    last = np.array(image.shape[1::-1]) - 96
    for center, theirs in zip(
        reference["cut_patch/centers_xy"], reference["cut_patch/out"], strict=True
    ):
        # At the borders the reference moves the cut inside; ours goes on (see cut_corner).
        x, y = np.clip(g.cut_corner(center), 0, last).astype(int)
        assert (image[y : y + 96, x : x + 96] == theirs).all()
