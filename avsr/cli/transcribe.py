"""The command ``transcribe``: language and text of videos, subtitles where asked for."""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.cli.display import (
    STOPPED,
    escape_controls,
    prefix_file,
    print_error,
    print_line,
    print_summary,
)
from avsr.cli.inputs import check_tracks, find_media
from avsr.cli.jobs import FileResult, TranscribeJob, transcribe_files
from avsr.cli.options import (
    MAX_WORKERS,
    AudioTrackOption,
    BeamOption,
    BurnInOption,
    CheckOption,
    CtcOption,
    DeviceOption,
    FaceOption,
    FormatOption,
    LmOption,
    ModalityOption,
    ModelOption,
    MouthOption,
    OutputOption,
    OverwriteOption,
    PrecisionOption,
    SyncOption,
    VideosArgument,
    VideoTrackOption,
)
from avsr.cli.outputs import OutputPlan, plan_outputs, report_done
from avsr.errors import AvsrError, MediaError
from avsr.recognition.options import TranscribeOptions, check_face
from avsr.search.options import BEAM_SIZE, CTC_WEIGHT, LM_WEIGHT
from avsr.transcript.result import NO_SPEECH

if TYPE_CHECKING:
    from avsr.transcript import Transcript

WIDEST = 60  # characters of a cell of the table


def transcribe(
    videos: VideosArgument,
    model: ModelOption = None,
    model_set: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with a model per language, instead of --model; or 'muavic', the "
            "public models of its nine languages."
        ),
    ] = None,
    max_loaded: Annotated[
        int, typer.Option(min=1, help="Number of models of --model-set in memory at a time.")
    ] = 2,
    modality: ModalityOption = "av",
    language: Annotated[
        str,
        typer.Option(
            help="Code of the spoken language, for example 'de'; 'auto' to detect it; or codes "
            "with commas, 'de,fr', to detect which of these it is: they share the probability."
        ),
    ] = "auto",
    beam_size: BeamOption = BEAM_SIZE,
    ctc_weight: CtcOption = CTC_WEIGHT,
    lm_weight: LmOption = LM_WEIGHT,
    sync: SyncOption = True,
    check: CheckOption = True,
    face: FaceOption = "auto",
    all_faces: Annotated[
        bool,
        typer.Option(
            "--all-faces",
            help="Transcribe every face in segments of its own, with a label.",
        ),
    ] = False,
    mouth: MouthOption = False,
    audio_track: AudioTrackOption = None,
    video_track: VideoTrackOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file and line.")
    ] = False,
    output: OutputOption = None,
    file_format: FormatOption = None,
    overwrite: OverwriteOption = False,
    burn_in: BurnInOption = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_WORKERS, help="Number of processes, each with a model of its own."
        ),
    ] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Ray cluster to use instead: HOST:PORT, 'auto' or 'local'.")
    ] = None,
) -> int:
    """Transcribe videos: print language and text; write subtitles with -o.

    Example: avsr transcribe talk.mp4 -o talk.srt
    """
    if model is not None and model_set is not None:
        raise AvsrError("--model and --model-set exclude each other: give one of them")
    if all_faces and (face != "auto" or model_set is not None):
        raise AvsrError("--all-faces cannot be combined with --face or --model-set")
    face = "all" if all_faces else face
    if cluster is not None and workers > 1:
        raise AvsrError(
            "--workers is for this machine; a cluster uses all its CPUs: leave one of them out"
        )
    files, relative_paths = find_media(videos)
    outputs = plan_outputs(
        files,
        output,
        file_format,
        burn_in,
        language,
        relative_paths=relative_paths,
        overwrite=overwrite,
        audio_track=audio_track,
        video_track=video_track,
    )
    check_face(face, modality, mouth=mouth)
    if json and outputs.prints:
        raise AvsrError("--json prints to stdout too: leave out '-o -', or take --format json")
    videos = [video for video in files if video not in outputs.done]
    skipped, failed = report_done(
        {video: outputs.files[video] for video in files if video in outputs.done}
    )
    check_tracks(videos, audio_track, video_track)
    if mouth:
        _check_mouth_videos(videos)
    if not videos:
        return print_summary(0, skipped, failed)
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
            **({} if check else {"check": False}),
            "face": face,
            **({"mouth": True} if mouth else {}),
            **({} if audio_track is None else {"audio_track": audio_track}),
            **({} if video_track is None else {"video_track": video_track}),
        },
        outputs=outputs,
    )
    is_detected = TranscribeOptions.from_dict(job.options).detects
    results: list[FileResult] = []
    is_stopped = False
    try:
        with closing(transcribe_files(job, videos, workers=workers, cluster=cluster)) as found:
            for result in found:
                results.append(result)
                _print_result(result, outputs, as_json=json, is_detected=is_detected)
                if result.stopped:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        is_stopped = True
    if len(results) > 1:
        for line in summary_table(results):
            print(line, file=sys.stderr, flush=True)
    failed += sum(result.error is not None for result in results)
    done = sum(result.error is None and not result.stopped for result in results)
    status = print_summary(done, skipped, failed)
    return STOPPED if is_stopped else status


def _check_mouth_videos(videos: Sequence[str]) -> None:
    """Raise MediaError for the first video that is no mouth video, before any work is done."""
    from avsr import media
    from avsr.face import check_mouth_size

    for video in videos:
        try:
            info = media.probe(video)
        except MediaError:  # it is named when its turn comes
            continue
        if info.has_video:
            check_mouth_size(video, info.width, info.height)


def _print_result(
    result: FileResult, outputs: OutputPlan, *, as_json: bool, is_detected: bool
) -> None:
    """The transcript on stdout, warnings and error on stderr."""
    transcript = result.transcript
    if transcript is not None:
        if not result.stopped:  # then the warning was printed already
            for warning in transcript.warnings:
                print_error(prefix_file(result.video, f"warning: {warning}"))
        if note := transcript.reliability_note:
            print_error(prefix_file(result.video, f"warning: {note}"))
        if outputs.prints:
            outputs.print(transcript)
        elif as_json:
            print(_as_json(transcript), flush=True)
        else:
            print_line(_as_line(transcript, is_detected))
    if result.error is not None:
        print_error(result.error)


def _as_json(result: "Transcript") -> str:
    """One line of JSON; if stdout cannot take the letters, with JSON's own escapes for them."""
    text = result.to_json()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(result.to_dict(), allow_nan=False)
    return text


def _as_line(result: "Transcript", is_detected: bool = True) -> str:
    """File, language with its probability where it was detected, and text."""
    share = ""
    if is_detected and (probability := result.language_probs.get(result.language)) is not None:
        share = f" ({probability:.2f})"
    elif is_detected and result.language_probs and result.reliable is not False:
        code, probability = next(iter(result.language_probs.items()))
        share = f" ({code} {probability:.2f})"
    text = result.text
    if any(part.speaker for part in result.segments):
        text = " | ".join(part.spoken_text for part in result.segments if part.text)
    return f"{result.file}  {result.language}{share}  {text}"


def summary_table(results: Sequence[FileResult]) -> list[str]:
    """Lines of a table: the result for each file, and the sums."""
    rows = [("file", "language", "seconds", "modality", "words", "warnings")]
    seconds, words = 0.0, 0
    for result in results:
        transcript = result.transcript
        error = result.error and result.error.removeprefix(f"{result.video}: ")
        if transcript is None:
            rows.append((result.video, "-", "-", "-", "-", error or "stopped"))
            continue
        count = len(transcript.text.split())
        seconds, words = seconds + transcript.duration, words + count
        notes = [*(["not reliable"] if transcript.reliable is False else []), *transcript.warnings]
        notes.sort(key=lambda note: note != NO_SPEECH)
        more = len(notes) - 1
        note = notes[0] + (f" (and {more} more)" if more else "") if notes else ""
        rows.append(
            (
                result.video,
                transcript.language,
                f"{transcript.duration:.1f}",
                transcript.modality,
                str(count),
                error or note,
            )
        )
    rows.append((f"{len(results)} files", "", f"{seconds:.1f}", "", str(words), ""))
    cells = [[escape_controls(cell) for cell in (_end(row[0]), *row[1:])] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    return [
        "  ".join(
            cell.rjust(width) if i in (2, 4) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, [*widths, 0], strict=True))
        ).rstrip()
        for row in cells
    ]


def _end(name: str) -> str:
    """The end of a long name, which is what tells files apart."""
    return name if len(name) <= WIDEST else f"...{name[3 - WIDEST :]}"
