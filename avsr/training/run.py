"""A training run of a recipe: stage after stage, resumed from the last checkpoint."""

import dataclasses
import errno
import json
import logging
import os
from pathlib import Path

import lightning

from avsr.corpus import balance_table, plot_balance
from avsr.errors import WriteError
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.runtime.atomic_files import make_folder, replace_text
from avsr.training.calibration import language_temperature
from avsr.training.checkpoints import FINAL, load_final, save_tensors
from avsr.training.config import StageConfig, TrainConfig
from avsr.training.distributed import rank_zero_first, share_batch_norms
from avsr.training.initialization import inherited_licence
from avsr.training.lips import VisualFeatures
from avsr.training.metrics_log import plot_curves, plot_languages, read_csv_table
from avsr.training.objectives import read_recipe
from avsr.training.provenance import provenance
from avsr.training.run_inputs import RunInputs, prepare_run
from avsr.training.run_record import clear_run, has_model, is_first_process, run_number
from avsr.training.stage import METRICS, run_stage, validation_batches
from avsr.training.text_data import train_ngrams
from avsr.training.visual_cache import cache_visual_features

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

logger = logging.getLogger(__name__)


def train(recipe: str | os.PathLike[str], *, workers: int = 1, fresh: bool = False) -> Path:
    """Train a model from a recipe. An interrupted run continues from its last checkpoint.

    Args:
        recipe: YAML file with the settings of the run.
        workers: Processes that make batches; 0 makes them in this process.
        fresh: Delete what an earlier run has left in ``out``, and begin anew. Its model stays until
            the new one is written.

    Returns:
        The model directory, ``<out>/model``.

    Raises:
        ConfigError: The recipe has mistakes, or ``out`` holds a run of another recipe or of other
            data.
        CorpusError: A corpus cannot be used.
        WriteError: A file cannot be written, as the disk is full.
    """
    config = read_recipe(Path(recipe))
    out = Path(config.out)
    make_folder(out)
    if fresh and is_first_process():
        clear_run(out)
    try:
        _train(config, Path(recipe), out, workers)
    except OSError as error:
        if isinstance(error, WriteError) or error.errno not in NO_SPACE:
            raise
        raise WriteError(error.errno, error.strerror, os.fspath(out)) from error
    return out / "model"


def _train(config: TrainConfig, recipe: Path, out: Path, workers: int) -> None:
    lightning.seed_everything(config.seed, verbose=False)
    inputs = prepare_run(config, out)
    config = inputs.config
    finals = [out / f"{i}-{stage.name}" / FINAL for i, stage in enumerate(config.stages)]
    if all(path.exists() for path in finals) and has_model(out):
        logger.info("%s is trained already", out)
        return
    with rank_zero_first() as is_first:
        if is_first:
            replace_text(out / "balance.txt", balance_table(inputs.balance))
            plot_balance(inputs.balance, out / "balance.png")
    if config.processes > 1:
        share_batch_norms(inputs.model)
    for number, stage in enumerate(config.stages):
        folder = out / f"{number}-{stage.name}"
        if load_final(folder / FINAL, inputs.model):
            continue
        set_visual_features(config, stage, inputs, out)
        run_stage(config, number, inputs, folder, workers)
        with rank_zero_first() as is_first:
            if is_first:
                save_tensors(inputs.model.state_dict(), folder / FINAL)
    with rank_zero_first() as is_first:
        if is_first:
            plot_history(config, out)
            save_model(config, inputs, recipe, out)


def set_visual_features(
    config: TrainConfig, stage: StageConfig, inputs: RunInputs, out: Path
) -> None:
    """Give the data the stored outputs of the visual front end if the stage uses them."""
    for data, split, variants in (
        (inputs.train_data, "train", 1 + config.visual_variants),
        (inputs.valid_data, "valid", 1),
    ):
        if data is None:
            continue
        data.visual = None
        if config.caches(stage):
            with rank_zero_first():
                arrays = cache_visual_features(
                    inputs.model,
                    data,
                    out / split,
                    variants=variants,
                    seed=config.seed,
                    corruption_probability=config.visual_corruption_probability,
                )
            data.visual = VisualFeatures(
                arrays=arrays,
                seed=config.seed,
                corruption_probability=config.visual_corruption_probability,
            )


def plot_history(config: TrainConfig, out: Path) -> None:
    """Plot learning curves and the error rates per language of the last stage."""
    stages = []
    for number, stage in enumerate(config.stages):
        stages.append((stage.name, read_csv_table(out / f"{number}-{stage.name}" / METRICS)))
    plot_curves(stages, out / "curves.png")
    if any("valid/wer" in row for row in stages[-1][1]):
        plot_languages(stages[-1][1], out / "languages.png")


def save_model(config: TrainConfig, inputs: RunInputs, recipe: Path, out: Path) -> None:
    """Write the model directory: calibrated network, n-gram models, card and provenance."""
    model = inputs.model
    card = f"# {out.name}\n\nTrained from `{recipe}` with seed {config.seed}.\n"
    card += inherited_licence(config)
    model.language_models = train_ngrams(config, model.tokenizer, inputs.train_data)
    model.reliability = None  # that of the network in `init`, if any
    calibrate(config, model.eval(), inputs)
    origin = {"run": run_number(out), **provenance(config)}
    training = json.dumps(origin, indent=2, ensure_ascii=False) + "\n"
    save_directory(model, out / "model", card=card, training=training)


def calibrate(config: TrainConfig, model: AVSRModel, inputs: RunInputs) -> None:
    """Fit the temperature of the language probabilities if there is validation data."""
    if inputs.valid_data is None:
        return
    assert model.tokenizer is not None
    phone_ids = inputs.train_data.phone_ids
    batches = validation_batches(
        config, config.stages[-1], model.tokenizer, inputs.valid_data, phone_ids
    )
    temperature = language_temperature(model, batches)
    model.config = dataclasses.replace(model.config, language_temperature=round(temperature, 4))
