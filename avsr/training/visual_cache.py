"""Outputs of a frozen visual front end, computed once and kept on disk."""

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from avsr.encoder import normalize_mouth, random_crop_flip
from avsr.model.network import AVSRModel
from avsr.training.collate import damaged
from avsr.training.dataset import Utterances

BATCH_FRAMES = 1000  # frames of one pass through the front end


def cache_visual_features(
    model: AVSRModel,
    data: Utterances,
    path: Path,
    *,
    variants: int,
    seed: int,
    damage: float = 0.0,
) -> list[np.ndarray]:
    """Per utterance (variants, T, C) float16; shape (variants, 0, C) without video.

    Variant 0 is the centre crop, the others are random crops and flips, a share ``damage`` of them
    damaged. The arrays are kept in
    ``<path>-visual-<hash of the front end>.npy``, so that a resumed run and later stages find them.
    """
    file = path.with_name(f"{path.name}-visual-{_fingerprint(model)}.npy")
    lengths = np.where(data.has_video, data.lengths, 0)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    channels = model.encoder.frontend.out_dim
    if not file.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        features = np.zeros((variants, int(edges[-1]), channels), np.float16)
        _compute(model, data, features, edges, seed, damage)
        temporary = file.with_suffix(f".{os.getpid()}.npy")
        np.save(temporary, features)
        os.replace(temporary, file)
    features = np.load(file, mmap_mode="r")
    return [features[:, a:b] for a, b in pairwise(edges)]


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
    damage: float,
) -> None:
    frontend = model.encoder.frontend
    training = frontend.training
    frontend.eval()
    order = [i for i in np.argsort(data.lengths, kind="stable").tolist() if data.has_video[i]]
    batch: list[int] = []
    for position, index in enumerate(order):
        batch.append(index)
        longest = int(data.lengths[index])
        if position + 1 < len(order) and (len(batch) + 1) * longest < BATCH_FRAMES:
            continue
        crops = [data.mouth(i) for i in batch]
        for variant in range(len(features)):
            mouths = torch.zeros(len(batch), longest, 88, 88)
            padding_mask = torch.ones(len(batch), longest, dtype=torch.bool)
            for row, (i, crop) in enumerate(zip(batch, crops, strict=True)):
                if variant:
                    crop = damaged(crop, damage, np.random.default_rng([seed, i, variant]))
                    generator = torch.Generator().manual_seed(seed * 1_000_003 + i * 97 + variant)
                    crop = random_crop_flip(crop, generator)
                mouths[row, : len(crop)] = normalize_mouth(crop)
                padding_mask[row, : len(crop)] = False
            mouths, padding_mask = mouths.to(model.device), padding_mask.to(model.device)
            with torch.autocast(model.device.type, torch.bfloat16):
                out = frontend(mouths, padding_mask).float().cpu().numpy()
            for row, (i, crop) in enumerate(zip(batch, crops, strict=True)):
                features[variant, edges[i] : edges[i] + len(crop)] = out[row, : len(crop)]
        if position * 10 // len(order) != (position - len(batch)) * 10 // len(order):
            print(f"visual features: {100 * position // len(order)} %", flush=True)
        batch = []
    frontend.train(training)
