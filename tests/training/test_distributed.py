import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from avsr.corpus import Record, ShardWriter
from avsr.training.batches import plan_batches
from avsr.training.collate import TrainingBatches

SCRIPT = Path(__file__).with_name("one_of_two.py")


def train(folder, world):
    folder.mkdir()
    processes = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(world), str(folder)])
        for rank in range(world)
    ]
    assert [process.wait(timeout=500) for process in processes] == [0] * world
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path):
    (alone,) = train(tmp_path / "one", 1)
    together = train(tmp_path / "two", 2)
    for result in together:
        torch.testing.assert_close(result["loss"], alone["loss"], rtol=0, atol=1e-5)
        for part in ("gradients", "state"):
            assert result[part].keys() == alone[part].keys()
            for name, value in alone[part].items():
                torch.testing.assert_close(
                    result[part][name], value, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
                )


@pytest.mark.parametrize(("processes", "steps"), [(2, 1), (1, 3), (2, 2)])
def test_micro_batches_of_a_plan_are_its_utterances_once(processes, steps):
    lengths = np.full(40, 10)
    plans = list(
        plan_batches(
            lengths,
            np.zeros(40, bool),
            np.arange(40),
            {"audio": 1.0},
            {"audio": 75},
            [1],
            5,
            processes * steps,
        )
    )

    def indices_of(plan, index, micro_batches):
        return plan.step, plan.micro_batch(index, micro_batches)

    batches = [
        batch
        for rank in range(processes)
        for batch in TrainingBatches(
            plans,
            indices_of,
            1,
            rank=rank,
            processes=processes,
            gradient_accumulation_steps=steps,
        )
    ]
    for plan in plans[1:]:
        micro_batches = [indices for step, indices in batches if step == plan.step]
        assert len(micro_batches) == processes * steps
        assert all(micro_batches)
        assert sorted(sum(micro_batches, ())) == sorted(plan.indices)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A folder with a corpus of eight utterances of noise, and a recipe for two processes."""
    folder = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("valid", 2)):
        with ShardWriter(folder / "data", split) as writer:
            for i in range(count):
                record = Record(
                    utterance_id=f"{split}-{i}",
                    media="x.tar",
                    end=0.4,
                    text=("ein satz", "a line")[i % 2],
                    language=("de", "en")[i % 2],
                    split=split,
                    speaker="s",
                )
                writer.write(record, rng.normal(0, 0.1, 6400).clip(-1, 1), None)
    return folder, {
        "languages": ["de", "en"],
        "vocabulary_size": 13,
        "devices": 2,
        "precision": "32-true",
        "corpora": [{"path": "data"}],
        "validation": [{"path": "data", "split": "valid"}],
        "validate_every": 1,
        "select_best": True,
        "stages": [{"name": "all", "updates": 2, "modalities": {"audio": 1.0}}],
    }


def train_recipe(folder, values):
    """Run avsr train; Lightning starts the second process, as on a machine with two GPUs."""
    path = folder / f"{values['out']}.yaml"
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "avsr", "train", path.name, "--workers", "0"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(f"\n{values['out']}/model\n")
    assert process.stdout.count(f"{values['out']}/model") == 1
    return folder / values["out"] / "model"


@pytest.fixture(scope="module")
def trained(recipe):
    folder, values = recipe
    return train_recipe(folder, values | {"out": "run"})


def test_two_processes_train_a_whole_recipe(trained):
    origin = json.loads((trained / "training.json").read_text())
    assert origin["config"]["devices"] == 2


def test_sharded_weights_train_to_the_same_values(recipe, trained):
    folder, values = recipe
    sharded = train_recipe(folder, values | {"out": "sharded", "fsdp": True})
    expected, weights = (
        torch.load(model.parent / "0-all/final.pt", weights_only=True)
        for model in (trained, sharded)
    )
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        if re.fullmatch(r"classifier\.convs\.\d\.bias", name):
            continue  # a norm follows: its gradient is rounding, which Adam scales up
        torch.testing.assert_close(
            weights[name], value, rtol=0, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
