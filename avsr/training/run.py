"""A training run from a recipe: stage after stage, resumed from the last checkpoint."""

import dataclasses
import os
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from avsr.decoder import Tokenizer
from avsr.errors import ConfigError
from avsr.model import PRESETS, AVSRModel
from avsr.training.batches import BatchPlan, length_batches, plan_batches
from avsr.training.config import StageConfig, TrainConfig, read_config
from avsr.training.data import (
    Batch,
    BatchMaker,
    TrainingBatches,
    Utterances,
    make_babbles,
    read_utterances,
)
from avsr.training.module import AVSRTask
from avsr.training.visual import cache_visual_features


def train(recipe: str | os.PathLike[str], *, workers: int = 1) -> Path:
    """Train as the recipe says and return the model directory ``<out>/model``.

    Started again, it goes on after the last checkpoint. ``workers`` processes make batches.
    Raises ConfigError or CorpusError for a recipe or data that cannot be used.
    """
    config = read_config(Path(recipe))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(config.seed, verbose=False)
    train_data, pool = read_utterances(config.corpora, config.languages)
    model = initial_model(config, train_data, out)
    if config.init_frontend is not None:
        take_frontend(model, AVSRModel.load(config.init_frontend))
    babbles = make_babbles(train_data, config.seed)
    valid_data = (
        read_utterances(config.validation, config.languages)[0] if config.validation else None
    )
    for number, stage in enumerate(config.stages):
        folder = out / f"{number}-{stage.name}"
        final = folder / "final.pt"
        if final.exists():
            model.load_state_dict(torch.load(final, weights_only=True))
            continue
        for data, split, variants in (
            (train_data, "train", 1 + config.visual_variants),
            (valid_data, "valid", 1),
        ):
            if data is not None:
                data.visual = None
                if stage.train != "all":  # the front end rests
                    data.visual = cache_visual_features(
                        model, data, out / split, variants=variants, seed=config.seed
                    )
        run_stage(config, number, model, train_data, pool, valid_data, babbles, folder, workers)
        temporary = final.with_suffix(".part")
        torch.save(model.state_dict(), temporary)
        os.replace(temporary, final)
    card = f"# {out.name}\n\nTrained from `{recipe}` with seed {config.seed}.\n"
    model.eval().save(out / "model", card=card)
    return out / "model"


def initial_model(config: TrainConfig, data: Utterances, out: Path) -> AVSRModel:
    """The network that the first stage starts with: from ``init``, or a new one.

    A new one gets a tokenizer trained on the training texts, kept in the run's folder.
    """
    if config.init is not None:
        model = AVSRModel.load(config.init)
        if model.config.languages != config.languages:
            raise ConfigError(
                f"the model {config.init} is for {', '.join(model.config.languages)}, "
                f"the recipe for {', '.join(config.languages)}"
            )
        return model
    path = out / "tokenizer.model"
    if path.exists():
        tokenizer = Tokenizer.load(path)
    else:
        texts = (sample.record.text for sample in data.samples)
        tokenizer = Tokenizer.train(texts, config.vocabulary_size)
        path.write_bytes(tokenizer.model)
    if len(tokenizer) != config.vocabulary_size:
        raise ConfigError(
            f"the run's tokenizer has {len(tokenizer)} tokens, the recipe asks for "
            f"{config.vocabulary_size}; use another 'out'"
        )
    sizes = dataclasses.replace(
        PRESETS[config.preset],
        vocabulary_size=config.vocabulary_size,
        languages=config.languages,
    )
    return AVSRModel(sizes, tokenizer)


def take_frontend(model: AVSRModel, source: AVSRModel) -> None:
    """Copy the visual front end and its projection from another model of the same sizes."""
    for own, other in (
        (model.encoder.frontend, source.encoder.frontend),
        (model.encoder.video_proj, source.encoder.video_proj),
    ):
        try:
            own.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise ConfigError("init_frontend: its visual front end is of another size") from error


def run_stage(
    config: TrainConfig,
    number: int,
    model: AVSRModel,
    data: Utterances,
    pool: np.ndarray,
    valid_data: Utterances | None,
    babbles: list[np.ndarray],
    folder: Path,
    workers: int,
) -> None:
    """Train ``model`` in place through one stage, from its last checkpoint if there is one."""
    stage = config.stages[number]
    video_frames = stage.batch_frames if stage.train != "all" else stage.video_batch_frames
    frames = {"av": video_frames, "audio": stage.batch_frames, "video": video_frames}
    seed = [config.seed, number]
    plans = list(
        plan_batches(
            data.lengths, data.has_video, pool, stage.modalities, frames, seed, stage.updates
        )
    )
    checkpoints = ModelCheckpoint(
        folder,
        filename="{step}",
        every_n_train_steps=config.checkpoint_every,
        save_top_k=1,
        monitor=None,
        enable_version_counter=False,
        save_last=True,
    )
    last = folder / "last.ckpt"
    resumed = last if last.exists() else None
    first = torch.load(resumed, weights_only=True)["global_step"] if resumed else 0
    trainer = lightning.Trainer(
        max_steps=stage.updates,
        accelerator="auto",
        devices=1,
        precision=config.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        callbacks=[checkpoints, LearningRateMonitor(), RichProgressBar(refresh_rate=20)],
        logger=[TensorBoardLogger(folder, "", ""), CSVLogger(folder, "", "")],
        log_every_n_steps=50,
        val_check_interval=config.validate_every if valid_data else None,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
    assert model.tokenizer is not None
    make = BatchMaker(data, model.tokenizer, babbles, stage, [*seed, 7], augment=True)
    loader = DataLoader(
        TrainingBatches(plans, make, first),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    validation: DataLoader[Batch] | None = None
    if valid_data is not None:
        batches = validation_batches(config, stage, model.tokenizer, valid_data, babbles)
        validation = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    task = AVSRTask(model, stage, config.label_smoothing, config.seed)
    trainer.fit(task, loader, validation, ckpt_path=resumed)
    if trainer.interrupted:
        raise KeyboardInterrupt


def validation_batches(
    config: TrainConfig,
    stage: StageConfig,
    tokenizer: Tokenizer,
    data: Utterances,
    babbles: list[np.ndarray],
) -> list[Batch]:
    """Clean validation batches of every modality that the stage trains, the same each time."""
    clean = dataclasses.replace(stage, noise_probability=0.0)
    make = BatchMaker(data, tokenizer, babbles, clean, [config.seed, 8], augment=False)
    rng = np.random.default_rng([config.seed, 9])
    each = max(1, config.validation_utterances // len(config.languages))
    chosen: list[int] = []
    for language in range(len(config.languages)):
        found = np.flatnonzero(data.language_ids == language)
        chosen += rng.permutation(found)[:each].tolist()
    pool = np.array(chosen)
    batches: list[Batch] = []
    for modality in (name for name, share in stage.modalities.items() if share > 0):
        visible = pool if modality == "audio" else pool[data.has_video[pool]]
        for indices in length_batches(data.lengths, visible, stage.video_batch_frames, rng):
            batches.append(make(BatchPlan(len(batches), modality, indices)))
    return batches
