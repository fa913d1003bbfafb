"""The lips of training batches: read from the corpus or from stored features, and augmented."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avsr.augmentation import LIPS_MASK, Lips, corrupt_lips, drop_lips, sample_corruptions
from avsr.augmentation.random_corruption import ClipCorruption
from avsr.corpus import StoredSample
from avsr.encoder import fill_blank, normalize_mouth, random_crop_flip
from avsr.rates import FPS
from avsr.training.config import StageConfig

ATTEMPTS = 5  # draws of an utterance that says something else


@dataclass(frozen=True, kw_only=True)
class VisualFeatures:
    """Stored outputs of a frozen visual front end."""

    arrays: Sequence[np.ndarray]
    """(variants, T, C) float16 per utterance; T is 0 without video."""
    seed: int = 0
    """With which ``cache_visual_features`` computed them."""
    corruption_probability: float = 0.0
    """The same."""

    def lips(self, index: int, variant: int) -> Lips:
        """Return a variant of an utterance, with what its corruptions have left."""
        features = torch.from_numpy(self.arrays[index][variant].astype(np.float32))
        corruptions = variant_corruptions(
            self.seed, index, variant, len(features), self.corruption_probability
        )
        return corrupt_lips(Lips.clear(features), corruptions, is_done=True)


def draw_corruptions(
    length: int, probability: float, rng: np.random.Generator
) -> tuple[ClipCorruption, ...]:
    """Draw corruptions of a clip of ``length`` frames, with the given probability."""
    if probability == 0.0 or rng.random() >= probability:
        return ()
    return sample_corruptions(length, rng)


def variant_corruptions(
    seed: int, index: int, variant: int, length: int, probability: float
) -> tuple[ClipCorruption, ...]:
    """Return the corruptions of a stored variant of an utterance; variant 0 has none."""
    if variant == 0:
        return ()
    return draw_corruptions(length, probability, np.random.default_rng([seed, index, variant]))


def corrupt_mouth(mouth: Tensor, corruptions: Sequence[ClipCorruption]) -> Lips:
    """Corrupt mouth crops (T, 96, 96) uint8; blank frames are filled, as in inference."""
    lips = Lips.clear(mouth)
    if not corruptions:
        return lips
    lips = corrupt_lips(lips, corruptions)
    return dataclasses.replace(lips, frames=fill_blank(lips.frames))


class Utterances(Protocol):
    """What is read from the training data."""

    samples: Sequence[StoredSample]
    has_video: np.ndarray
    visual: VisualFeatures | None

    def mouth(self, index: int) -> Tensor:
        """Read the mouth crops (T, 96, 96) uint8 of an utterance."""


class LipsReader:
    """Reads lips, as pixels or stored features, and augments them.

    Args:
        utterances: Training data.
        stage: Settings of the stage.
        augment: Whether to augment.
        corruption_probability: Fraction of the clips whose pixels are corrupted.
    """

    def __init__(
        self,
        utterances: Utterances,
        stage: StageConfig,
        augment: bool,
        corruption_probability: float = 0.0,
    ) -> None:
        self.utterances = utterances
        self.stage = stage
        self.augment = augment
        self.corruption_probability = corruption_probability
        self.with_video = np.flatnonzero(utterances.has_video)

    def read(self, index: int, length: int, modality: str, rng: np.random.Generator) -> Lips:
        """Return the lips of an utterance of ``length`` frames in a batch of ``modality``.

        Pixels are normalized, (T, 88, 88). What would take all that is left of an utterance, such
        as lips of another one, is done only to those that have sound, too.
        """
        stage, has_sound = self.stage, modality == "av"
        if not self.augment:
            return self.load(index, rng)
        if has_sound and happens(stage.wrong_lips_probability, rng):
            lips = self.load_other(index, length, rng)
        else:
            lips = self.load(index, rng)
        if has_sound and happens(stage.lips_drop_probability, rng):
            lips = drop_lips(lips, rng)
        if rng.random() < stage.mask_probability:
            lips = mask_lips(lips, rng)
        if rng.random() < stage.offset_probability:
            max_shift = round(stage.offset_ms / 1000 * FPS)
            lips = lips.shift(int(rng.integers(-max_shift, max_shift + 1)))
        return lips

    def load(self, index: int, rng: np.random.Generator) -> Lips:
        """Read lips; in training with a random crop, flip and corruption."""
        visual = self.utterances.visual
        if visual is not None:
            variants = len(visual.arrays[index])
            return visual.lips(index, int(rng.integers(variants)) if self.augment else 0)
        mouth = self.utterances.mouth(index)
        if not self.augment:
            return Lips.clear(normalize_mouth(mouth))
        corruptions = draw_corruptions(len(mouth), self.corruption_probability, rng)
        lips = corrupt_mouth(mouth, corruptions)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
        frames = normalize_mouth(random_crop_flip(lips.frames, generator))
        return dataclasses.replace(lips, frames=frames)

    def load_other(self, index: int, length: int, rng: np.random.Generator) -> Lips:
        """Read ``length`` frames of lips that say something else, if such an utterance is found."""
        samples = self.utterances.samples
        others = rng.choice(self.with_video, ATTEMPTS).tolist()
        text = samples[index].record.text
        other = next((other for other in others if samples[other].record.text != text), index)
        lips = self.load(other, rng)
        if other == index:
            return lips
        lips = lips.loop(length, int(rng.integers(len(lips.frames))))
        return dataclasses.replace(lips, clarity=torch.zeros(length))


def happens(probability: float, rng: np.random.Generator) -> bool:
    """Return True with the given probability; 0 draws nothing, for the sake of old recipes."""
    return probability > 0 and rng.random() < probability


def mask_lips(lips: Lips, rng: np.random.Generator) -> Lips:
    """Set a span of the frames (T, ...) to zero, their mean."""
    width = int(rng.integers(min(LIPS_MASK, len(lips.frames) // 6) + 1))
    first = int(rng.integers(len(lips.frames) - width + 1))
    return lips.replace(first, first + width, 0.0)
