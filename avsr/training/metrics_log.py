"""What a run logs: TensorBoard, CSV, and at the end learning curves as pictures."""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from avsr.evaluation.plots import COLOURS, NAMES
from avsr.runtime.atomic_files import replace_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, float]
WINDOW = 50  # updates whose mean is a row


class History(Callback):
    """Keeps rows of metrics, in memory and as CSV, through interruptions.

    The module puts metrics of a training batch into ``batch_scores``, those of a validation into
    ``valid_scores``. Rows hold ``step`` and means over WINDOW updates, or scores of a validation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.step = 0
        self.window: defaultdict[str, list[Tensor]] = defaultdict(list)

    def state_dict(self) -> dict[str, Any]:
        """How far the rows go, and what the open one holds; the rows are in the CSV."""
        return {"step": self.step, "window": dict(self.window)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Rows of the interrupted run, up to its checkpoint."""
        self.step = state_dict["step"]
        self.window = defaultdict(list, state_dict["window"])
        rows = read_csv_table(self.path) if self.path.exists() else []
        self.rows = [row for row in rows if row["step"] <= self.step]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the scores of a batch, and close a row every WINDOW updates."""
        self.step = trainer.global_step
        for name, value in pl_module.batch_scores.items():  # type: ignore[union-attr, operator]
            self.window[name].append(value)  # a number of it would wait for the GPU
        if (
            trainer.global_step % WINDOW == 0
            and (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        ):
            means = {name: float(torch.stack(v).mean()) for name, v in self.window.items()}
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.window.clear()
            self.add(trainer, means | {"learning_rate": rate})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A row of its own for the scores of a validation."""
        self.add(trainer, pl_module.valid_scores)  # type: ignore[arg-type]

    def add(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        """Keep a row, write the CSV, tell the loggers."""
        self.rows.append({"step": trainer.global_step, **scores})
        if trainer.is_global_zero:
            replace_text(self.path, csv_table(self.rows))
        for logger in trainer.loggers:
            logger.log_metrics(dict(scores), trainer.global_step)


def csv_table(rows: Sequence[Row]) -> str:
    """Rows as CSV, a column for every metric, empty where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    return text.getvalue()


def read_csv_table(path: Path) -> list[Row]:
    """The reverse of csv_table."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def plot_curves(stages: Sequence[tuple[str, Sequence[Row]]], path: str | os.PathLike[str]) -> None:
    """Losses in training and error rates in validation over the updates of all stages (PNG)."""
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
    figure.savefig(Path(path), dpi=130, format="png")


def draw(
    axes: "Axes", rows: Sequence[Row], first: float, modality: str, key: str, style: str
) -> None:
    """One curve, if there are values."""
    points = [(first + row["step"], row[key]) for row in rows if key in row]
    if points:
        marker = 6 if style.startswith(".") else 4
        axes.plot(
            *zip(*points, strict=True), style, color=COLOURS[modality], markersize=marker, lw=1
        )


def plot_languages(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Word error rate of every language in the last validation, by modality (PNG)."""
    from matplotlib.figure import Figure

    last = next((row for row in reversed(rows) if "valid/wer" in row), {})
    languages = list(dict.fromkeys(k.rsplit("/", 1)[1] for k in last if "/wer/" in k))
    modalities = [m for m in COLOURS if any(k.startswith(f"valid/{m}/wer/") for k in last)]
    figure = Figure(figsize=(max(4.8, 0.9 * len(languages) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    for i, modality in enumerate(modalities):
        values = [100 * last.get(f"valid/{modality}/wer/{code}", 0.0) for code in languages]
        places = [k + 0.8 * (i + 0.5) / len(modalities) - 0.4 for k in range(len(languages))]
        bars = axes.bar(
            places, values, 0.8 / len(modalities), color=COLOURS[modality], label=NAMES[modality]
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks(range(len(languages)), languages)
    axes.set_ylabel("validation WER %")
    axes.spines[["top", "right"]].set_visible(False)
    if modalities:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(Path(path), dpi=150, format="png")
