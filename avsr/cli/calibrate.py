"""The command ``calibrate``: what a model's validation data looks like to it."""

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.display import print_line, show_progress
from avsr.cli.evaluate import check_extra
from avsr.cli.options import DeviceOption
from avsr.errors import ModelError
from avsr.runtime.atomic_files import replace_text


def calibrate(
    model: Annotated[
        str,
        typer.Argument(
            help="Model directory, which gets the file reliability.json. Copy a model from the "
            "hub or the bundled one first."
        ),
    ],
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST...",
            help="Manifests (JSON lines or CSV) of at least 50 clips in all, which the model "
            "should do well, but was not trained on.",
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="Use only this split. Default: all. Example: valid.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Use at most this many clips of each language of a manifest. Default: all."
        ),
    ] = None,
    advice: Annotated[
        str | None,
        typer.Option(
            help="Sentence shown with every recording that is not reliable. Default: the one that "
            "is there already, if any."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder in which mouth crops are kept for next time. Default: none."),
    ] = None,
    sense_clips: Annotated[
        int,
        typer.Option(
            min=0,
            help="Use at most this many clips to learn when sound alone or lips alone are better "
            "than both. With fewer than 40 the model does as the bundled one.",
        ),
    ] = 200,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model on clips that it does well, to mark recordings unlike them as not reliable.

    At most 2 % of the clips of each manifest will be marked. The clips also decide when lips that
    contradict the sound are left out.

    Example: avsr calibrate models/mine valid.jsonl
    """
    check_extra()
    from avsr.evaluation.calibration import calibrate as fit
    from avsr.hub import ASSETS, BUNDLED, load_network
    from avsr.model.reliability import FILE, read_reliability

    folder = Path(model).resolve()
    if not os.access(folder, os.W_OK) or not folder.is_dir():
        source = f" {ASSETS / BUNDLED[model]}" if model in BUNDLED else ""
        raise ModelError(
            f"{model} is no model directory that can be written into: "
            f"copy that of the model{source} and calibrate the copy"
        )
    if advice is None:
        advice = ""
        with contextlib.suppress(ModelError):  # one that is broken is replaced
            old = read_reliability(folder)
            advice = "" if old is None else old.advice
    network = load_network(folder, device, calibrated=False)

    with show_progress() as progress:
        reliability = fit(
            network,
            manifests,
            split=split,
            limit=limit,
            advice=advice,
            cache=cache,
            sense_clips=sense_clips,
            progress=progress,
        )
    try:
        replace_text(folder / FILE, reliability.to_json())
    except OSError as error:
        raise ModelError(f"cannot write {folder / FILE}: {error.strerror}") from error
    print_line(f"{folder / FILE}  {reliability.clips} clips")
    if reliability.senses is not None:
        for condition, rates in reliability.senses.report["set_aside"].items():
            print_line(f"{condition:22}" + "".join(f"{k} {v:.1f} %  " for k, v in rates.items()))
