"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0 all good, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from avsr.cli import corpus as workshop
from avsr.cli import evaluate as assessment
from avsr.cli import models as exchange
from avsr.cli.jobs import about, describe, unexpected
from avsr.cli.options import (
    BeamOption,
    BurnOption,
    CtcOption,
    DeviceOption,
    FaceOption,
    FormatOption,
    LmOption,
    ModalityOption,
    ModelOption,
    OutputOption,
    OverwriteOption,
    PrecisionOption,
    SyncOption,
    VideosArgument,
    complain,
    show_status,
)
from avsr.errors import AvsrError

if TYPE_CHECKING:
    from avsr.cli.jobs import Outcome
    from avsr.transcript import Transcript

DEMO = Path(__file__).resolve().parents[1] / "demo" / "app.py"

app = typer.Typer(
    name="avsr",
    help="From a video of a person talking to text, from sound and lips together.",
    epilog="Exit status: 0 all good, 1 some files failed, 2 wrong use.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every error is one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = app(arguments or ["--help"], prog_name="avsr", standalone_mode=False)
    except TyperException as error:
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        complain(f"{message.rstrip('.')} (see 'avsr --help')")
        return 2
    except AvsrError as error:
        complain(str(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except Exception as error:  # a bug: say so in one line, the whole story on demand
        if os.environ.get("AVSR_DEBUG"):
            raise
        complain(f"{unexpected(error)}; AVSR_DEBUG=1 shows where")
        return 1
    if status == 130:
        complain("stopped")
    return 2 if not arguments else int(status or 0)


def _version(asked: bool) -> None:
    if asked:
        import avsr

        print(f"avsr {avsr.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def transcribe(
    videos: VideosArgument,
    model: ModelOption = None,
    models: Annotated[
        Path | None, typer.Option(help="YAML that names a model per language, instead of --model.")
    ] = None,
    max_loaded: Annotated[
        int, typer.Option(min=1, help="Models of --models that are in memory at a time.")
    ] = 2,
    modality: ModalityOption = "av",
    language: Annotated[
        str,
        typer.Option(
            help="Code of the spoken language, 'auto' to detect it, or codes with commas "
            "between to detect which of these."
        ),
    ] = "auto",
    beam_size: BeamOption = 5,
    ctc_weight: CtcOption = 0.3,
    lm_weight: LmOption = 0.4,
    sync: SyncOption = True,
    face: FaceOption = "auto",
    every_face: Annotated[
        bool, typer.Option("--every-face", help="Transcribe each face, in segments of its own.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file and line on stdout.")
    ] = False,
    output: OutputOption = None,
    file_format: FormatOption = None,
    overwrite: OverwriteOption = False,
    burn: BurnOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a model.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Ray cluster that works instead: HOST:PORT, auto or local.")
    ] = None,
) -> int:
    """Print language, probability and text of each video; write subtitles where asked to."""
    from avsr.cli.inputs import find_media
    from avsr.cli.jobs import Job, summary_table, transcribe_files
    from avsr.cli.outputs import plan_delivery

    if model is not None and models is not None:
        raise AvsrError("--model and --models exclude each other")
    if every_face and (face != "auto" or models is not None):
        raise AvsrError("--every-face goes with neither --face nor --models")
    face = "every" if every_face else face
    if cluster is not None and workers > 1:
        raise AvsrError("--workers is of this machine: a cluster uses all its CPUs")
    every, places = find_media(videos)
    delivery = plan_delivery(
        every, output, file_format, burn, language, places=places, overwrite=overwrite
    )
    from avsr.recognition.recording import (
        check_face,  # not before the names are right: it loads torch
    )

    check_face(face, modality)
    videos = [video for video in every if video not in delivery.done]
    skipped = len(every) - len(videos)
    if not videos:
        return _summarize(0, skipped, 0)
    job = Job(
        model=model,
        models=models,
        max_loaded=max_loaded,
        device=device,
        precision=precision,
        options={
            "modality": modality,
            "language": language,
            "beam_size": beam_size,
            "ctc_weight": ctc_weight,
            "lm_weight": lm_weight,
            "sync": sync,
            "face": face,
        },
        delivery=delivery,
    )
    outcomes: list[Outcome] = []
    stopped = False
    try:
        for outcome in transcribe_files(job, videos, workers=workers, cluster=cluster):
            outcomes.append(outcome)
            if (result := outcome.transcript) is not None:
                for warning in () if outcome.stopped else result.warnings:  # it was told why
                    complain(about(outcome.video, f"warning: {warning}"))
                print(result.to_json() if json else _as_line(result), flush=True)
            if outcome.error is not None:
                complain(outcome.error)
            if outcome.stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        stopped = True
    if len(outcomes) > 1:
        for line in summary_table(outcomes):
            print(line, file=sys.stderr)
    failed = sum(outcome.error is not None for outcome in outcomes)
    done = sum(outcome.error is None and not outcome.stopped for outcome in outcomes)
    status = _summarize(done, skipped, failed)
    return 130 if stopped else status


@app.command()
def crop(
    videos: VideosArgument,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into.")
    ],
    face: FaceOption = "auto",
    overwrite: OverwriteOption = False,
) -> int:
    """Show what the model sees: mouth and landmark videos, contact sheet, numbers per frame."""
    from avsr.cli.inputs import VIDEO_ENDINGS, find_media
    from avsr.inspection.crops import crop_video, is_cropped, plan_crops
    from avsr.recognition.recording import check_face

    failed = 0
    check_face(face)
    if face == "every":
        raise AvsrError("one face at a time is cropped: say which, with --face")
    _, places = find_media(videos, VIDEO_ENDINGS)
    stems = plan_crops(list(places), output, places)
    videos = [video for video in places if overwrite or not is_cropped(video, stems[video])]
    for number, video in enumerate(videos, 1):

        def warn(message: str, video: str = video) -> None:
            complain(about(video, f"warning: {message}"))

        try:
            with show_status(f"{video} ({number} of {len(videos)})") as at:
                report = crop_video(video, stems[video], warn=warn, progress=at, wish=face)
        except Exception as error:  # the other files are still to be done
            failed += 1
            complain(describe(video, error))
            continue
        print(f"{report.sheet}  {report}", flush=True)
    return _summarize(len(videos) - failed, len(places) - len(videos), failed)


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port; by default the first free one from 7860 on.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    config: Annotated[
        Path | None, typer.Option(help="YAML file of limits; demo/README.md lists them.")
    ] = None,
    auth: Annotated[
        Path | None, typer.Option(help="File with a line name:password for each user.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path or address at which a proxy shows the page, such as /avsr.")
    ] = "",
) -> None:
    """Serve the web page."""
    if not DEMO.is_file():
        raise AvsrError(
            "the demo is not in the installed package: clone the repository and run 'make demo'"
        )
    sys.path.insert(0, str(DEMO.parents[1]))
    page = importlib.import_module("demo.app")
    page.main(
        host=host,
        port=port,
        model=model,
        device=device,
        precision=precision,
        config=config,
        auth=auth,
        root_path=root_path,
    )


for command in (
    workshop.synthesize,
    workshop.validate,
    workshop.balance,
    workshop.prepare,
    workshop.train,
    assessment.evaluate,
    assessment.compare,
):
    app.command()(command)
app.command(name="import")(exchange.import_model)
app.command(name="export")(exchange.export_model)
app.command(name="models")(exchange.list_models)


def _as_line(result: "Transcript") -> str:
    named = result.language_probs.get(result.language)
    share = "" if named is None else f" ({named:.2f})"
    if named is None and result.language_probs:
        code, probability = next(iter(result.language_probs.items()))
        share = f" ({code} {probability:.2f})"
    text = result.text
    if any(part.speaker for part in result.segments):
        text = " | ".join(part.spoken_text for part in result.segments if part.text)
    return f"{result.file}  {result.language}{share}  {text}"


def _summarize(done: int, skipped: int, failed: int) -> int:
    """Say how several videos went; the exit status."""
    if done + skipped + failed > 1 or skipped:
        hint = " (--overwrite does them again)" if skipped else ""
        complain(f"{done} done, {skipped} skipped{hint}, {failed} failed")
    return 1 if failed else 0
