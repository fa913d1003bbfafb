"""A recipe's language that no training sample speaks was offered by the model all the same."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from avsr.corpus import Record, ShardWriter
from avsr.decoder import Tokenizer
from avsr.model.config import PRESETS
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.training.config import CorpusConfig, StageConfig, TrainConfig
from avsr.training.run_inputs import prepare_run
from tests.training.conftest import SMALL, TEXTS


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A recipe for three languages, whose samples are in two."""
    monkeypatch.setitem(PRESETS, "tiny", SMALL)
    with ShardWriter(tmp_path / "data", "train") as writer:
        for number, (language, text) in enumerate([("de", "ein satz"), ("fr", "un mot")] * 3):
            record = Record(
                utterance_id=f"u{number}",
                media="x.tar",
                end=0.4,
                text=text,
                language=language,
                split="train",
                speaker="s",
            )
            writer.write(record, np.zeros(6400), None)
    return TrainConfig(
        out=str(tmp_path / "out"),
        corpora=(CorpusConfig(path=str(tmp_path / "data")),),
        languages=("de", "en", "fr"),
        vocabulary_size=16,
        stages=(StageConfig(name="joint", updates=1, noise_probability=0.0),),
    )


def test_they_are_named_and_left_out_of_a_new_model(config, tmp_path, caplog):
    (tmp_path / "out").mkdir()
    with caplog.at_level(logging.WARNING, "avsr.training"):
        inputs = prepare_run(config, tmp_path / "out")
    assert caplog.messages == ["languages without training samples are left out of the model: en"]
    assert inputs.config.languages == inputs.model.config.languages == ("de", "fr")
    assert inputs.train_data.language_ids.tolist() == [0, 1] * 3


def test_a_model_that_is_trained_further_keeps_its_languages(config, tmp_path, caplog):
    tokenizer = Tokenizer.train([*TEXTS.values()] * 10, 18)
    sizes = replace(SMALL, languages=config.languages, vocabulary_size=18)
    save_directory(AVSRModel(sizes, tokenizer).eval(), tmp_path / "model", card="# Three\n")
    config = replace(config, init=str(tmp_path / "model"))
    with caplog.at_level(logging.WARNING, "avsr.training"):
        inputs = prepare_run(config, tmp_path)
    assert caplog.messages == ["languages without training samples stay as they are in 'init': en"]
    assert inputs.config == config
    assert inputs.train_data.language_ids.tolist() == [0, 2] * 3
