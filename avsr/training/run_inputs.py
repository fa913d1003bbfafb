"""What a training run works on: data, noise, and the network that the first stage starts with."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avsr.corpus import LanguageBalance, balance_table, language_balance
from avsr.errors import ConfigError
from avsr.hub import find_model
from avsr.model.config import PARTS
from avsr.model.directory import read_config
from avsr.model.network import AVSRModel
from avsr.training.config import TrainConfig
from avsr.training.dataset import Utterances, read_utterances
from avsr.training.initialization import copy_pretrained, initial_model
from avsr.training.noise_clips import make_noises
from avsr.training.run_record import claim_run
from avsr.training.text_data import check_coverage

logger = logging.getLogger("avsr.training")


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """Data and network of a run."""

    config: TrainConfig
    """Settings of the run, without the languages that have no training samples."""
    train_data: Utterances
    pool: np.ndarray
    """Indices into ``train_data`` that an epoch visits."""
    balance: Sequence[LanguageBalance]
    valid_data: Utterances | None
    noises: Mapping[str, Sequence[np.ndarray]]
    """Clips (S,) of each kind of noise."""
    model: AVSRModel


def prepare_run(config: TrainConfig, out: Path) -> RunInputs:
    """Open the corpora, claim the folder, print the balance, and build the network.

    Args:
        config: Settings of the run.
        out: Folder of the run, for its record and a new tokenizer.

    Returns:
        Data, noise, and the network that the first stage starts with.

    Raises:
        ConfigError: The recipe does not fit the data or the models that it names, or ``out`` holds
            another run.
        CorpusError: A corpus cannot be read.
    """
    train_data, pool = read_utterances(config.corpora, config.languages)
    heard = leave_out_unheard(config, train_data)
    if heard != config:
        config, train_data = heard, Utterances(train_data.samples, heard.languages)
    valid_data = None
    if config.validation:
        valid_data, _ = read_utterances(config.validation, config.languages)
    kinds = [k for stage in config.stages if stage.noise_probability for k in stage.noises]
    noises = make_noises(train_data, kinds, config.seed)
    claim_run(config, out, train_data, valid_data, noises)
    balance = language_balance(sample.record for sample in train_data.samples)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(balance_table(balance), end="", flush=True)
    model = initial_model(config, train_data, out)
    assert model.tokenizer is not None
    check_coverage(model.tokenizer, train_data)
    copy_pretrained(model, config)
    check_reliability(model, config)
    return RunInputs(
        config=config,
        train_data=train_data,
        pool=pool,
        balance=balance,
        valid_data=valid_data,
        noises=noises,
        model=model,
    )


def check_reliability(model: AVSRModel, config: TrainConfig) -> None:
    """Raise ConfigError if a stage trains reliability scores that the network does not have."""
    for stage in config.stages:
        trains = stage.reliability_loss_weight or stage.train == "reliability"
        if trains and not model.config.encoder.reliability:
            name = "reliability_loss_weight" if stage.reliability_loss_weight else "train"
            raise ConfigError(
                f"stage {stage.name}: {name} needs a network with scores of reliability: set "
                "reliability: true"
            )


def leave_out_unheard(config: TrainConfig, data: Utterances) -> TrainConfig:
    """Leave out the languages that no training sample speaks, with a warning.

    The model would offer them without ever having heard them. A whole model in ``init`` keeps its
    languages, which it knows from its own training.
    """
    heard = {sample.record.language for sample in data.samples}
    unheard = [code for code in config.languages if code not in heard]
    if not unheard:
        return config
    keeps = config.init is not None and set(read_config(find_model(config.init)).parts) == set(
        PARTS
    )
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        outcome = "stay as they are in 'init'" if keeps else "are left out of the model"
        logger.warning("languages without training samples %s: %s", outcome, ", ".join(unheard))
    if keeps:
        return config
    return replace(config, languages=tuple(code for code in config.languages if code in heard))
