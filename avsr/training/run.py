"""A training run from a recipe: stage after stage, resumed from the last checkpoint."""

import copy
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch.utils.data import DataLoader

from avsr.corpus import LanguageBalance, balance_table, language_balance, plot_balance
from avsr.decoder import Tokenizer
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.runtime.atomic_files import replace_text
from avsr.training.batches import BatchPlan, length_batches, plan_batches
from avsr.training.calibration import language_temperature
from avsr.training.collate import Batch, BatchMaker, TrainingBatches
from avsr.training.config import StageConfig, TrainConfig, read_config
from avsr.training.dataset import Utterances, read_utterances
from avsr.training.distributed import rank_zero_first, share_batch_norms, whole
from avsr.training.initialization import copy_pretrained, inherited_licence, initial_model
from avsr.training.metrics_log import History, plot_curves, plot_languages, read_csv_table
from avsr.training.noise_clips import make_noises
from avsr.training.provenance import provenance
from avsr.training.task import AVSRTask
from avsr.training.text_data import check_coverage, count_texts
from avsr.training.visual_cache import cache_visual_features

METRICS = "metrics.csv"  # of a stage


def train(recipe: str | os.PathLike[str], *, workers: int = 1) -> Path:
    """Train as the recipe says and return the model directory ``<out>/model``.

    Started again, it goes on after the last checkpoint. ``workers`` processes make batches.
    Raises ConfigError or CorpusError for a recipe or data that cannot be used.
    """
    config = read_config(Path(recipe))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(config.seed, verbose=False)
    material = prepare_run(config, out)
    model, train_data, valid_data = material.model, material.data, material.valid_data
    with rank_zero_first() as is_first:
        if is_first:
            replace_text(out / "balance.txt", balance_table(material.balance))
            plot_balance(material.balance, out / "balance.png")
    if config.processes > 1:
        share_batch_norms(model)
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
                if config.caches(stage):
                    with rank_zero_first():
                        data.visual = cache_visual_features(
                            model,
                            data,
                            out / split,
                            variants=variants,
                            seed=config.seed,
                            damage=config.visual_corruption_probability,
                        )
        run_stage(config, number, material, folder, workers)
        with rank_zero_first() as is_first:
            if is_first:
                temporary = final.with_suffix(".part")
                torch.save(model.state_dict(), temporary)
                os.replace(temporary, final)
    with rank_zero_first() as is_first:
        if is_first:
            plot_history(config, out)
            card = f"# {out.name}\n\nTrained from `{recipe}` with seed {config.seed}.\n"
            card += inherited_licence(config)
            model.language_models = count_texts(config, model.tokenizer, train_data)
            calibrate(config, model.eval(), material)
            save_directory(model, out / "model", card=card)
            origin = json.dumps(provenance(config), indent=2, ensure_ascii=False) + "\n"
            replace_text(out / "model" / "training.json", origin)
    return out / "model"


def plot_history(config: TrainConfig, out: Path) -> None:
    """Draw learning curves and, of the last stage, error rates by language."""
    stages = []
    for number, stage in enumerate(config.stages):
        path = out / f"{number}-{stage.name}" / METRICS
        stages.append((stage.name, read_csv_table(path) if path.exists() else []))
    plot_curves(stages, out / "curves.png")
    if any("valid/wer" in row for row in stages[-1][1]):
        plot_languages(stages[-1][1], out / "languages.png")


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What a run works on."""

    data: Utterances
    pool: np.ndarray
    """Indices that an epoch visits."""
    balance: Sequence[LanguageBalance]
    valid_data: Utterances | None
    noises: Mapping[str, Sequence[np.ndarray]]
    model: AVSRModel


def prepare_run(config: TrainConfig, out: Path) -> RunInputs:
    """Open the corpora, print their balance, build the network that the first stage starts with."""
    data, pool = read_utterances(config.corpora, config.languages)
    valid_data = None
    if config.validation:
        valid_data, _ = read_utterances(config.validation, config.languages)
    balance = language_balance(sample.record for sample in data.samples)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(balance_table(balance), end="", flush=True)
    model = initial_model(config, data, out)
    assert model.tokenizer is not None
    check_coverage(model.tokenizer, data)
    copy_pretrained(model, config)
    kinds = [k for stage in config.stages if stage.noise_probability for k in stage.noises]
    noises = make_noises(data, kinds, config.seed)
    return RunInputs(
        data=data, pool=pool, balance=balance, valid_data=valid_data, noises=noises, model=model
    )


def stage_plans(
    config: TrainConfig, number: int, data: Utterances, pool: np.ndarray
) -> list[BatchPlan]:
    """The batches of a stage, one for each update."""
    stage = config.stages[number]
    video_frames = stage.batch_frames if config.caches(stage) else stage.video_batch_frames
    frames = {"av": video_frames, "audio": stage.batch_frames, "video": video_frames}
    return list(
        plan_batches(
            data.lengths,
            data.has_video,
            pool,
            stage.modalities,
            frames,
            [config.seed, number],
            stage.updates,
            config.parts,
        )
    )


def run_stage(
    config: TrainConfig,
    number: int,
    material: RunInputs,
    folder: Path,
    workers: int,
) -> None:
    """Train the model in place through one stage, from its last checkpoint if there is one."""
    stage = config.stages[number]
    model, data, valid_data = material.model, material.data, material.valid_data
    seed = [config.seed, number]
    plans = stage_plans(config, number, data, material.pool)
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
    callbacks = [history, checkpoints, RichProgressBar(refresh_rate=20)]
    if config.select_best:
        best = ModelCheckpoint(
            folder, "best", "valid/wer", enable_version_counter=False, save_on_train_epoch_end=False
        )
        callbacks.append(best)
    last = folder / "last.ckpt"
    resumed = last if last.exists() else None
    first = torch.load(resumed, weights_only=True)["global_step"] if resumed else 0
    trainer = lightning.Trainer(
        max_steps=stage.updates,
        accelerator="auto",
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=strategy(config),
        accumulate_grad_batches=config.passes,
        default_root_dir=folder,
        precision=config.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, "", ""),
        val_check_interval=config.validate_every * config.passes if valid_data else None,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
    assert model.tokenizer is not None
    make = BatchMaker(
        data,
        model.tokenizer,
        material.noises,
        stage,
        [*seed, 7],
        True,
        data.phone_ids,
        config.visual_corruption_probability,
    )
    loader = DataLoader(
        TrainingBatches(
            plans,
            make,
            first,
            rank=trainer.global_rank,
            processes=trainer.world_size,
            passes=config.passes,
        ),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    validation: DataLoader[Batch] | None = None
    if valid_data is not None:
        batches = validation_batches(config, stage, model.tokenizer, valid_data, data.phone_ids)
        validation = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    # Sharding cannot be undone: a copy is sharded, so that the next stage has a whole network.
    trained = copy.deepcopy(model) if config.sharding else model
    task = AVSRTask(trained, stage, config.label_smoothing, config.seed, len(data.phone_ids))
    trainer.fit(task, loader, validation, ckpt_path=resumed)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if config.sharding:
        model.load_state_dict({name: whole(v) for name, v in trained.state_dict().items()})
    if config.select_best:
        model.load_state_dict(mean_of_checkpoints([folder / "best.ckpt"]))
    elif config.average_checkpoints > 1:
        model.load_state_dict(mean_of_checkpoints(sorted(folder.glob("step=*.ckpt"))))


def strategy(config: TrainConfig) -> Strategy | str:
    """How the processes share the work."""
    if config.processes == 1:
        return "auto"
    if config.sharding:
        return ModelParallelStrategy(config.processes, 1, save_distributed_checkpoint=False)
    # A batch of sound alone leaves the visual front end without gradients.
    return "ddp_find_unused_parameters_true"


def calibrate(config: TrainConfig, model: AVSRModel, material: RunInputs) -> None:
    """Fit the temperature of the language probabilities, where there is validation data."""
    if material.valid_data is None:
        return
    assert model.tokenizer is not None
    batches = validation_batches(
        config, config.stages[-1], model.tokenizer, material.valid_data, material.data.phone_ids
    )
    temperature = language_temperature(model, batches)
    model.config = dataclasses.replace(model.config, language_temperature=round(temperature, 4))


def mean_of_checkpoints(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Mean of the model's weights and batch statistics over checkpoints."""
    sums: dict[str, torch.Tensor] = {}
    for path in paths:
        state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        for name, value in state.items():
            if name.startswith("model."):
                key = name.removeprefix("model.")
                sums[key] = sums[key] + value if key in sums else value.clone()
    return {
        name: value / len(paths) if value.is_floating_point() else value // len(paths)
        for name, value in sums.items()
    }


def validation_batches(
    config: TrainConfig,
    stage: StageConfig,
    tokenizer: Tokenizer,
    data: Utterances,
    phone_ids: Mapping[str, int],
) -> list[Batch]:
    """Clean validation batches of every modality that the stage trains, the same each time."""
    clean = dataclasses.replace(stage, noise_probability=0.0)
    make = BatchMaker(data, tokenizer, {}, clean, [config.seed, 8], False, phone_ids)
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
