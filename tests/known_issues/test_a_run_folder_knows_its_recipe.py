"""`avsr train` in the folder of a run with another recipe trained nothing and claimed the new one.

The folder keeps its recipe, and digests of data and start weights; a difference is refused.
"""

import json
import shutil

import numpy as np
import pytest

from avsr.cli import app as cli
from avsr.corpus import Record, ShardWriter
from avsr.decoder import Tokenizer
from avsr.errors import ConfigError
from avsr.model.directory import load_directory
from avsr.training import run
from avsr.training.run_record import clear_run
from tests.training.conftest import TEXTS, corpus, recipe, stage  # noqa: F401

STAGES = [stage(updates=2, modalities={"audio": 1.0}, noise_probability=0.0)]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def trained(recipe, tmp_path, kept):  # noqa: F811
    """The folder of a run of two updates; a copy, as it may lie anywhere."""
    if not kept.exists():
        run.train(recipe("run", STAGES), workers=0)
        (tmp_path / "run").rename(kept)
    return shutil.copytree(kept, tmp_path / "run")


def stop(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": ["fr", "en", "de"]}, "languages: de, en, fr -> fr, en, de"),
        ({"seed": 2, "lm_order": 3}, "lm_order: 5 -> 3; seed: 1 -> 2"),
        (
            {"stages": [STAGES[0] | {"updates": 3, "learning_rate": 0.1}]},
            r"stages\[0\].updates: 2 -> 3; stages\[0\].learning_rate: 0.001 -> 0.1",
        ),
        ({"stages": [*STAGES, stage("more")]}, "stages: 1 entries -> 2 entries"),
        ({"validation": []}, "validation: 1 entries -> none; content of validation: .* -> none"),
    ],
)
def test_another_recipe_is_refused(recipe, trained, change, message):  # noqa: F811
    before = files(trained)
    changed = {"stages": STAGES, **change}
    message = rf"run holds another run \({message}\): use another 'out'"
    with pytest.raises(ConfigError, match=message):
        run.train(recipe("run", changed.pop("stages"), **changed), workers=0)
    assert files(trained) == before


def test_other_data_are_refused_and_the_same_elsewhere_are_not(
    recipe,  # noqa: F811
    trained,
    corpus,  # noqa: F811
    tmp_path,
    capsys,
):
    before = files(trained)
    shutil.copytree(corpus, tmp_path / "copy")
    moved = [{"path": str(tmp_path / "copy")}]
    path = recipe("run", STAGES, corpora=moved, checkpoint_every=1, validate_every=1)
    assert cli.main(["train", str(path), "--workers", "0"]) == 0
    assert "is trained already" in capsys.readouterr().err
    assert files(trained) == before
    shutil.rmtree(tmp_path / "copy")
    with ShardWriter(tmp_path / "copy", "train") as writer:
        for i, (language, text) in enumerate(TEXTS.items()):
            record = Record(
                utterance_id=f"u{i}", media="x.tar", start=0.0, end=0.4, text=text,
                language=language, split="train", speaker="s",
            )  # fmt: skip
            writer.write(record, np.zeros(6400), None)
    assert cli.main(["train", str(path), "--workers", "0"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "another run (content of corpora: " in error
    assert "--fresh" in error
    assert files(trained) == before


def test_other_start_weights_are_refused(recipe, trained, tmp_path, monkeypatch):  # noqa: F811
    start = tmp_path / "start"
    shutil.copytree(trained / "model", start)
    monkeypatch.setattr(run, "save_model", stop)
    with pytest.raises(KeyboardInterrupt):
        run.train(recipe("second", STAGES, init=str(start)), workers=0)
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(start, tmp_path / "elsewhere/start")
    with pytest.raises(KeyboardInterrupt):
        run.train(recipe("second", STAGES, init=str(tmp_path / "elsewhere/start")), workers=0)
    config = json.loads((start / "config.json").read_text())
    config["language_temperature"] = 2.0
    (start / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"content of init: [0-9a-f]{8} -> [0-9a-f]{8}"):
        run.train(recipe("second", STAGES, init=str(start)), workers=0)


def test_fresh_begins_anew_and_keeps_what_is_not_the_runs(recipe, trained, tmp_path, monkeypatch):  # noqa: F811
    (trained / "notes.txt").write_text("mine")
    (trained / "0-notes").mkdir()
    (trained / "0-notes/talk.txt").write_text("mine")
    old = json.loads((trained / "model/training.json").read_text())
    path = recipe("run", STAGES, languages=["fr", "en", "de"])
    save = run.save_model
    monkeypatch.setattr(run, "save_model", stop)
    with pytest.raises(KeyboardInterrupt):
        run.train(path, workers=0, fresh=True)
    monkeypatch.setattr(run, "save_model", save)
    assert json.loads((trained / "model/training.json").read_text()) == old
    assert cli.main(["train", str(path), "--workers", "0"]) == 0
    new = json.loads((trained / "model/training.json").read_text())
    assert new["config"]["languages"] == ["fr", "en", "de"]
    assert new["run"] != old["run"]
    assert (trained / "notes.txt").exists()
    assert (trained / "0-notes/talk.txt").exists()
    assert load_directory(trained / "model").config.languages == ("fr", "en", "de")


def test_a_run_that_has_trained_nothing_may_change(recipe, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(run, "run_stage", stop)
    for size in (18, 17):
        with pytest.raises(KeyboardInterrupt):
            run.train(recipe("run", STAGES, vocabulary_size=size), workers=0)
        record = json.loads((tmp_path / "run/recipe.json").read_text())
        assert record["settings"]["vocabulary_size"] == size
        assert len(Tokenizer.load(tmp_path / "run/tokenizer.model")) == size


def test_a_run_that_does_not_say_its_recipe_is_refused(recipe, trained):  # noqa: F811
    record = trained / "recipe.json"
    record.write_text("{")
    with pytest.raises(ConfigError, match=r"recipe.json is broken \(.*--fresh"):
        run.train(recipe("run", STAGES), workers=0)
    record.unlink()
    with pytest.raises(ConfigError, match=r"run of an earlier version.*--fresh"):
        run.train(recipe("run", STAGES), workers=0)
    clear_run(trained)
    assert {path.name for path in trained.iterdir()} == {"model"}


def test_provenance_is_that_of_the_run_that_trained(recipe, trained, monkeypatch):  # noqa: F811
    before = files(trained)
    monkeypatch.setattr(run, "provenance", lambda config: {"versions": "later"})
    run.train(recipe("run", STAGES), workers=0)
    assert files(trained) == before
    shutil.rmtree(trained / "model")  # then it is written again
    run.train(recipe("run", STAGES), workers=0)
    assert json.loads((trained / "model/training.json").read_text())["versions"] == "later"
