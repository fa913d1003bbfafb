"""What the commands share: options, progress and complaints on stderr."""

from typing import Annotated, Literal

import typer

from avsr.transcript import ENDINGS, FileFormat, Modality

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
        help=f"Write one file ({', '.join(ENDINGS)}), or a folder for several videos.",
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
BurnInOption = Annotated[
    str | None,
    typer.Option("--burn-in", metavar="OUT.mp4", help="Write the video with subtitles in it."),
]
