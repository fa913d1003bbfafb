"""The camera: what it does is known for planted pictures, and a quarter of the clips stay clean."""

import cv2
import numpy as np
import pytest

from avsr.rates import FPS
from avsr.synthetic.camera import Camera, draw_camera, film, film_frames


def stripes(num: int = 20, color: bool = False) -> np.ndarray:
    """Pictures (T, 96, 96) of fine stripes, lighter from frame to frame."""
    rows = 60 + 80 * (np.arange(96) // 2 % 2)[:, None] + np.zeros((96, 96))
    frames = (rows + np.arange(num)[:, None, None]).astype(np.uint8)
    return np.stack([frames] * 3, axis=-1) if color else frames


def filmed(frames: np.ndarray, **faults: float) -> np.ndarray:
    return film(frames, np.random.default_rng(0), camera=Camera(**faults))


def detail(frames: np.ndarray) -> float:
    return float(np.abs(np.diff(frames.astype(np.float32), axis=1)).mean())


@pytest.mark.parametrize("color", [False, True])
def test_a_perfect_camera_changes_nothing(color: bool) -> None:
    frames = stripes(color=color)
    assert np.array_equal(filmed(frames), frames)


@pytest.mark.parametrize("shape", [(0, 96, 96), (1, 96, 96), (9, 96, 96), (3, 60, 80, 3)])
@pytest.mark.parametrize("seed", range(8))
def test_any_camera_keeps_the_shape(shape: tuple[int, ...], seed: int) -> None:
    frames = np.random.default_rng(9).integers(0, 256, shape, np.uint8)
    before = frames.copy()
    pictures = film(frames, np.random.default_rng(seed))
    assert pictures.shape == shape
    assert pictures.dtype == np.uint8
    assert np.array_equal(frames, before)


def test_same_random_state_same_pictures() -> None:
    frames = stripes()
    first, again, other = (film(frames, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_frames_of_a_renderer_are_filmed_as_an_array_is() -> None:
    frames = stripes(color=True)
    filmed_frames = list(film_frames(iter(frames), np.random.default_rng(5)))
    assert np.array_equal(filmed_frames, film(frames, np.random.default_rng(5)))
    assert list(film_frames(iter(()), np.random.default_rng(5))) == []


def is_clean(camera: Camera) -> bool:
    return camera.quality is None and camera.blur == camera.noise == camera.jitter == 0


def test_a_quarter_of_the_clips_are_nearly_clean() -> None:
    rng = np.random.default_rng(0)
    cameras = [draw_camera(rng) for _ in range(600)]
    assert 0.2 < np.mean([is_clean(camera) for camera in cameras]) < 0.32
    assert {camera.frame_rate for camera in cameras} == {FPS, 24.0, 30.0, 15.0, 12.5}
    assert min(camera.resolution for camera in cameras) < 0.55
    assert min(camera.quality for camera in cameras if camera.quality) < 20
    assert all(is_clean(draw_camera(rng, strength=0.0)) for _ in range(50))


@pytest.mark.parametrize("blended", [False, True])
@pytest.mark.parametrize("frame_rate", [12.5, 15.0, 24.0, 30.0])
def test_frames_are_repeated_or_dropped_but_not_late(frame_rate: float, blended: bool) -> None:
    ramp = np.repeat(np.arange(100, dtype=np.uint8), 16).reshape(100, 4, 4)
    camera = Camera(frame_rate=frame_rate, blended=blended)
    delays, numbers = [], []
    for seed in range(20):
        pictures = film(ramp, np.random.default_rng(seed), camera=camera)[:, 0, 0]
        steps = np.diff(pictures[2:-2].astype(int))
        assert steps.min() >= 0
        delays.append((np.arange(2, 98) - pictures[2:-2]).mean())
        numbers.append(len(np.unique(pictures)))
    assert abs(np.mean(delays)) < 0.3  # frames
    assert abs(np.mean(numbers) - 100 * min(1, frame_rate / 25)) < 6


def test_blur_and_resolution_remove_detail() -> None:
    frames = stripes()
    assert detail(filmed(frames, blur=2.0)) < 0.3 * detail(frames)
    assert detail(filmed(frames, resolution=0.5)) < 0.6 * detail(frames)
    large = np.stack([cv2.resize(frame, (384, 384)) for frame in frames])
    assert detail(filmed(large, blur=2.0)) < 0.3 * detail(large)  # the same part of the picture
    heads = np.stack([np.pad(frame, 107) for frame in frames])  # a crop as part of a whole frame
    crop = filmed(np.stack([heads] * 3, axis=-1), blur=2.0)[:, 107:203, 107:203, 0]
    assert np.abs(crop - filmed(frames, blur=2.0).astype(int))[:, 8:-8, 8:-8].max() <= 1


def test_compression_leaves_blocks() -> None:
    ramp = np.tile(np.linspace(40, 90, 96).astype(np.uint8), (3, 96, 1))
    across = np.abs(np.diff(filmed(ramp, quality=15)[0].astype(int), axis=1)).mean(axis=0)
    edges = np.arange(95) % 8 == 7
    assert across[edges].mean() > 2 * across[~edges].mean()


def test_motion_blur_shows_the_frame_before() -> None:
    frames = np.zeros((4, 96, 96), np.uint8)
    frames[2] = 200
    levels = filmed(frames, motion_blur=0.5)[:, 40, 40]
    assert levels.tolist() == [0, 0, 100, 100]


def test_light_darkens_one_side_or_all() -> None:
    frames = np.full((2, 96, 96), 200, np.uint8)
    left_dark = filmed(frames, shadow=0.8, shadow_angle=np.pi)
    assert left_dark[0, 48, 3] < 90
    assert left_dark[0, 48, 92] > 180
    assert abs(int(filmed(frames, gain=0.5)[0, 0, 0]) - 100) <= 1
    assert filmed(frames, gamma=1.5)[0, 0, 0] < 190


def test_turning_and_jitter_move_the_picture() -> None:
    frames = np.zeros((30, 96, 96), np.uint8)
    frames[:, 47:49, 80:84] = 255
    place = np.array([np.argwhere(f > 60).mean(axis=0) for f in filmed(frames, angle=10.0)])
    assert place.std(axis=0).max() < 0.1
    assert abs(place[0, 0] - 47.5 - 34 * np.sin(np.radians(10))) < 1
    place = np.array([np.argwhere(f > 60).mean(axis=0) for f in filmed(frames, shake=1.0)])
    assert 0.6 < place.std(axis=0).mean() < 1.5


def test_noise_has_its_size() -> None:
    frames = np.full((5, 96, 96), 128, np.uint8)
    assert abs(filmed(frames, noise=6.0).std() - 6.0) < 0.3
