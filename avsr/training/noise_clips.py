"""Noise for training: a pool of clips per kind, drawn once before the first step."""

from collections.abc import Iterable, Sequence

import numpy as np

from avsr.augmentation.noise_sources import NoiseCorpora, Utterances, open_noise


def make_noises(
    utterances: Utterances, kinds: Iterable[str], seed: int
) -> dict[str, Sequence[np.ndarray]]:
    """Draw the noise clips of a training.

    ``babble`` is the mean of 30 random utterances and ``speech`` one utterance; every other kind is
    a file or folder, from whose sound files (at any depth) random pieces are cut.

    Args:
        utterances: The training data.
        kinds: Kinds of noise.
        seed: The clips of a kind depend on this and on the kind only.

    Returns:
        Clips (N,) float32 by kind, 10 s at most; mixing repeats them to the length of the speech.

    Raises:
        ConfigError: A kind is unknown, or its folder holds no sound.
    """
    corpora = NoiseCorpora(utterances=utterances, split="train")
    return {
        kind: open_noise(kind, corpora).sample_pool(np.random.default_rng([seed, *kind.encode()]))
        for kind in sorted(set(kinds))
    }
