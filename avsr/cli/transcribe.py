"""The command ``transcribe``: language and text of videos, subtitles where asked for."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.cli.display import prefix_file, print_error, print_summary
from avsr.cli.inputs import find_media
from avsr.cli.jobs import FileResult, TranscribeJob, transcribe_files
from avsr.cli.options import (
    BeamOption,
    BurnInOption,
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
)
from avsr.cli.outputs import plan_delivery
from avsr.errors import AvsrError
from avsr.recognition.options import check_face
from avsr.search.options import BEAM_SIZE, CTC_WEIGHT, LM_WEIGHT

if TYPE_CHECKING:
    from avsr.transcript import Transcript

WIDEST = 60  # characters of a cell of the table


def transcribe(
    videos: VideosArgument,
    model: ModelOption = None,
    model_set: Annotated[
        Path | None, typer.Option(help="YAML that names a model per language, instead of --model.")
    ] = None,
    max_loaded: Annotated[
        int, typer.Option(min=1, help="Models of --model-set that are in memory at a time.")
    ] = 2,
    modality: ModalityOption = "av",
    language: Annotated[
        str,
        typer.Option(
            help="Code of the spoken language, 'auto' to detect it, or codes with commas "
            "between to detect which of these."
        ),
    ] = "auto",
    beam_size: BeamOption = BEAM_SIZE,
    ctc_weight: CtcOption = CTC_WEIGHT,
    lm_weight: LmOption = LM_WEIGHT,
    sync: SyncOption = True,
    face: FaceOption = "auto",
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Transcribe each face, in segments of its own.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file and line on stdout.")
    ] = False,
    output: OutputOption = None,
    file_format: FormatOption = None,
    overwrite: OverwriteOption = False,
    burn_in: BurnInOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a model.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Ray cluster that works instead: HOST:PORT, auto or local.")
    ] = None,
) -> int:
    """Print language, probability and text of each video; write subtitles where asked to."""
    if model is not None and model_set is not None:
        raise AvsrError("--model and --model-set exclude each other")
    if all_faces and (face != "auto" or model_set is not None):
        raise AvsrError("--all-faces goes with neither --face nor --model-set")
    face = "all" if all_faces else face
    if cluster is not None and workers > 1:
        raise AvsrError("--workers is of this machine: a cluster uses all its CPUs")
    every, places = find_media(videos)
    delivery = plan_delivery(
        every, output, file_format, burn_in, language, places=places, overwrite=overwrite
    )
    check_face(face, modality)
    videos = [video for video in every if video not in delivery.done]
    skipped = len(every) - len(videos)
    if not videos:
        return print_summary(0, skipped, 0)
    job = TranscribeJob(
        model=model,
        model_set=model_set,
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
    outcomes: list[FileResult] = []
    stopped = False
    try:
        for outcome in transcribe_files(job, videos, workers=workers, cluster=cluster):
            outcomes.append(outcome)
            if (result := outcome.transcript) is not None:
                for warning in () if outcome.stopped else result.warnings:  # it was told why
                    print_error(prefix_file(outcome.video, f"warning: {warning}"))
                print(result.to_json() if json else _as_line(result), flush=True)
            if outcome.error is not None:
                print_error(outcome.error)
            if outcome.stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        stopped = True
    if len(outcomes) > 1:
        for line in summary_table(outcomes):
            print(line, file=sys.stderr)
    failed = sum(outcome.error is not None for outcome in outcomes)
    done = sum(outcome.error is None and not outcome.stopped for outcome in outcomes)
    status = print_summary(done, skipped, failed)
    return 130 if stopped else status


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


def summary_table(outcomes: Sequence[FileResult]) -> list[str]:
    """Lines: what came of each file, and all together."""
    rows = [("file", "language", "seconds", "modality", "words", "warnings")]
    seconds, words = 0.0, 0
    for outcome in outcomes:
        result = outcome.transcript
        error = outcome.error and outcome.error.removeprefix(f"{outcome.video}: ")
        if result is None:
            rows.append((outcome.video, "-", "-", "-", "-", error or "stopped"))
            continue
        count = len(result.text.split())
        seconds, words = seconds + result.duration, words + count
        more = len(result.warnings) - 1
        note = result.warnings[0] + (f" (and {more} more)" if more else "") if more >= 0 else ""
        rows.append(
            (
                outcome.video,
                result.language,
                f"{result.duration:.1f}",
                result.modality,
                str(count),
                error or note,
            )
        )
    rows.append((f"{len(outcomes)} files", "", f"{seconds:.1f}", "", str(words), ""))
    rows = [(_end(row[0]), *row[1:]) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return [
        "  ".join(
            cell.rjust(width) if i in (2, 4) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, [*widths, 0], strict=True))
        ).rstrip()
        for row in rows
    ]


def _end(name: str) -> str:
    """The last part of a name is what tells files apart."""
    return name if len(name) <= WIDEST else f"...{name[3 - WIDEST :]}"
