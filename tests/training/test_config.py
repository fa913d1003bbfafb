from pathlib import Path

import pytest

from avsr.errors import ConfigError
from avsr.training.config import read_config

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*train*.yaml"))
GOOD = "out: o\ncorpora: [{path: c}]\nstages: [{name: s, updates: 3, snr_db: [-5, 5]}]\n"


def write(tmp_path, text):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return path


def test_overrides_and_defaults(tmp_path):
    config = read_config(write(tmp_path, GOOD))
    assert config.stages[0].snr_db == (-5, 5)
    assert (config.stages[0].ctc_loss_weight, config.stages[0].language_loss_weight) == (0.1, 10.0)
    assert config.stages[0].objective == "recognition"
    assert config.preset == "tiny"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_recipe_reads(path):
    assert read_config(path).stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "sed: 3\n", "unknown key 'sed'; did you mean 'seed'"),
        (GOOD.replace("updates", "update"), "did you mean 'updates'"),
        (GOOD + "preset: huge\nlanguages: [xx]\n", "preset 'huge'.*language 'xx' is no ISO"),
        (GOOD + "validation: [{path: c, split: test}]\n", "test split is no validation data"),
        (GOOD.replace("updates: 3", "updates: 3, train: some"), "train must be one of all, pr"),
        (
            GOOD.replace("updates: 3", "updates: 3, ctc_weight: 0.3"),
            "unknown key 'ctc_weight'; did you mean 'ctc_loss_weight'",
        ),
        (GOOD + "passes: 2\n", "unknown key 'passes'"),
        ("out: o\n", "there is no stage; there is no corpus"),
        ("- a\n", "mapping of settings"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        read_config(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "none.yaml")
