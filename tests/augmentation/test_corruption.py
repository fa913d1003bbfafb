import numpy as np
import pytest

from avsr.augmentation.corruption import Corruption, cover
from avsr.errors import ConfigError
from avsr.evaluation.noise import hashed_rng

FRAMES = 40


def mouths() -> np.ndarray:
    """Frames of which each has its own grey, and a bright dot."""
    crops = np.repeat(np.arange(FRAMES, dtype=np.uint8)[:, None, None], 96, 1).repeat(96, 2)
    crops[:, 48, 48] = 255
    return crops


def corrupt(text: str, crops: np.ndarray | None = None) -> np.ndarray:
    mouth = mouths() if crops is None else crops
    before = mouth.copy()
    out = Corruption.parse(text).apply(mouth, hashed_rng(1, "u", text))
    np.testing.assert_array_equal(mouth, before)
    assert out.shape == before.shape
    assert out.dtype == np.uint8
    return out


def test_occlusion_covers_the_middle():
    out = corrupt("occlusion:0.5")
    assert len(np.unique(out[:, 24:72, 24:72])) == 1
    np.testing.assert_array_equal(out[:, :24], mouths()[:, :24])


def test_blur_spreads_a_dot():
    out = corrupt("blur:2")
    assert out[0, 48, 48] < 20
    assert out[0, 48, 50] > 0
    np.testing.assert_array_equal(corrupt("blur:0"), mouths())


def test_resolution_leaves_few_values():
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 255, (3, 96, 96), dtype=np.uint8)
    out = corrupt("resolution:1", crops)
    assert all(len(np.unique(frame)) == 1 for frame in out)
    np.testing.assert_array_equal(corrupt("resolution:96", crops), crops)


def test_dropped_frames_are_black():
    out = corrupt("dropped:0.5")
    black = (out == 0).all((1, 2))
    assert 10 < black.sum() < 30
    np.testing.assert_array_equal(out[~black], mouths()[~black])
    assert not corrupt("dropped:1").any()


def test_a_frozen_picture_stands_still():
    greys = corrupt("frozen:1")[:, 0, 0]
    assert greys.tolist() == [10 * (i // 10) for i in range(FRAMES)]
    np.testing.assert_array_equal(corrupt("frozen:0"), mouths())


@pytest.mark.parametrize("ms", [120, -120, 5000])
def test_an_offset_moves_the_sound_only(ms):
    clip = np.arange(1, 16_001, dtype=np.float32)
    moved = Corruption("offset", ms).delay(clip)
    shift = round(ms * 16)
    assert len(moved) == len(clip)
    for i in (0, 5000, 15_999):
        source = i - shift
        assert moved[i] == (clip[source] if 0 <= source < len(clip) else 0)
    np.testing.assert_array_equal(corrupt(f"offset:{ms}"), mouths())
    np.testing.assert_array_equal(Corruption("blur", 2).delay(clip), clip)


def test_a_hash_decides():
    text = "dropped:0.5"
    np.testing.assert_array_equal(corrupt(text), corrupt(text))
    other = Corruption.parse(text).apply(mouths(), hashed_rng(2, "u", text))
    assert (other != corrupt(text)).any()


def test_compression_leaves_blocks():
    crops = np.arange(0, 192, 2, dtype=np.uint8)[None, None].repeat(96, 1).repeat(2, 0)
    blocks = corrupt("compression:1", crops).reshape(2, 12, 8, 12, 8)
    assert (np.ptp(blocks, axis=(2, 4)) == 0).all()
    assert np.abs(corrupt("compression:100", crops).astype(int) - crops).mean() < 2


def test_brightness_is_a_factor():
    crops = np.full((2, 96, 96), 100, np.uint8)
    assert (corrupt("brightness:0.5", crops) == 50).all()
    assert (corrupt("brightness:3", crops) == 255).all()
    np.testing.assert_array_equal(corrupt("brightness:1"), mouths())


def test_noise_has_the_asked_deviation():
    crops = np.full((20, 96, 96), 128, np.uint8)
    out = corrupt("noise:20", crops).astype(float)
    assert abs(out.mean() - 128) < 0.5
    assert abs(out.std() - 20) < 0.5
    assert (out[0] != out[1]).any()
    np.testing.assert_array_equal(corrupt("noise:0", crops), crops)


@pytest.mark.parametrize("corner", [(-5, 80), (10, 20), (90, -30)])
def test_a_cover_may_reach_over_the_edge(corner):
    pattern = np.arange(1, 1601).reshape(40, 40) % 250
    out = cover(np.zeros((2, 96, 96), np.uint8), 40, corner, pattern.astype(np.uint8))
    wide = np.zeros((296, 296), np.uint8)  # with a margin of 100 on each side
    row, column = corner[0] + 100, corner[1] + 100
    wide[row : row + 40, column : column + 40] = pattern
    np.testing.assert_array_equal(out, np.stack([wide[100:196, 100:196]] * 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fog:1", "the kinds are occlusion, blur"),
        ("blur", "write blur:AMOUNT with 0 to 50"),
        ("dropped:1.5", "0 to 1, the share of frames"),
        ("offset:nan", "milliseconds"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(ConfigError, match=message):
        Corruption.parse(text)
