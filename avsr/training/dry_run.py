"""Dry run of a recipe: build everything and try the largest batch of every stage."""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avsr.errors import ConfigError
from avsr.model.network import AVSRModel
from avsr.rates import FPS
from avsr.training.batches import BatchPlan
from avsr.training.collate import BatchMaker
from avsr.training.config import StageConfig, TrainConfig
from avsr.training.dataset import Utterances
from avsr.training.lips import VisualFeatures
from avsr.training.objectives import OBJECTIVES, read_recipe
from avsr.training.run_inputs import prepare_run
from avsr.training.stage import stage_plans

PLANNED = 100_000  # updates of a stage that are looked at; the others are like them


def dry_run(recipe: str | Path) -> None:
    """Print balance, plan and estimated time of a recipe on this machine's first device.

    Nothing is stored.

    Args:
        recipe: YAML file with the settings of the run.

    Raises:
        ConfigError: The recipe has mistakes, or a batch does not fit into memory.
        CorpusError: A corpus cannot be used.
    """
    config = read_recipe(Path(recipe))
    with tempfile.TemporaryDirectory() as folder:
        inputs = prepare_run(config, Path(folder))
    config = inputs.config
    model, data = inputs.model, inputs.train_data
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    total = 0.0
    for number, stage in enumerate(config.stages):
        plans = stage_plans(config, number, data, inputs.pool, PLANNED)
        repeats = stage.updates / len(plans)
        assert model.tokenizer is not None
        seed = [config.seed, number, 7]
        make_batch = BatchMaker(
            data, model.tokenizer, inputs.noises, stage, seed, True, data.phone_ids
        )
        data.visual = zero_features(model, data) if config.caches(stage) else None
        counts = Counter(plan.modality for plan in plans)
        seconds = 0.0
        for modality, count in counts.items():
            largest = max(
                (plan for plan in plans if plan.modality == modality),
                key=lambda plan: plan.num_frames(data.lengths),
            )
            seconds += repeats * count * time_batch(config, stage, model, make_batch, largest)
        total += seconds
        print(describe(stage, plans, data, config.processes, seconds), flush=True)
    print(f"about {_clock(total)} in all, if every batch took as long as the largest")


def zero_features(model: AVSRModel, data: Utterances) -> VisualFeatures:
    """Return zeros in the shape of ``cache_visual_features`` with one variant."""
    channels = model.encoder.frontend.out_dim
    lengths = np.where(data.has_video, data.lengths, 0)
    arrays = [np.zeros((1, length, channels), np.float16) for length in lengths]
    return VisualFeatures(arrays=arrays)


def time_batch(
    config: TrainConfig,
    stage: StageConfig,
    model: AVSRModel,
    make_batch: BatchMaker,
    plan: BatchPlan,
) -> float:
    """Return the seconds that one process takes for the passes of a plan, without an update.

    Raises:
        ConfigError: The batch does not fit into memory.
    """
    task = OBJECTIVES[stage.objective](model, stage, config, make_batch.utterances)
    task.to(model.device)
    task.set_modes()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    seconds = 0.0
    try:
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            for index in range(config.gradient_accumulation_steps):
                batch = make_batch(plan, index, config.micro_batches).to(model.device)
                with torch.autocast(model.device.type, torch.bfloat16, "bf16" in config.precision):
                    loss, _ = task.loss(batch)
                loss.backward()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"stage {stage.name}: a batch of {len(plan.indices)} utterances ({plan.modality}) does "
            "not fit into memory: lower batch_frames and video_batch_frames, or raise "
            "gradient_accumulation_steps"
        ) from error
    finally:
        task.teardown("fit")
        model.zero_grad(set_to_none=True)
        model.load_state_dict(state)  # batch statistics have changed
    return seconds


def describe(
    stage: StageConfig,
    plans: Sequence[BatchPlan],
    data: Utterances,
    processes: int,
    seconds: float,
) -> str:
    """Describe a stage in one line: updates, batch size, devices, hours of speech and time."""
    utterances = sum(len(plan.indices) for plan in plans)
    frames = sum(int(data.lengths[list(plan.indices)].sum()) for plan in plans)
    hours = frames / FPS / 3600 * stage.updates / len(plans)
    return (
        f"{stage.name}: {stage.updates} updates of {utterances / len(plans):.1f} utterances on "
        f"{processes} device{'s' if processes > 1 else ''}, {hours:.1f} h of speech with "
        f"repetitions, about {_clock(seconds)}"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes}:{seconds:02} min"
