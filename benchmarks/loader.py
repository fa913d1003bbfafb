"""Utterances per second of loading with two workers, and of training ``tiny`` on two cores."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from avsr.model.directory import load_directory

FRAMES = {"audio": 1600, "video": 800}  # frames of a batch
BATCHES = 12
UTTERANCES = 450


def measure(runs: int) -> dict[str, Any]:
    """Return both rates and their ratio, for audio and for video from pixels."""
    import torch

    from avsr.synthetic import synthesize

    torch.set_num_threads(2)
    result: dict[str, Any] = {"case": "loader of 2 workers, and training of tiny on 2 cores"}
    with tempfile.TemporaryDirectory() as name:
        hours = UTTERANCES * 1.66 / 3600
        synthesize(Path(name), hours=hours, valid_hours=0, clips=0, seed=1, workers=2)
        for modality in FRAMES:
            loaded, trained = rates(Path(name), modality, runs)
            result[f"{modality}_loaded_per_second"] = round(loaded, 1)
            result[f"{modality}_trained_per_second"] = round(trained, 1)
            result[f"{modality}_ratio"] = round(loaded / trained, 1)
    return result


def rates(corpus: Path, modality: str, runs: int) -> tuple[float, float]:
    """Return the utterances per second of loading, and of training."""
    import torch
    from torch.utils.data import DataLoader

    from avsr.hub import find_model
    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.training.batches import plan_batches
    from avsr.training.collate import BatchMaker, TrainingBatches
    from avsr.training.config import CorpusConfig, StageConfig, TrainConfig
    from avsr.training.dataset import read_utterances
    from avsr.training.noise_clips import make_noises
    from avsr.training.optimizer import make_optimizer
    from avsr.training.recognition_task import RecognitionTask

    corpora = (CorpusConfig(path=str(corpus)),)
    data, pool = read_utterances(corpora, MUAVIC_LANGUAGES)
    stage = StageConfig(name="all", updates=BATCHES, modalities={modality: 1.0})
    config = TrainConfig(out="", corpora=corpora, stages=(stage,))
    plans = list(
        plan_batches(data.lengths, data.has_video, pool, stage.modalities, FRAMES, [1], 3 * BATCHES)
    )
    model = load_directory(find_model(None))
    assert model.tokenizer is not None
    noises = make_noises(data, stage.noises, 1)
    make = BatchMaker(data, model.tokenizer, noises, stage, [1], True, data.phone_ids)
    loaded, trained = [], []
    for _ in range(runs):
        loader = DataLoader(TrainingBatches(plans, make), batch_size=None, num_workers=2)
        batches = iter(loader)
        ready = [next(batches)]  # the workers have started
        start = time.perf_counter()
        ready += list(batches)
        seconds = time.perf_counter() - start
        loaded.append(sum(len(batch.lengths) for batch in ready[1:]) / seconds)
        task = RecognitionTask(model, stage, config, data)
        task.set_modes()
        optimizer = make_optimizer(task, "adamw", 1e-6)
        for number, batch in enumerate(ready[: 1 + BATCHES]):
            if number == 1:  # the first warms up
                start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                loss = task.loss(batch)[0]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        seconds = time.perf_counter() - start
        trained.append(sum(len(batch.lengths) for batch in ready[1 : 1 + BATCHES]) / seconds)
    return statistics.median(loaded), statistics.median(trained)
