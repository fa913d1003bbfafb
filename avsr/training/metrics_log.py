"""Logs of a run: metrics for the loggers and as CSV, and plots of learning curves."""

import csv
import io
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor

from avsr.evaluation.plots import COLOURS, NAMES
from avsr.runtime.atomic_files import atomic_write, replace_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

Row = dict[str, float]
WINDOW = 50  # updates that a row of training metrics averages over


def make_loggers(folder: Path) -> list[Logger]:
    """Make the Lightning loggers of a stage. To log elsewhere, wandb for example, change this.

    Args:
        folder: Folder of the stage.
    """
    return [TensorBoardLogger(folder, "", "")]


class History(Callback):
    """Sends metrics to the loggers and stores them in a CSV file, also across interruptions.

    A row has ``step`` and either the means of StageTask's ``batch_scores`` over WINDOW updates or
    the ``valid_scores`` of a validation.

    Args:
        path: CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.step = 0
        self.window: defaultdict[str, list[Tensor]] = defaultdict(list)

    def state_dict(self) -> dict[str, Any]:
        """Return the last step and the scores since the last row; complete rows are in the CSV."""
        return {"step": self.step, "window": dict(self.window)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the rows of an interrupted run up to its checkpoint."""
        self.step = state_dict["step"]
        self.window = defaultdict(list, state_dict["window"])
        rows = read_csv_table(self.path)
        self.rows = [row for row in rows if row["step"] <= self.step]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the scores of a batch, and add a row every WINDOW updates."""
        self.step = trainer.global_step
        for name, value in pl_module.batch_scores.items():  # type: ignore[union-attr, operator]
            self.window[name].append(value)  # not .item(), which would wait for the GPU
        if (
            trainer.global_step % WINDOW == 0
            and (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        ):
            means = {name: float(torch.stack(v).mean()) for name, v in self.window.items()}
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.window.clear()
            self.add(trainer, means | {"learning_rate": rate})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row with the scores of a validation."""
        self.add(trainer, pl_module.valid_scores)  # type: ignore[arg-type]

    def add(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        """Add a row, write the CSV, and send the scores to the loggers."""
        self.rows.append({"step": trainer.global_step, **scores})
        if trainer.is_global_zero:
            replace_text(self.path, csv_table(self.rows))
        for logger in trainer.loggers:
            logger.log_metrics(dict(scores), trainer.global_step)


def csv_table(rows: Sequence[Row]) -> str:
    """Format rows as CSV with a column per metric; a row without a metric has an empty field."""
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    return text.getvalue()


def read_csv_table(path: Path) -> list[Row]:
    """Read the rows of a CSV file that ``csv_table`` has formatted; none if it is missing.

    A damaged one is no reason to stop a training: one line is logged, and it begins anew.
    """
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
            if any("step" not in row for row in rows):
                raise ValueError("a row has no step")
            return rows
    except (ValueError, TypeError, csv.Error) as error:
        logger.warning("%s is broken (%s): its metrics begin anew", path, error)
        return []


def plot_curves(stages: Sequence[tuple[str, Sequence[Row]]], path: str | os.PathLike[str]) -> None:
    """Plot losses and validation error rates over the updates of all stages (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    attention, ctc, errors = figure.subplots(3, 1, sharex=True)
    first = 0.0
    for name, rows in stages:
        last = first + max((row["step"] for row in rows), default=0.0)
        for modality in COLOURS:
            draw(attention, rows, first, modality, f"{modality}/attention", ".-")
            draw(attention, rows, first, modality, f"valid/{modality}/attention", "o--")
            draw(ctc, rows, first, modality, f"{modality}/ctc", ".-")
            draw(ctc, rows, first, modality, f"valid/{modality}/ctc", "o--")
            draw(errors, rows, first, modality, f"valid/{modality}/wer", "o--")
        for axes in (attention, ctc, errors):
            axes.axvline(last, color="#bbbbbb", linewidth=0.8)
        above = attention.get_xaxis_transform()
        attention.text((first + last) / 2, 1.02, name, ha="center", transform=above)
        first = last
    for axes, label in ((attention, "attention loss"), (ctc, "CTC loss"), (errors, "valid WER")):
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    errors.set_ylim(bottom=0)
    errors.set_xlim(left=0)
    errors.set_xlabel("updates (solid: training, dashed: validation)")
    for modality, colour in COLOURS.items():
        attention.plot([], [], color=colour, label=NAMES[modality])
    attention.legend(frameon=False, fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def draw(
    axes: "Axes", rows: Sequence[Row], first: float, modality: str, key: str, style: str
) -> None:
    """Draw one curve if any row has the metric."""
    points = [(first + row["step"], row[key]) for row in rows if key in row]
    if points:
        marker = 6 if style.startswith(".") else 4
        axes.plot(
            *zip(*points, strict=True), style, color=COLOURS[modality], markersize=marker, lw=1
        )


def plot_languages(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Plot the word error rate per language and modality of the last validation (PNG)."""
    from matplotlib.figure import Figure

    last = next((row for row in reversed(rows) if "valid/wer" in row), {})
    languages = list(dict.fromkeys(k.rsplit("/", 1)[1] for k in last if "/wer/" in k))
    modalities = [m for m in COLOURS if any(k.startswith(f"valid/{m}/wer/") for k in last)]
    figure = Figure(figsize=(max(4.8, 0.9 * len(languages) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    for i, modality in enumerate(modalities):
        values = [100 * last.get(f"valid/{modality}/wer/{code}", 0.0) for code in languages]
        positions = [k + 0.8 * (i + 0.5) / len(modalities) - 0.4 for k in range(len(languages))]
        bars = axes.bar(
            positions, values, 0.8 / len(modalities), color=COLOURS[modality], label=NAMES[modality]
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks(range(len(languages)), languages)
    axes.set_ylabel("validation WER %")
    axes.spines[["top", "right"]].set_visible(False)
    if modalities:
        axes.legend(frameon=False, fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
