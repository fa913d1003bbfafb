"""Utterances of the training and validation corpora, read from shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avsr.corpus import StoredSample, open_shards
from avsr.errors import CorpusError
from avsr.rates import FPS
from avsr.training.config import CorpusConfig
from avsr.training.lips import VisualFeatures


class Utterances:
    """All utterances of some corpora. Audio and video stay in their shards until they are read.

    Args:
        samples: Samples of the shards.
        languages: Language codes, in the order of the classifier's outputs.
    """

    def __init__(self, samples: Sequence[StoredSample], languages: Sequence[str]) -> None:
        self.samples = samples
        self.num_languages = len(languages)
        self.language_ids = np.array([languages.index(s.record.language) for s in samples])
        self.lengths = np.array([num_frames(s) for s in samples])
        self.has_video = np.array([s.has_mouth for s in samples])
        self.phone_ids = {
            symbol: i
            for i, symbol in enumerate(
                sorted({p["phone"] for s in samples for p in s.record.phones or ()})
            )
        }
        self.visual: VisualFeatures | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def waveform(self, index: int) -> np.ndarray:
        """Read the waveform (S,) float32 in [-1, 1] of an utterance."""
        waveform = self.samples[index].decode_audio().astype(np.float32)
        waveform /= 32768.0
        return waveform

    def mouth(self, index: int) -> Tensor:
        """Read the mouth crops (T, 96, 96) uint8 of an utterance."""
        mouth = self.samples[index].decode_mouth()
        assert mouth is not None
        return torch.from_numpy(mouth[: self.lengths[index]])


def num_frames(sample: StoredSample) -> int:
    """Return the number of video frames of an utterance, from its start and end times."""
    record = sample.record
    return max(1, round((record.end - record.start) * FPS))


def read_utterances(
    corpora: Sequence[CorpusConfig], languages: Sequence[str]
) -> tuple[Utterances, np.ndarray]:
    """Read the utterances of corpora in the given languages.

    Returns:
        The utterances, and the indices that an epoch visits, in which an utterance of a repeated
        corpus occurs several times.

    Raises:
        CorpusError: A corpus has no utterances in these languages.
    """
    samples: list[StoredSample] = []
    pool: list[int] = []
    for corpus in corpora:
        first = len(samples)
        samples += [
            s
            for s in open_shards(Path(corpus.path), corpus.split)
            if s.record.language in languages
        ]
        if len(samples) == first:
            raise CorpusError(f"{corpus.path} has no {corpus.split} utterances in {languages}")
        pool += list(range(first, len(samples))) * corpus.repeat
    return Utterances(samples, languages), np.array(pool)
