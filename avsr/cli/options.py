"""What the commands share: options, progress and complaints on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import typer

from avsr.transcript import FileFormat

Modality = Literal["av", "audio", "video"]
Progress = Callable[[str, int, int], None]  # part of the work, items done, in all

VideosArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...", help="Media files, folders, quoted patterns, or @LIST: a name a line."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Directory, hf://owner/name or bundled name; default: bundled."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="'cpu', 'cuda' or 'auto'.")]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option("--precision", help="Of matrix products; 'auto': as the model is stored."),
]
ModalityOption = Annotated[
    Modality, typer.Option("--modality", help="Sound and lips, sound only, or lips only.")
]
BeamOption = Annotated[
    int, typer.Option("--beam-size", min=1, help="Hypotheses that the search keeps.")
]
CtcOption = Annotated[
    float, typer.Option("--ctc-weight", min=0.0, max=1.0, help="Share of CTC in the score.")
]
SyncOption = Annotated[
    bool, typer.Option(help="Put lips right that run before or behind the sound.")
]
FaceOption = Annotated[
    str,
    typer.Option(
        "--face",
        metavar="WHICH",
        help="Whose lips: 'auto' (who speaks), 'largest', 'left', 'right', or the face's number.",
    ),
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
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Do videos again whose files are in the folder already."),
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
def show_status(text: str) -> Iterator[Callable[..., None]]:
    """Show what is being done while it is being done, on a terminal only.

    Yields ``at(done, total, doing="")``, which adds the position in a recording, in seconds of it.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, doing="": None
        return
    began = time.monotonic()
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)) as status:

        def at(done: float, total: float, doing: str = "") -> None:
            where = f"{text}: {doing}, " if doing else f"{text}: "
            if done > 0:
                left = (time.monotonic() - began) * max(0.0, total / done - 1)
                where += f"{clock(done)} of {clock(total)}, {clock(left)} left"
            status.update(escape(where.removesuffix(", ")))

        yield at


def clock(seconds: float) -> str:
    """``75.2`` -> ``1:15``, ``3675`` -> ``1:01:15``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
