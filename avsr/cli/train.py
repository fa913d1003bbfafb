"""The command ``train``: train a model from a recipe."""

import os
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.display import print_line
from avsr.cli.options import MAX_WORKERS


def train(
    recipe: Annotated[
        Path,
        typer.Argument(help="Recipe, a YAML file such as recipes/synthetic/train.yaml."),
    ],
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_WORKERS,
            help="Number of processes that load batches; 0: the training process.",
        ),
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only check the recipe: run its largest batches and print the plan.",
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Begin anew: delete what an earlier run has left in 'out'. Its model stays until "
            "the new one is written.",
        ),
    ] = False,
) -> None:
    """Train a model from a recipe. Run it again to continue after an interruption.

    Example: avsr train recipes/synthetic/train.yaml --dry-run
    """
    if dry_run:
        from avsr.training.dry_run import dry_run as check

        check(recipe)
        return
    from avsr.training.run import train as run

    model = run(recipe, workers=workers, fresh=fresh)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # another process prints it otherwise
        print_line(str(model))
