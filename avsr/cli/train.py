"""The command ``train``: train a model as a recipe says."""

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML file, as recipes/synthetic/train.yaml.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try the largest batches and print the plan only.")
    ] = False,
) -> None:
    """Train a model as a recipe says; run it again to go on after an interruption."""
    if dry_run:
        from avsr.training.dry_run import dry_run as run_dry

        run_dry(recipe)
        return
    from avsr.training.run import train as run

    model = run(recipe, workers=workers)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # else another process says so
        print(model)
