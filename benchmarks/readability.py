"""Covered mouths and turned heads: which share of their frames is flagged, and of good frames.

``python -m benchmarks readability`` draws things before the mouths of the demo's examples and, if
AVSR_GRID names them, of clips of the GRID corpus, and follows the faces as a transcription does.

``python -m benchmarks.readability`` fits the weights of ``avsr.face.readability`` anew, to mouths
of 400 synthetic identities, with and without things before them. No other face is used, so GRID's
speakers and any other person are unseen.
"""

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np

Image = np.ndarray
Paint = Callable[[Image, "Place", np.random.Generator], Image]

IDENTITIES = 400
FRAMES_OF_EACH = 10
COVERS_OF_EACH = 3
RIDGE = 1e-3  # of the squared weights
GRID_CLIPS = 16


class Place:
    """Coordinates around a mouth in units of half of its width, in an image of a given shape."""

    def __init__(self, image: Image, x: float, y: float, half: float, angle: float = 0.0) -> None:
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
        dx, dy = (columns - x) / half, (rows - y) / half
        self.u = dx * np.cos(angle) + dy * np.sin(angle)
        self.v = dy * np.cos(angle) - dx * np.sin(angle)
        self.x, self.y, self.half = x, y, half

    def turned(self, angle: float) -> "Place":
        """Return the same place, turned by ``angle`` (radians)."""
        turned = object.__new__(Place)
        turned.__dict__.update(self.__dict__)
        turned.u = self.u * np.cos(angle) + self.v * np.sin(angle)
        turned.v = self.v * np.cos(angle) - self.u * np.sin(angle)
        return turned

    def skin(self, image: Image) -> Image:
        """Return the mean colour of both cheeks, beside the mouth."""
        height, width = image.shape[:2]
        row = int(np.clip(self.y - 0.4 * self.half, 3, height - 4))
        columns = np.clip([self.x - 1.9 * self.half, self.x + 1.9 * self.half], 3, width - 4)
        parts = [image[row - 3 : row + 4, int(c) - 3 : int(c) + 4].mean((0, 1)) for c in columns]
        return np.mean(parts, axis=0)


def _blend(image: Image, cover: Image, paint: Image) -> Image:
    """Paint over an image (H, W, 3) where ``cover`` (H, W) is 1; ``paint`` is (H, W) or RGB."""
    paint = paint[..., None] if paint.ndim == 2 else paint
    return image + (paint - image) * cover[..., None]


def skin_patch(image: Image, place: Place, rng: np.random.Generator) -> Image:
    """Cover the mouth with something round of the colour of the skin, as the back of a hand."""
    turned = place.turned(rng.uniform(-0.6, 0.6))
    radius = (turned.u / rng.uniform(1.3, 2.6)) ** 2 + (turned.v / rng.uniform(0.9, 2.0)) ** 2
    clouds = cv2.GaussianBlur(
        rng.standard_normal(image.shape[:2]).astype(np.float32), (0, 0), place.half * 0.6
    )
    shade = (1 + rng.uniform(0, 0.05) * clouds / clouds.std()) * (1 - 0.25 * radius.clip(0, 1))
    color = place.skin(image) * rng.uniform(0.75, 1.15)
    return _blend(image, np.clip((1 - radius) * place.half, 0, 1), shade[..., None] * color)


def fingers(image: Image, place: Place, rng: np.random.Generator) -> Image:
    """Cover the mouth with three to five fingers side by side."""
    turned = place.turned(rng.uniform(-np.pi / 2, np.pi / 2))
    count, radius, length = rng.integers(3, 6), rng.uniform(0.35, 0.55), rng.uniform(1.6, 2.6)
    color = place.skin(image) * rng.uniform(0.8, 1.1)
    for number in range(count):
        along = np.maximum(np.abs(turned.u - rng.uniform(-0.3, 0.3)) - length, 0)
        across = turned.v - (number - (count - 1) / 2) * 1.9 * radius
        distance = np.hypot(along, across) / radius
        shade = 0.6 + 0.45 * np.sqrt(np.clip(1 - distance**2, 0.05, 1))
        cover = np.clip((1.05 - distance) * radius * place.half, 0, 1)
        image = _blend(image, cover, shade[..., None] * color)
    return image


def microphone(image: Image, place: Place, rng: np.random.Generator) -> Image:
    """Hold a round, dark microphone with its stick before the mouth."""
    size, mesh, lean = rng.uniform(1.1, 1.8), rng.uniform(0.1, 0.25), rng.uniform(-0.4, 0.4)
    cover = np.clip((1 - np.hypot(place.u, place.v) / size) * place.half, 0, 1)
    stick = (np.abs(place.u - place.v * lean) < 0.35 * size) & (place.v > 0)
    glance = np.exp(
        -((place.u + 0.4 * size) ** 2 + (place.v + 0.4 * size) ** 2) / (0.3 * size) ** 2
    )
    grid = 1 + 0.35 * np.sin(place.u / mesh) * np.sin(place.v / mesh)
    return _blend(image, np.maximum(cover, stick), rng.uniform(15, 90) * grid + 60 * glance)


def mask(image: Image, place: Place, rng: np.random.Generator) -> Image:
    """Put on a mask with folds."""
    cover = (place.v > -rng.uniform(1.0, 1.6)) & (place.v < 2.2) & (np.abs(place.u) < 2.4)
    folds = rng.uniform(0, 0.08) * np.sign(np.sin(place.v / 0.22 + rng.uniform(0, 6)))
    grey = rng.uniform(60, 240) * (1 + folds) * (1 - 0.12 * (place.u / 2) ** 2)
    color = grey[..., None] * rng.uniform(0.8, 1.1, 3)
    return _blend(image, cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 1), color)


def thing(image: Image, place: Place, rng: np.random.Generator) -> Image:
    """Hold some thing before the mouth: a square part of a photograph."""
    pictures = _pictures()
    picture = pictures[rng.integers(len(pictures))]
    side = int(min(picture.shape[:2]) * rng.uniform(0.15, 0.6))
    top, left = (rng.integers(0, n - side + 1) for n in picture.shape[:2])
    half = rng.uniform(1.2, 2.0)
    scale = np.float32((side - 1) / (2 * half))
    drawn = cv2.remap(
        picture[top : top + side, left : left + side],
        (place.u + half) * scale,
        (place.v + half) * scale,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return _blend(image, np.maximum(np.abs(place.u), np.abs(place.v)) < half, drawn)


def flat(image: Image, place: Place, rng: np.random.Generator) -> Image:
    """Paint a rectangle of one colour over the mouth."""
    half = rng.uniform(1.2, 2.2)
    cover = (np.abs(place.u) < half) & (np.abs(place.v) < 0.8 * half)
    return _blend(image, cover, np.ones(image.shape) * rng.uniform(0, 255, 3))


COVERS: dict[str, Paint] = {
    paint.__name__: paint for paint in (skin_patch, fingers, microphone, mask, thing, flat)
}


@cache
def _pictures() -> list[Image]:
    """Photographs of scikit-image without people."""
    from skimage import data

    names = ("brick", "grass", "gravel", "coffee", "chelsea", "moon", "rocket")
    pictures = [getattr(data, name)() for name in names]
    return [np.dstack([p] * 3) if p.ndim == 2 else p[..., :3] for p in pictures]


def cover_mouth(
    image: Image, x: float, y: float, half: float, kind: str, rng: np.random.Generator
) -> Image:
    """Draw one of ``COVERS`` before the mouth at (x, y), whose half width is ``half`` px.

    ``image`` is RGB (H, W, 3) or grey (H, W) uint8, as is the result.
    """
    colored = np.dstack([image] * 3) if image.ndim == 2 else image
    painted = COVERS[kind](colored.astype(np.float32), Place(image, x, y, half), rng)
    painted = painted + rng.standard_normal(painted.shape) * rng.uniform(0, 3)
    pixels = np.asarray(painted.clip(0, 255), np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if image.ndim == 2 else pixels


def fit() -> np.ndarray:
    """Fit the weights (325,) of ``avsr.face.readability.measure_likeness``."""
    from avsr.face.readability import describe_looks

    rng = np.random.default_rng(0)
    mouths = _synthetic_mouths()
    good = np.concatenate([mouths, _vary(mouths, rng)])
    behind = np.concatenate([_vary(mouths, rng) for _ in range(COVERS_OF_EACH)])
    places = rng.normal(47.5, 4, (len(behind), 2))
    kinds = rng.choice(list(COVERS), len(behind))
    covered = [
        cover_mouth(mouth, x, y, rng.uniform(21, 32), kind, rng)
        for mouth, (x, y), kind in zip(behind, places, kinds, strict=True)
    ]
    return _regress(describe_looks(good), describe_looks(np.stack(covered)))


def _synthetic_mouths() -> Image:
    """Mouths of all identities of the training split, which speak some words."""
    from avsr.synthetic import make_utterance, visemes
    from avsr.synthetic.faces import make_identity, render_mouth

    utterances = [make_utterance(9, "train", code, 0) for code in ("en", "de", "fr", "ar", "ru")]
    mouths = []
    for number in range(IDENTITIES):
        rng = np.random.default_rng(number)
        said = utterances[number % len(utterances)]
        moves = visemes.mouth_trajectory(said.phones, said.num_frames, rng, language=said.language)
        moves = moves[:: max(1, len(moves) // FRAMES_OF_EACH)][:FRAMES_OF_EACH]
        mouths.append(render_mouth(make_identity(f"train-{number:03d}"), moves, rng))
    return np.concatenate(mouths)


def _vary(mouths: Image, rng: np.random.Generator) -> Image:
    """Vary mouths as real crops do: position, size, sharpness, light, shadow, beard and noise."""
    varied = []
    for mouth in mouths:
        matrix = cv2.getRotationMatrix2D((47.5, 47.5), rng.normal(0, 5), rng.uniform(0.85, 1.18))
        matrix[0] = matrix[0] * rng.uniform(0.75, 1.05)  # narrower, as of a head that is turned
        matrix[:, 2] = 47.5 - matrix[:, :2] @ (47.5, 47.5) + rng.normal(0, 3, 2)
        crop = cv2.warpAffine(mouth, matrix, (96, 96), borderMode=cv2.BORDER_REPLICATE)
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        shade = _beard(rng) * _shadow(rng) * rng.uniform(0.4, 1.2)
        crop = np.asarray(crop, np.float32) * shade + rng.normal(0, 10)
        if rng.random() < 0.4:
            crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 2.5))
        varied.append((crop + rng.standard_normal(crop.shape) * rng.uniform(0, 4)).clip(0, 255))
    return np.array(varied, np.uint8)


def _shadow(rng: np.random.Generator) -> Image:
    """Light (96, 96) from one side: a third of the faces are half in shadow."""
    place = Place(np.zeros((96, 96)), 47.5, 47.5, 24, rng.uniform(-np.pi, np.pi))
    if rng.random() < 0.67:
        return 1 + rng.uniform(0, 0.15) * place.u
    edge = np.tanh((place.u - rng.uniform(-1, 1)) / rng.uniform(0.1, 1.0))
    return np.asarray(1 - rng.uniform(0.3, 0.9) * (1 - edge) / 2)


def _beard(rng: np.random.Generator) -> Image:
    """Darken (96, 96) the upper lip, or all around the mouth, of a quarter of the faces."""
    if rng.random() < 0.75:
        return np.ones((96, 96))
    place = Place(np.zeros((96, 96)), 47.5, 47.5, 24)
    hair = np.exp(-((place.u / 1.2) ** 4) - ((place.v + 0.55) / 0.3) ** 4)
    if rng.random() < 0.5:
        chin = 1 / (1 + np.exp(8 * (np.hypot(place.u / 2.2, (place.v - 0.3) / 1.9) - 1)))
        lips = 1 / (1 + np.exp(8 * (np.hypot(place.u / 1.1, place.v / 0.5) - 1)))
        hair = np.maximum(hair, chin * (1 - lips))
    grain = cv2.GaussianBlur(rng.standard_normal((96, 96)), (0, 0), rng.uniform(0.5, 1.2))
    return np.asarray(1 - hair * (rng.uniform(0.1, 0.6) + 0.06 * grain / grain.std()))


def _regress(good: Image, covered: Image) -> np.ndarray:
    """Weights and bias of a logistic regression in which both classes weigh the same."""
    from scipy.optimize import minimize

    features = np.concatenate([good, covered]).astype(np.float64)
    mean = features.mean(0)
    centred = features - mean
    signs = np.repeat([1.0, -1.0], [len(good), len(covered)])
    shares = np.repeat([0.5 / len(good), 0.5 / len(covered)], [len(good), len(covered)])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (centred @ weights[:-1] + weights[-1])
        pull = -shares * signs / (1 + np.exp(margins))
        gradient = np.append(centred.T @ pull + RIDGE * weights[:-1], pull.sum())
        penalty = RIDGE * (weights[:-1] ** 2).sum() / 2
        return (shares * np.logaddexp(0, -margins)).sum() + penalty, gradient

    start = np.zeros(centred.shape[1] + 1)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return np.append(best[:-1], best[-1] - mean @ best[:-1]).astype(np.float32)


def measure(runs: int = 1, **options: Any) -> dict[str, Any]:
    """Share of frames that are flagged as not readable, of good and of covered clips."""
    clips = {"examples": sorted(Path("demo/examples").glob("*.mp4"))}
    if "AVSR_GRID" in os.environ:
        clips["grid"] = sorted(Path(os.environ["AVSR_GRID"]).glob("valid/*.mp4"))[:GRID_CLIPS]
    shares: dict[str, dict[str, float]] = {}
    for source, paths in clips.items():
        for kind in ("nothing", *COVERS, "black"):
            flags = np.concatenate([_flags(path, kind) for path in paths])
            shares.setdefault(source, {})[kind] = round(float(flags.mean()), 4)
            print(f"{source:10}{kind:12}{flags.mean():8.1%} of {len(flags)}", file=sys.stderr)
    return shares


def _flags(path: Path, kind: str) -> Image:
    """Whether each frame of a clip is flagged, with something before the mouth for 1 s."""
    from avsr import face, media

    frames = list(media.read_frames(path))
    clean = face.track_mouth(frames)
    if kind == "nothing":
        return ~face.is_readable(clean)
    part = slice(len(frames) // 3, len(frames) // 3 + 25)
    frames[part] = list(
        _cover(frames[part], clean.landmarks[part], kind, crc32(path.name.encode()))
    )
    return ~face.is_readable(face.track_mouth(frames))[part]


def _cover(frames: list[Image], landmarks: Image, kind: str, seed: int) -> Iterator[Image]:
    from avsr.face.geometry import MOUTH

    for frame, points in zip(frames, landmarks, strict=True):
        if kind == "black":
            yield np.zeros_like(frame)
            continue
        mouth = points[MOUTH]
        x, y = mouth.mean(axis=0)
        half = float(np.hypot(*(mouth[6] - mouth[0]))) / 2
        # The same thing in all frames: it moves with the face.
        yield cover_mouth(frame, x, y, half, kind, np.random.default_rng(seed))


if __name__ == "__main__":
    from avsr.face.readability import WEIGHTS

    WEIGHTS.parent.mkdir(exist_ok=True)
    np.save(WEIGHTS, fit())
