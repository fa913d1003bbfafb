"""What the commands share: options, progress and complaints on stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import typer

from avsr.transcript import FileFormat

Modality = Literal["av", "audio", "video"]
Progress = Callable[[str, int, int], None]  # part of the work, items done, in all

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model directory or bundled name; without it the bundled model."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="'cpu', 'cuda' or 'auto'.")]
ModalityOption = Annotated[
    Modality, typer.Option("--modality", help="Sound and lips, sound only, or lips only.")
]
BeamOption = Annotated[
    int, typer.Option("--beam-size", min=1, help="Hypotheses that the search keeps.")
]
CtcOption = Annotated[
    float, typer.Option("--ctc-weight", min=0.0, max=1.0, help="Share of CTC in the score.")
]
LmOption = Annotated[
    float, typer.Option("--lm-weight", min=0.0, help="Weight of the model's language model.")
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Write a .srt, .vtt, .ass, .json, .tsv or .txt file; or a folder for several videos.",
    ),
]
FormatOption = Annotated[
    FileFormat | None,
    typer.Option("--format", help="Of the files in a folder; srt if it is not said."),
]
BurnOption = Annotated[
    str | None,
    typer.Option("--burn", metavar="OUT.mp4", help="Write the video with subtitles in it."),
]


@contextlib.contextmanager
def show_status(text: str) -> Iterator[None]:
    """Show what is being done while it is being done, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)):
        yield


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """A bar on stderr per part of the work: ``advance(part, done, total)``."""
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    bars = Bars(console=Console(stderr=True), redirect_stdout=False)
    tasks: dict[str, TaskID] = {}

    def advance(part: str, done: int, total: int) -> None:
        bars.start()  # not earlier: before the first part an error should stand alone
        if part not in tasks:
            tasks[part] = bars.add_task(part, total=total)
        bars.update(tasks[part], completed=done, total=total)

    try:
        yield advance
    finally:
        if tasks:
            bars.stop()


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"avsr: {message}", file=sys.stderr, flush=True)


def listed(text: str | None) -> list[str]:
    """Names with commas or spaces between -> a list; empty for no text."""
    return (text or "").replace(",", " ").split()
