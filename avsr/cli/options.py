"""Options that several commands share."""

from typing import Annotated, Literal

import typer

from avsr.transcript import ENDINGS, FileFormat, Modality

MAX_WORKERS = 1000  # processes; a larger number is a slip

VideosArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...",
        help="Media files, folders, quoted patterns ('talk*.mp4'), or @LIST, a file of names.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Name that 'avsr models' lists, such as muavic-es, model directory, or "
        "hf://owner/name. Default: the bundled model.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="Where to compute: 'cpu', 'cuda', or 'auto' for a GPU if there is one."
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option(
        "--precision",
        help="Number format for matrix products. 'auto': the format in which the model is stored.",
    ),
]
ModalityOption = Annotated[
    Modality,
    typer.Option(
        "--modality",
        help="What to use: sound and lips (av), sound only (audio), or lips only (video).",
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, max=MAX_WORKERS, help="Number of processes.")
]
BeamOption = Annotated[
    int,
    typer.Option(
        "--beam-size",
        min=1,
        help="Number of hypotheses that the beam search keeps. More is slower and a little better.",
    ),
]
CtcOption = Annotated[
    float,
    typer.Option(
        "--ctc-weight",
        min=0.0,
        max=1.0,
        help="Share of the CTC score in the search, 0 to 1; the rest is the attention decoder's.",
    ),
]
SyncOption = Annotated[
    bool,
    typer.Option(help="Correct lips that are up to 200 ms ahead of or behind the sound."),
]
CheckOption = Annotated[
    bool,
    typer.Option(
        help="With sound and lips: leave out the lips where they contradict clear sound, or one of "
        "the two where it says nothing."
    ),
]
FaceOption = Annotated[
    str,
    typer.Option(
        "--face",
        metavar="WHICH",
        help="Whose lips to read: 'auto' (the face that speaks), 'largest', 'left', 'right', or "
        "the number of a face, as 'avsr crop' shows it.",
    ),
]
AudioTrackOption = Annotated[
    int | None,
    typer.Option(
        "--audio-track",
        min=1,
        metavar="N",
        help="Number of the sound track to read, as the file lists them. Default: the main one, or "
        "another where that is silent.",
    ),
]
VideoTrackOption = Annotated[
    int | None,
    typer.Option(
        "--video-track",
        min=1,
        metavar="N",
        help="Number of the video track to read. Default: the main one, or another where only "
        "that shows a face.",
    ),
]
MouthOption = Annotated[
    bool,
    typer.Option(
        "--mouth",
        help="The videos are ready-made mouth videos, square with sides of 88 to 128 px: no face "
        "is searched.",
    ),
]
LmOption = Annotated[
    float,
    typer.Option(
        "--lm-weight",
        min=0.0,
        help="Weight of the model's n-gram language model in the search; 0 leaves it out.",
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help=f"Write one file ({', '.join(ENDINGS)}), or a folder for several videos; '-' prints "
        "what would be written.",
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Do again videos that already have a file in the folder. Default: skip them.",
    ),
]
FormatOption = Annotated[
    FileFormat | None,
    typer.Option(
        "--format", help="Format of the files in a folder, or of '-'. Default: srt; txt for '-'."
    ),
]
BurnInOption = Annotated[
    str | None,
    typer.Option(
        "--burn-in", metavar="OUT.mp4", help="Also write the video with the subtitles burnt in."
    ),
]
