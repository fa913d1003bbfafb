"""Outputs of a frozen visual front end, computed once and stored on disk."""

import hashlib
import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from avsr.encoder import normalize_mouth, random_crop_flip
from avsr.model.network import AVSRModel
from avsr.runtime.atomic_files import atomic_write, make_folder
from avsr.training.dataset import Utterances
from avsr.training.lips import corrupt_mouth, variant_corruptions

logger = logging.getLogger(__name__)

BATCH_FRAMES = 1000  # frames of one pass through the front end


def cache_visual_features(
    model: AVSRModel,
    data: Utterances,
    path: Path,
    *,
    variants: int,
    seed: int,
    corruption_probability: float = 0.0,
) -> list[np.ndarray]:
    """Compute the outputs of the visual front end for all utterances, or read stored ones.

    They are stored in ``<path>-visual-<hash of the front end>.npy``, where a resumed run and later
    stages read them.

    Args:
        model: Network with the front end.
        data: Utterances.
        path: Folder and first part of the name of the file.
        variants: Variants per utterance: the centre crop, then random crops and flips.
        seed: Seed of crops, flips and corruptions.
        corruption_probability: Fraction of the random crops that are corrupted.

    Returns:
        (variants, T, C) float16 per utterance; T is 0 without video.
    """
    file = path.with_name(f"{path.name}-visual-{_fingerprint(model)}.npy")
    lengths = np.where(data.has_video, data.lengths, 0)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    channels = model.encoder.frontend.out_dim
    shape = variants, int(edges[-1]), channels
    stored = _read(file, shape)
    if stored is None:
        features = np.zeros(shape, np.float16)
        _compute(model, data, features, edges, seed, corruption_probability)
        make_folder(path.parent)
        with atomic_write(file) as temporary, temporary.open("wb") as output:
            np.save(output, features)
        stored = np.load(file, mmap_mode="r")
    return [stored[:, a:b] for a, b in pairwise(edges)]


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map stored features into memory; None if there are none, or if they are damaged."""
    if not file.exists():
        return None
    try:
        stored = np.load(file, mmap_mode="r")
        if stored.shape != shape or stored.dtype != np.float16:
            raise ValueError(f"its shape is {stored.shape}, not {shape}")
    except (ValueError, EOFError) as error:
        logger.warning("%s is broken (%s): it is made anew", file, " ".join(str(error).split()))
        return None
    return stored


def _fingerprint(model: AVSRModel) -> str:
    digest = hashlib.sha256()
    for value in model.encoder.frontend.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _compute(
    model: AVSRModel,
    data: Utterances,
    features: np.ndarray,
    edges: np.ndarray,
    seed: int,
    corruption_probability: float,
) -> None:
    """Fill ``features`` (variants, frames, C); utterance i is at ``edges[i]:edges[i + 1]``."""
    frontend = model.encoder.frontend
    training = frontend.training
    frontend.eval()
    total, done = int(data.has_video.sum()), 0
    for batch in _batches(data):
        crops = [data.mouth(i) for i in batch]
        longest = int(data.lengths[batch[-1]])
        for variant in range(len(features)):
            mouths = torch.zeros(len(batch), longest, 88, 88)
            padding_mask = torch.ones(len(batch), longest, dtype=torch.bool)
            for row, (i, crop) in enumerate(zip(batch, crops, strict=True)):
                if variant:
                    corruptions = variant_corruptions(
                        seed, i, variant, int(data.lengths[i]), corruption_probability
                    )
                    generator = torch.Generator().manual_seed(seed * 1_000_003 + i * 97 + variant)
                    crop = random_crop_flip(corrupt_mouth(crop, corruptions).frames, generator)
                mouths[row, : len(crop)] = normalize_mouth(crop)
                padding_mask[row, : len(crop)] = False
            mouths, padding_mask = mouths.to(model.device), padding_mask.to(model.device)
            with torch.autocast(model.device.type, torch.bfloat16):
                out = frontend(mouths, padding_mask).float().cpu().numpy()
            for row, (i, crop) in enumerate(zip(batch, crops, strict=True)):
                features[variant, edges[i] : edges[i] + len(crop)] = out[row, : len(crop)]
        last_done, done = done, done + len(batch)
        if done * 10 // total != last_done * 10 // total:
            print(f"visual features: {100 * done // total} %", flush=True)
    frontend.train(training)


def _batches(data: Utterances) -> Iterator[list[int]]:
    """Yield utterances with video in batches, shortest first."""
    order = [i for i in np.argsort(data.lengths, kind="stable").tolist() if data.has_video[i]]
    batch: list[int] = []
    for position, index in enumerate(order):
        batch.append(index)
        is_full = (len(batch) + 1) * int(data.lengths[index]) >= BATCH_FRAMES
        if is_full or position + 1 == len(order):
            yield batch
            batch = []
