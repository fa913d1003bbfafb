"""Batch plans: which utterances an update trains on, as a function of the seed and the step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avsr.errors import ConfigError

DRAWN_TOGETHER = 1000  # modalities of batches
BUCKET_BATCHES = 40  # batches whose utterances are sorted by length together


@dataclass(frozen=True)
class BatchPlan:
    """Utterances and modality of one update."""

    step: int
    modality: str
    indices: tuple[int, ...]

    def micro_batch(self, index: int, micro_batches: int) -> tuple[int, ...]:
        """Return the utterances of one of ``micro_batches`` parts of equal size."""
        return self.indices[index::micro_batches]

    def num_frames(self, lengths: np.ndarray) -> int:
        """Return the frames with padding; ``lengths`` (N,) are the frames of every utterance."""
        return len(self.indices) * int(lengths[list(self.indices)].max())


def length_batches(
    lengths: np.ndarray, pool: np.ndarray, batch_frames: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Split one epoch into random batches of utterances with similar lengths.

    Args:
        lengths: (N,) frames of every utterance.
        pool: Indices into ``lengths`` that the epoch visits; an index may repeat.
        batch_frames: Maximum number of frames of a batch, padding included. A longer utterance is
            a batch of its own.
        rng: Source of the order.

    Returns:
        Indices of the utterances of each batch.
    """
    order = rng.permutation(pool)
    per_bucket = max(1, int(BUCKET_BATCHES * batch_frames / max(1.0, float(lengths[pool].mean()))))
    batches: list[tuple[int, ...]] = []
    for start in range(0, len(order), per_bucket):
        bucket = order[start : start + per_bucket]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batch: list[int] = []
        for index in bucket.tolist():
            # Lengths ascend, so the padded length is that of the utterance to add.
            if batch and (len(batch) + 1) * lengths[index] > batch_frames:
                batches.append(tuple(batch))
                batch = []
            batch.append(index)
        batches.append(tuple(batch))
    return [batches[i] for i in rng.permutation(len(batches))]


def _endless(
    lengths: np.ndarray,
    pool: np.ndarray,
    batch_frames: int,
    seed: Sequence[int],
    micro_batches: int,
) -> Iterator[tuple[int, ...]]:
    epoch = 0
    while True:
        rng = np.random.default_rng([*seed, epoch])
        batches = length_batches(lengths, pool, batch_frames, rng)
        # The last batch of a bucket may have too few utterances to split.
        divisible = [batch for batch in batches if len(batch) >= micro_batches]
        if not divisible:
            raise ConfigError(
                f"batches of {batch_frames} frames cannot be split into {micro_batches} "
                "micro-batches (processes times gradient_accumulation_steps): raise batch_frames "
                "and video_batch_frames"
            )
        yield from divisible
        epoch += 1


def plan_batches(
    lengths: np.ndarray,
    has_video: np.ndarray,
    pool: np.ndarray,
    modalities: Mapping[str, float],
    batch_frames: Mapping[str, int],
    seed: Sequence[int],
    updates: int,
    micro_batches: int = 1,
) -> Iterator[BatchPlan]:
    """Plan the batches of a stage.

    Batches with video are drawn from utterances with video, batches of audio from all utterances.

    Args:
        lengths: (N,) frames of every utterance.
        has_video: (N,) whether an utterance has video.
        pool: Indices that an epoch visits.
        modalities: Probability of each modality.
        batch_frames: Maximum number of frames of a batch of each modality.
        seed: Seed of everything random.
        updates: Number of plans.
        micro_batches: Minimum number of utterances of a batch.

    Yields:
        The plans of steps 0 to ``updates`` - 1.

    Raises:
        ConfigError: No batch has ``micro_batches`` utterances.
    """
    names = [name for name, probability in modalities.items() if probability > 0]
    weights = np.array([modalities[name] for name in names])
    sources = {
        name: _endless(
            lengths,
            pool if name == "audio" else pool[has_video[pool]],
            batch_frames[name],
            [*seed, i],
            micro_batches,
        )
        for i, name in enumerate(names)
    }
    rng = np.random.default_rng([*seed, len(names)])
    for first in range(0, updates, DRAWN_TOGETHER):  # one draw alone costs more than its plan
        count = min(DRAWN_TOGETHER, updates - first)
        drawn = rng.choice(len(names), count, p=weights / weights.sum())
        for step, number in enumerate(drawn.tolist(), first):
            name = names[number]
            yield BatchPlan(step, name, next(sources[name]))
