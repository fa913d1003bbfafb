"""What cameras, codecs and trackers do to a picture: mouth crops or whole frames.

A renderer draws clean pictures. ``film`` records them as in life: uneven frame rate, movement of
the camera, bad light, blur, low resolution, noise and compression.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsr.rates import FPS
from avsr.synthetic.motion import smooth_noise

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

CLEAN_SHARE = 0.25  # of the clips are recorded almost without loss
FRAME_RATES = (24.0, 30.0, 15.0, 12.5)  # fps of the camera
SMALLEST = 0.5  # of the resolution: 24 px of mouth width in crops of 96 px
QUALITIES = (15, 90)  # of JPEG, which has the 8x8 blocks of video codecs
INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
CROP_SIZE, HEAD_SIZE = 96, 310  # px of a mouth crop, and of a frame whose mouth is as large


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How a clip is recorded; the defaults change nothing.

    Lengths are px of a mouth crop, in whole heads of the same size of the mouth.
    """

    frame_rate: float = FPS
    """Pictures a second that the camera takes; the clip stays at 25 fps."""
    blended: bool = False
    """Whether frames between two pictures are a mixture of both."""
    angle: float = 0.0
    """Degrees by which the camera is turned."""
    jitter: float = 0.0
    """Standard deviation of a slow movement of the picture."""
    shake: float = 0.0
    """Standard deviation of the movement from frame to frame."""
    gain: float = 1.0
    """Factor on the light."""
    gamma: float = 1.0
    """Exponent of the grey levels: above 1 darker middle tones."""
    shadow: float = 0.0
    """Share of the light that one side of the picture lacks."""
    shadow_angle: float = 0.0
    """Radians; direction of the side in shadow."""
    shadow_edge: float = 0.0
    """Place of the edge of the shadow, -1 .. 1."""
    blur: float = 0.0
    """Sigma of the lens blur."""
    motion_blur: float = 0.0
    """Share of the exposure of a picture that lies in the frame before: 0 .. 0.5."""
    resolution: float = 1.0
    """Factor on the resolution."""
    upsampling: int = cv2.INTER_LINEAR
    """OpenCV's interpolation back to full size."""
    noise: float = 0.0
    """Standard deviation of the sensor noise, grey levels."""
    quality: int | None = None
    """JPEG quality; None: not compressed."""


def draw_camera(rng: np.random.Generator, strength: float = 1.0) -> Camera:
    """Draw how a clip is recorded.

    Args:
        rng: Decides everything.
        strength: Factor on the probability of each fault, 0 to 1; a quarter of the clips are nearly
            clean whatever it is.
    """
    if rng.random() < CLEAN_SHARE:
        strength = 0.0

    def happens(probability: float) -> bool:
        return bool(rng.random() < probability * strength)

    uneven, dark, small = happens(0.45), happens(0.2), happens(0.35)
    low, high = QUALITIES
    return Camera(
        frame_rate=float(rng.choice(FRAME_RATES)) if uneven else FPS,
        blended=bool(rng.random() < 0.4),
        angle=float(np.clip(rng.normal(0, 5), -12, 12)) if happens(0.5) else 0.0,
        jitter=float(rng.uniform(0.3, 2.0)) if happens(0.6) else 0.0,
        shake=float(rng.uniform(0.1, 0.8)) if happens(0.4) else 0.0,
        gain=float(rng.uniform(0.3, 0.7) if dark else rng.uniform(0.9, 1.1)),
        gamma=float(np.exp(np.clip(rng.normal(0, 0.3), -0.6, 0.6))) if happens(0.5) else 1.0,
        shadow=float(rng.uniform(0.2, 0.85)) if happens(0.3) and not dark else 0.0,
        shadow_angle=float(rng.uniform(-np.pi, np.pi)),
        shadow_edge=float(rng.uniform(-0.8, 0.8)),
        blur=float(rng.uniform(0.4, 2.2)) if happens(0.4) else 0.0,
        motion_blur=float(rng.uniform(0.1, 0.5)) if happens(0.4) else 0.0,
        resolution=float(rng.uniform(SMALLEST, 0.9)) if small else 1.0,
        upsampling=int(rng.choice(INTERPOLATIONS)),
        noise=float(rng.uniform(3, 10) if dark else rng.uniform(0, 6) * happens(0.4)),
        quality=int(rng.integers(low, high + 1)) if happens(0.7) else None,
    )


def film(
    frames: Pixels,
    rng: np.random.Generator,
    strength: float = 1.0,
    camera: Camera | None = None,
) -> Pixels:
    """Record pictures with a camera.

    Args:
        frames: Clean pictures (T, H, W) or (T, H, W, 3) uint8 at 25 fps, such as mouth crops.
        rng: Draws the camera and the noise.
        strength: See ``draw_camera``.
        camera: The camera; default: drawn.

    Returns:
        Pictures of the same shape, uint8, at 25 fps.
    """
    camera = camera or draw_camera(rng, strength)
    num, height, width = frames.shape[:3]
    if not num:
        return frames
    warps = _move(frames.shape, camera, rng)
    sensor = _Sensor(camera, frames.shape[1:], rng)
    sources = _capture(num, camera, rng)
    out = np.empty_like(frames)
    previous = frames[0]
    for t in range(num):
        if t and sources[t] == sources[t - 1]:
            out[t] = out[t - 1]
            continue
        picture: NDArray[Any] = _expose(frames, *sources[t])
        if camera.motion_blur > 0:
            share = camera.motion_blur if t else 0.0
            picture, previous = cv2.addWeighted(picture, 1 - share, previous, share, 0), picture
        if warps is not None:
            picture = cv2.warpAffine(
                picture, warps[t], (width, height), borderMode=cv2.BORDER_REPLICATE
            )
        out[t] = sensor.record(picture, rng)
    return out


def film_frames(
    frames: Iterable[Pixels], rng: np.random.Generator, strength: float = 1.0
) -> Iterator[Pixels]:
    """Record the frames of a renderer, which are all drawn first; see ``film``."""
    drawn = list(frames)
    if drawn:
        yield from film(np.stack(drawn), rng, strength)


class _Sensor:
    """Lens, light, sensor and codec of a camera for pictures of one shape."""

    def __init__(self, camera: Camera, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        self.camera = camera
        height, width = shape[:2]
        self.size = (width, height)
        self.small = (
            max(1, round(width * camera.resolution)),
            max(1, round(height * camera.resolution)),
        )
        self.sigma = camera.blur * _scale(shape)
        self.light = _light(shape, camera)
        self.tones = _tones(camera)
        pixels = 4 * int(np.prod([*self.small, *shape[2:]]))
        self.grain = rng.standard_normal(pixels, np.float32) * camera.noise

    def record(self, picture: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a picture as the clip has it."""
        if self.sigma > 0:
            picture = cv2.GaussianBlur(picture, (0, 0), self.sigma)
        if self.light is not None:
            picture = cv2.multiply(picture, self.light, dtype=cv2.CV_8U)
        if self.small != self.size:
            picture = cv2.resize(picture, self.small, interpolation=cv2.INTER_AREA)
        if self.tones is not None:
            picture = cv2.LUT(picture, self.tones)
        if self.camera.noise > 0:
            first = int(rng.integers(0, len(self.grain) - picture.size + 1))
            grain = self.grain[first : first + picture.size].reshape(picture.shape)
            picture = cv2.add(picture, grain, dtype=cv2.CV_8U)
        if self.camera.quality is not None:
            picture = _compress(picture, self.camera.quality)
        if self.small != self.size:
            picture = cv2.resize(picture, self.size, interpolation=self.camera.upsampling)
        return picture


def _capture(num: int, camera: Camera, rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """Return for each frame which two source frames it shows, and the share of the second."""
    phase = float(rng.random())
    if camera.frame_rate == FPS:
        return [(t, t, 0.0) for t in range(num)]
    sources = []
    for t in range(num):
        # The clip shows the last picture that was taken, so it is late by half a picture; taken
        # from the middle of that time, pictures are neither late nor early on average.
        taken = np.floor((t + 0.5) / FPS * camera.frame_rate + phase)
        place = float(np.clip((taken + 0.5 - phase) / camera.frame_rate * FPS - 0.5, 0, num - 1))
        first = int(place) if camera.blended else round(place)
        share = round(place - first, 3) if camera.blended else 0.0
        sources.append((first, min(first + 1, num - 1), share))
    return sources


def _expose(frames: Pixels, first: int, second: int, share: float) -> Pixels:
    """Return a picture that is a mixture of two frames."""
    if share == 0:
        return frames[first]
    return np.asarray(cv2.addWeighted(frames[first], 1 - share, frames[second], share, 0), np.uint8)


def _scale(shape: tuple[int, ...]) -> float:
    """Return px of pictures of ``shape``, grey crops or colored heads, per px of a mouth crop."""
    return min(shape[:2]) / (CROP_SIZE if len(shape) == 2 else HEAD_SIZE)


def _move(
    shape: tuple[int, ...], camera: Camera, rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Return matrices (T, 2, 3) that turn and move the pictures; None if nothing moves."""
    if camera.angle == camera.jitter == camera.shake == 0:
        return None
    num, height, width = shape[:3]
    scale = _scale(shape[1:])
    drift = smooth_noise(num, 10, 3, rng)
    angles = np.radians(camera.angle + 0.5 * camera.jitter * drift[:, 2])
    shift = camera.jitter * drift[:, :2] + camera.shake * rng.standard_normal((num, 2))
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    cos, sin = np.cos(angles), np.sin(angles)
    matrices = np.empty((num, 2, 3))
    matrices[:, 0, 0], matrices[:, 0, 1] = cos, -sin
    matrices[:, 1, 0], matrices[:, 1, 1] = sin, cos
    matrices[:, :, 2] = middle + scale * shift - matrices[:, :, :2] @ middle
    return matrices


def _light(shape: tuple[int, ...], camera: Camera) -> Floats | None:
    """Return the factor of the light on each pixel of pictures of ``shape``; None if it is 1."""
    if camera.shadow == 0:
        return None
    height, width = shape[:2]
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    place = np.cos(camera.shadow_angle) * across + np.sin(camera.shadow_angle) * down
    lit = (1 + np.tanh((place - camera.shadow_edge) / 0.4)) / 2
    light = np.asarray(1 - camera.shadow * lit, np.float32)
    return light if len(shape) == 2 else np.dstack([light] * shape[2])


def _tones(camera: Camera) -> Pixels | None:
    """Return the grey level (256,) of each level after gain and gamma; None if unchanged."""
    if camera.gain == camera.gamma == 1:
        return None
    levels = 255 * (np.arange(256) / 255) ** camera.gamma * camera.gain
    return np.round(levels.clip(0, 255)).astype(np.uint8)


def _compress(picture: NDArray[Any], quality: int) -> NDArray[Any]:
    """Encode and decode a picture as JPEG."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    flag = cv2.IMREAD_GRAYSCALE if picture.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(data, flag))
