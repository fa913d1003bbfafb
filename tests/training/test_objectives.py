"""The seams of a stage: a new objective, and the loggers."""

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from avsr.errors import ConfigError
from avsr.training import run
from avsr.training import stage as stage_module
from avsr.training.dry_run import dry_run
from avsr.training.metrics_log import read_csv_table
from avsr.training.objectives import OBJECTIVES, read_recipe
from avsr.training.stage_task import StageTask, tri_stage
from tests.training.conftest import stage


@pytest.mark.parametrize(
    ("warmup", "decay", "factors"),
    [
        (0.5, 0.0, [0.5, 1.0, 1.0, 1.0, 1.0]),
        (1.0, 0.0, [0.25, 0.5, 0.75, 1.0, 1.0]),
        (0.0, 0.5, [1.0, 1.0, 0.05**0.5, 0.05, 0.05**1.5]),
    ],
)
def test_the_learning_rate_rises_stays_and_falls(warmup, decay, factors):
    # Lightning asks for the rate of the step after the last one too.
    assert [tri_stage(step, 4, warmup, decay) for step in range(5)] == pytest.approx(factors)


class CountingTask(StageTask):
    """An objective with a known loss: the squared norm of the CTC bias, split over samples."""

    def compute_loss(self, batch):
        share = len(batch.lengths) / batch.language_counts.sum()
        loss = self.model.ctc.bias.square().sum()
        return share * loss, {"norm": loss.detach(), "size": torch.tensor(len(batch.lengths))}


@pytest.mark.parametrize("steps", [1, 2])
def test_an_objective_is_one_class_and_one_line(recipe, tmp_path, monkeypatch, steps):
    monkeypatch.setitem(OBJECTIVES, "counting", CountingTask)
    stages = [
        stage(updates=1, modalities={"audio": 1.0}),
        stage("count", objective="counting", learning_rate=1e-2, warmup=0.0, decay=0.0)
        | {"modalities": {"audio": 1.0}},
    ]
    path = recipe("own", stages, gradient_accumulation_steps=steps)
    dry_run(path)
    run.train(path, workers=0)
    before, after = (
        torch.load(tmp_path / "own" / name / "final.pt", weights_only=True)
        for name in ("0-all", "1-count")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"ctc.bias"}
    # AdamW's update of the only parameter with a gradient is the learning rate, towards zero.
    bias = before["ctc.bias"].double().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([bias], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.0)
    for _ in range(4):
        optimizer.zero_grad()
        loss = bias.square().sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([bias], 1.0)
        optimizer.step()
    torch.testing.assert_close(after["ctc.bias"], bias.detach().float(), rtol=0, atol=1e-6)
    rows = read_csv_table(tmp_path / "own/1-count/metrics.csv")
    norm = after["ctc.bias"].square().sum().item()
    assert rows[-1]["valid/audio/norm"] == pytest.approx(norm, rel=1e-5)
    assert rows[-1]["valid/audio/size"] == 3  # of the only batch, three utterances
    assert "valid/wer" not in rows[-1]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_gives_no_update(recipe, tmp_path, monkeypatch, where):
    class BrokenTask(CountingTask):
        def compute_loss(self, batch):
            loss, scores = super().compute_loss(batch)
            # The root of zero is finite, its gradient is not.
            return loss * torch.nan if where == "loss" else loss + (loss * 0).sqrt(), scores

    monkeypatch.setitem(OBJECTIVES, "broken", BrokenTask)
    stages = [stage("bad", updates=1, objective="broken", modalities={"audio": 1.0})]
    run.train(recipe("broken", stages), workers=0)
    folder = tmp_path / "broken/0-bad"
    bias = torch.load(folder / "final.pt", weights_only=True)["ctc.bias"]
    assert bias.isfinite().all()
    paths = [path.name for path in folder.glob("not-finite-*.pt")]
    assert paths == (["not-finite-0-0.pt"] if where == "loss" else [])
    if paths:
        batch = torch.load(folder / paths[0], weights_only=True)
        assert batch["fbank"].shape[0] == len(batch["lengths"])


def test_metrics_go_to_the_loggers_of_make_loggers(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(
        stage_module, "make_loggers", lambda folder: [CSVLogger(folder / "log", "", "")]
    )
    run.train(recipe("logs", [stage(updates=2, modalities={"audio": 1.0})]), workers=0)
    folder = tmp_path / "logs/0-all"
    (row,) = read_csv_table(folder / "metrics.csv")
    (logged,) = read_csv_table(folder / "log/metrics.csv")
    assert logged == pytest.approx(row, rel=1e-5)
    assert "valid/audio/wer" in row
    assert not list(folder.glob("events.*"))


def test_an_unknown_objective_is_refused(recipe):
    path = recipe("typo", [stage("s", objective="recogntion")])
    with pytest.raises(ConfigError, match="stage s: objective must be one of recognition"):
        read_recipe(path)
