import numpy as np
import pytest

from avsr.augmentation.face_change import FaceChange


@pytest.fixture(scope="module")
def mouths():
    """A grey face with dark lips that open and close over 20 frames."""
    rows, columns = np.mgrid[:96, :96]
    crops = np.full((20, 96, 96), 160, np.uint8)
    for number in range(20):
        height = 4 + 3 * np.sin(number)
        crops[number][((columns - 48) / 20) ** 2 + ((rows - 50) / height) ** 2 < 1] = 60
    return crops


def change(mouth, seed):
    rng = np.random.default_rng(seed)
    return FaceChange.sample(rng).apply(mouth, rng)


def test_a_change_depends_on_its_random_numbers_alone(mouths):
    before = mouths.copy()
    first = change(mouths, 1)
    assert (first.shape, first.dtype) == (mouths.shape, np.uint8)
    np.testing.assert_array_equal(change(mouths, 1), first)
    np.testing.assert_array_equal(mouths, before)
    assert np.abs(change(mouths, 2).astype(int) - first).mean() > 5


def test_the_mouth_stays_in_the_crop_and_keeps_moving(mouths):
    for seed in range(30):
        changed = change(mouths, seed).astype(float)
        motion = changed.std(axis=0)
        row, column = np.unravel_index(np.argmax(motion), motion.shape)
        assert 20 < row < 76
        assert 16 < column < 80
        opening = [frame[30:70, 30:66].mean() for frame in mouths.astype(float)]
        seen = [frame[25:75, 25:71].mean() for frame in changed]
        assert np.corrcoef(opening, seen)[0, 1] > 0.5


def test_faces_differ_in_light_shape_and_side(mouths):
    lopsided = mouths.copy()
    lopsided[:, :, :20] = 30  # a dark wall at the left
    sides, levels, sharpness = [], [], []
    for seed in range(60):
        changed = change(lopsided, seed).astype(float)
        sides.append(changed[:, :, :12].mean() < changed[:, :, -12:].mean())
        levels.append(changed.mean())
        sharpness.append(np.abs(np.diff(changed, axis=2)).max())
    assert 15 < sum(sides) < 45  # about half are mirrored
    assert np.std(levels) > 10
    assert np.max(sharpness) > 2 * np.min(sharpness)


def test_no_frames_stay_none(mouths):
    assert change(mouths[:0], 0).shape == (0, 96, 96)
    assert change(mouths[:1], 0).shape == (1, 96, 96)
