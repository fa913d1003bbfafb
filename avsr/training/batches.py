"""Which utterances make up the batch of a training step: a function of the seed and the step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avsr.errors import ConfigError

BUCKET_BATCHES = 40  # batches whose utterances are sorted by length together


@dataclass(frozen=True)
class BatchPlan:
    """The utterances of one step and the modality that the step uses."""

    step: int
    modality: str
    indices: tuple[int, ...]

    def part(self, number: int, parts: int) -> tuple[int, ...]:
        """The utterances of one of ``parts`` equal parts, which processes and passes share."""
        return self.indices[number::parts]

    def num_frames(self, lengths: np.ndarray) -> int:
        """Frames with padding; ``lengths`` (N,) frames of every utterance."""
        return len(self.indices) * int(lengths[list(self.indices)].max())


def length_batches(
    lengths: np.ndarray, pool: np.ndarray, batch_frames: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """One epoch over ``pool`` in random batches of similar length, <= batch_frames with padding.

    ``lengths`` (N,) frames of every utterance, ``pool`` indices into it (an index may repeat).
    """
    order = rng.permutation(pool)
    per_bucket = max(1, int(BUCKET_BATCHES * batch_frames / max(1.0, float(lengths[pool].mean()))))
    batches: list[tuple[int, ...]] = []
    for start in range(0, len(order), per_bucket):
        bucket = order[start : start + per_bucket]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batch: list[int] = []
        for index in bucket.tolist():
            # Sorted ascending, so the newcomer is the longest and decides the padding.
            if batch and (len(batch) + 1) * lengths[index] > batch_frames:
                batches.append(tuple(batch))
                batch = []
            batch.append(index)
        batches.append(tuple(batch))
    return [batches[i] for i in rng.permutation(len(batches))]


def _endless(
    lengths: np.ndarray, pool: np.ndarray, batch_frames: int, seed: Sequence[int], parts: int
) -> Iterator[tuple[int, ...]]:
    epoch = 0
    while True:
        rng = np.random.default_rng([*seed, epoch])
        batches = length_batches(lengths, pool, batch_frames, rng)
        # The few that are left over at the end of a bucket may be too few to share.
        kept = [batch for batch in batches if len(batch) >= parts]
        if not kept:
            raise ConfigError(
                f"batches of {batch_frames} frames cannot be cut into {parts} parts (processes "
                "times passes): raise batch_frames and video_batch_frames"
            )
        yield from kept
        epoch += 1


def plan_batches(
    lengths: np.ndarray,
    has_video: np.ndarray,
    pool: np.ndarray,
    modalities: Mapping[str, float],
    batch_frames: Mapping[str, int],
    seed: Sequence[int],
    updates: int,
    parts: int = 1,
) -> Iterator[BatchPlan]:
    """The plans of steps 0 .. updates - 1, each of ``parts`` utterances at least.

    Batches with lips are drawn from utterances with video only, batches of sound from all.
    ``batch_frames`` gives the most frames of a batch for each modality.
    """
    names = [name for name, probability in modalities.items() if probability > 0]
    weights = np.array([modalities[name] for name in names])
    sources = {
        name: _endless(
            lengths,
            pool if name == "audio" else pool[has_video[pool]],
            batch_frames[name],
            [*seed, i],
            parts,
        )
        for i, name in enumerate(names)
    }
    rng = np.random.default_rng([*seed, len(names)])
    for step in range(updates):
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        yield BatchPlan(step, name, next(sources[name]))
