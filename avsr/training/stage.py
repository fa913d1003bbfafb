"""One stage of a run: its batches, its Lightning trainer, and the weights that it ends with."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch.utils.data import DataLoader

from avsr.decoder import Tokenizer
from avsr.errors import ConfigError
from avsr.runtime.interrupts import end_with_parent
from avsr.training.batches import BatchPlan, length_batches, plan_batches
from avsr.training.checkpoints import (
    BrokenFileError,
    WholeCheckpoints,
    find_checkpoint,
    load_tensors,
    step_checkpoints,
)
from avsr.training.collate import Batch, BatchLoader, BatchMaker, TrainingBatches
from avsr.training.config import StageConfig, TrainConfig
from avsr.training.dataset import Utterances
from avsr.training.distributed import full_tensor
from avsr.training.metrics_log import History, make_loggers
from avsr.training.objectives import OBJECTIVES
from avsr.training.run_inputs import RunInputs

METRICS = "metrics.csv"  # in the folder of a stage


def run_stage(
    config: TrainConfig, number: int, inputs: RunInputs, folder: Path, workers: int
) -> None:
    """Train the network through one stage, in place, from the last checkpoint if there is one.

    Args:
        config: Settings of the run.
        number: Index of the stage.
        inputs: Data and network.
        folder: Folder of the stage, for checkpoints and logs.
        workers: Processes that make batches.

    Raises:
        KeyboardInterrupt: Training was interrupted.
    """
    stage, model = config.stages[number], inputs.model
    checkpoint, first = find_checkpoint(folder)
    trainer = make_trainer(config, stage, inputs, folder)
    loader = training_loader(config, number, inputs, trainer, first, workers)
    # FSDP cannot be undone: shard a copy, so that the next stage has an unsharded network.
    trained = copy.deepcopy(model) if config.fsdp else model
    task = OBJECTIVES[stage.objective](trained, stage, config, inputs.train_data)
    try:
        trainer.fit(task, loader, validation_loader(config, stage, inputs), ckpt_path=checkpoint)
    except SystemExit as end:  # so Lightning ends after Ctrl-C, with the status of an error
        raise KeyboardInterrupt from end
    if config.fsdp:
        model.load_state_dict({name: full_tensor(v) for name, v in trained.state_dict().items()})
    if config.select_best:
        model.load_state_dict(average_checkpoints([folder / "best.ckpt"]))
    elif config.average_checkpoints > 1:
        newest = step_checkpoints(folder)[-config.average_checkpoints :]
        model.load_state_dict(average_checkpoints(sorted(newest)))


def make_trainer(
    config: TrainConfig, stage: StageConfig, inputs: RunInputs, folder: Path
) -> lightning.Trainer:
    """Make the Lightning trainer of a stage, with its checkpoints and loggers."""
    checkpoints = ModelCheckpoint(
        folder,
        filename="{step}",
        every_n_train_steps=config.checkpoint_every,
        save_top_k=config.average_checkpoints,
        monitor="step",
        mode="max",
        enable_version_counter=False,
        save_last=True,
    )
    history = History(folder / METRICS)
    callbacks: list[Callback] = [history, checkpoints, RichProgressBar(refresh_rate=20)]
    if config.select_best:
        best = ModelCheckpoint(
            folder, "best", "valid/wer", enable_version_counter=False, save_on_train_epoch_end=False
        )
        callbacks.append(best)
    val_check_interval = None
    if inputs.valid_data:
        val_check_interval = config.validate_every * config.gradient_accumulation_steps
    return lightning.Trainer(
        max_steps=stage.updates,
        accelerator="auto",
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=strategy(config),
        accumulate_grad_batches=config.gradient_accumulation_steps,
        default_root_dir=folder,
        precision=config.precision,
        gradient_clip_val=1.0,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=make_loggers(folder),
        val_check_interval=val_check_interval,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )


def strategy(config: TrainConfig) -> Strategy | str:
    """Return the Lightning strategy by which the processes share the work."""
    if config.processes == 1:
        return "auto"
    if config.fsdp:
        return ModelParallelStrategy(config.processes, 1, save_distributed_checkpoint=False)
    # A batch of audio alone leaves the visual front end without gradients.
    return "ddp_find_unused_parameters_true"


def stage_plans(
    config: TrainConfig,
    number: int,
    data: Utterances,
    pool: np.ndarray,
    limit: int | None = None,
) -> list[BatchPlan]:
    """Return the batch plans of stage ``number``, one per update, or of its first ``limit``."""
    stage = config.stages[number]
    updates = stage.updates if limit is None else min(limit, stage.updates)
    video_frames = stage.batch_frames if config.caches(stage) else stage.video_batch_frames
    return list(
        plan_batches(
            data.lengths,
            data.has_video,
            pool,
            stage.modalities,
            {"av": video_frames, "audio": stage.batch_frames, "video": video_frames},
            [config.seed, number],
            updates,
            config.micro_batches,
        )
    )


def training_loader(
    config: TrainConfig,
    number: int,
    inputs: RunInputs,
    trainer: lightning.Trainer,
    first: int,
    workers: int,
) -> DataLoader[Batch]:
    """Make the loader of the micro-batches of one process, from step ``first`` on."""
    assert inputs.model.tokenizer is not None
    make_batch = BatchMaker(
        inputs.train_data,
        inputs.model.tokenizer,
        inputs.noises,
        config.stages[number],
        [config.seed, number, 7],
        True,
        inputs.train_data.phone_ids,
        config.visual_corruption_probability,
    )
    batches = TrainingBatches(
        stage_plans(config, number, inputs.train_data, inputs.pool),
        make_batch,
        first,
        rank=trainer.global_rank,
        processes=trainer.world_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
    )
    return BatchLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_start_loader,
        prefetch_factor=4 if workers else None,
    )


def _start_loader(number: int) -> None:
    end_with_parent()


def validation_loader(
    config: TrainConfig, stage: StageConfig, inputs: RunInputs
) -> DataLoader[Batch] | None:
    """Make the loader of the validation batches of a stage; None without validation data."""
    if inputs.valid_data is None:
        return None
    assert inputs.model.tokenizer is not None
    batches = validation_batches(
        config, stage, inputs.model.tokenizer, inputs.valid_data, inputs.train_data.phone_ids
    )
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def validation_batches(
    config: TrainConfig,
    stage: StageConfig,
    tokenizer: Tokenizer,
    data: Utterances,
    phone_ids: Mapping[str, int],
) -> list[Batch]:
    """Make clean validation batches of every modality of a stage, the same ones every time.

    Args:
        config: Settings of the run.
        stage: Settings of the stage.
        tokenizer: Tokenizer of the network.
        data: Validation data.
        phone_ids: Id of each phone in the training data.

    Returns:
        Batches of up to ``validation_utterances`` utterances per modality.
    """
    clean = dataclasses.replace(stage, noise_probability=0.0)
    make_batch = BatchMaker(data, tokenizer, {}, clean, [config.seed, 8], False, phone_ids)
    rng = np.random.default_rng([config.seed, 9])
    per_language = max(1, config.validation_utterances // len(config.languages))
    sample: list[int] = []
    for language in range(len(config.languages)):
        indices = np.flatnonzero(data.language_ids == language)
        sample += rng.permutation(indices)[:per_language].tolist()
    pool = np.array(sample)
    batches: list[Batch] = []
    for modality in (name for name, share in stage.modalities.items() if share > 0):
        usable = pool if modality == "audio" else pool[data.has_video[pool]]
        for batch in length_batches(data.lengths, usable, stage.video_batch_frames, rng):
            batches.append(make_batch(BatchPlan(len(batches), modality, batch)))
    return batches


def average_checkpoints(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the mean of the network's weights and batch statistics over Lightning checkpoints."""
    sums: dict[str, torch.Tensor] = {}
    for path in paths:
        try:
            state = load_tensors(path)["state_dict"]
        except (BrokenFileError, LookupError) as error:
            raise ConfigError(
                f"{path} is broken: delete {path.parent}, to train this stage anew"
            ) from error
        for name, value in state.items():
            if name.startswith("model."):
                key = name.removeprefix("model.")
                sums[key] = sums[key] + value if key in sums else value.clone()
    return {
        name: value / len(paths) if value.is_floating_point() else value // len(paths)
        for name, value in sums.items()
    }
