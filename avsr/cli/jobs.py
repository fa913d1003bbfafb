"""Transcribe many files: in batches, in several processes, or on a Ray cluster."""

import functools
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.cli.display import format_error, print_error, show_status
from avsr.cli.outputs import OutputPlan
from avsr.errors import AvsrError
from avsr.languages import resolve_language_option
from avsr.runtime.cores import usable_cores
from avsr.runtime.progress import Progress, listen_progress
from avsr.transcript.result import Interrupted

if TYPE_CHECKING:
    from avsr.model.quantization import Precision
    from avsr.recognition.model_set import ModelSet
    from avsr.recognition.recognizer import Recognizer
    from avsr.transcript import Transcript


@dataclass(frozen=True, kw_only=True)
class TranscribeJob:
    """What to do with every file; it is sent to every process."""

    model: str | None
    """Name of the model, as in ``load_model``."""
    model_set: Path | None
    """YAML file of a ModelSet, which replaces the model."""
    max_loaded: int
    """Most models of the set in memory at once."""
    device: str
    precision: "Precision"
    options: Mapping[str, Any]
    """Fields of TranscribeOptions."""
    outputs: OutputPlan


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """The result for one file."""

    video: str
    transcript: "Transcript | None" = None
    """None if the transcription failed; with an ``error``, writing it failed."""
    error: str | None = None
    """One line, or None."""
    stopped: bool = False
    """Whether Ctrl-C stopped it; the transcript has the finished segments."""


def transcribe_files(
    job: TranscribeJob, videos: Sequence[str], *, workers: int = 1, cluster: str | None = None
) -> Generator[FileResult, None, None]:
    """Transcribe files, write their outputs, and yield the results in the order of the files.

    With several ``workers``, or with a ``cluster``, every process has its own model and works on
    one file at a time. The processes of a machine share its cores. The machines of a cluster need
    the files, the model and the output folder under the same paths.

    Args:
        job: What to do with every file.
        videos: The files.
        workers: Number of processes.
        cluster: Address of a Ray cluster to use instead, as for ``cluster_map``.

    Yields:
        The result for each file.

    Raises:
        AvsrError: There is no such model, language or cluster; raised before any file is read.
    """
    with show_status("loading the model"):
        network = load_recognizer(
            job.model, job.model_set, job.max_loaded, job.device, job.precision
        )
    resolve_language_option(job.options["language"], network.languages)
    if job.model_set is not None:
        _prepare_set(network, job.options["language"])
    workers = min(workers, len(videos))
    if cluster is None and workers == 1:
        yield from _transcribe_here(job, network, videos)
        return
    del network
    from avsr.runtime.workers import cluster_map, process_map

    if cluster is None:
        cores, processes = max(1, usable_cores() // workers), process_map(workers)
    else:
        cores, processes = 1, cluster_map(cluster)
    with processes as run:
        yield from run(functools.partial(_work, job, os.getcwd(), cores), videos)


def _prepare_set(models: "Recognizer | ModelSet", language: str) -> None:
    """Let a set of models find what it needs before any file is read."""
    from avsr.recognition.model_set import ModelSet

    if isinstance(models, ModelSet):
        with show_status("finding the models"):
            models.prepare(language)


def _transcribe_here(
    job: TranscribeJob, network: "Recognizer | ModelSet", videos: Sequence[str]
) -> Iterator[FileResult]:
    """Transcribe the files in this process."""
    from avsr.recognition.recognizer import Recognizer

    results: Iterator[Transcript | Exception] | None = None
    if len(videos) > 1 and isinstance(network, Recognizer):
        from avsr.recognition.batching import transcribe_batches
        from avsr.recognition.options import TranscribeOptions

        options = TranscribeOptions(**job.options)
        results = transcribe_batches(network.network, videos, options, job.outputs.check)
    for number, video in enumerate(videos, 1):
        with show_status(f"{video} ({number} of {len(videos)})") as update:
            if results is None:
                result = transcribe_one(job, network, video, update)
            else:
                with listen_progress(update):
                    result = _next_result(job, video, results)
        yield result


def _next_result(
    job: TranscribeJob, video: str, results: Iterator["Transcript | Exception"]
) -> FileResult:
    """Take the next transcript of a batch and write its outputs."""
    try:
        transcript = next(results)
    except Interrupted as stop:
        return _write_part(job, video, stop.transcript)
    if isinstance(transcript, Exception):
        return FileResult(video=video, error=format_error(video, transcript))
    return _write_outputs(job, video, transcript)


def transcribe_one(
    job: TranscribeJob,
    network: "Recognizer | ModelSet",
    video: str,
    progress: Progress | None = None,
) -> FileResult:
    """Transcribe one file and write its outputs.

    Args:
        job: What to do with the file.
        network: Model or set of models.
        video: The file.
        progress: Called with the position in the recording.

    Returns:
        The result; an exception becomes its ``error``, unless AVSR_DEBUG is set.

    Raises:
        KeyboardInterrupt: At Ctrl-C, if no segment is finished.
    """
    try:
        job.outputs.check(video)
        transcript = network.transcribe(video, progress=progress, **job.options)
    except Interrupted as stop:
        return _write_part(job, video, stop.transcript)
    except Exception as error:  # go on with the other files
        return FileResult(video=video, error=format_error(video, error))
    return _write_outputs(job, video, transcript)


def _write_outputs(job: TranscribeJob, video: str, transcript: "Transcript") -> FileResult:
    """Write the outputs of a file."""
    transcript = replace(transcript, mouth=None)  # large, and no longer needed
    try:
        job.outputs.write(video, transcript)
    except Exception as error:
        return FileResult(video=video, transcript=transcript, error=format_error(video, error))
    return FileResult(video=video, transcript=transcript)


def _write_part(job: TranscribeJob, video: str, transcript: "Transcript") -> FileResult:
    """Write the finished segments of a file that was stopped by Ctrl-C."""
    try:
        part = job.outputs.write_part(video, transcript)
    except AvsrError as error:
        print_error(format_error(video, error))
        part = None
    position = f"{transcript.segments[-1].end:.1f} of {transcript.duration:.1f} s"
    hint = f"; the finished part is in {part}" if part else ""
    print_error(f"{video}: stopped at {position}{hint}")
    return FileResult(video=video, transcript=transcript, stopped=True)


def load_recognizer(
    model: str | None, model_set: Path | None, max_loaded: int, device: str, precision: "Precision"
) -> "Recognizer | ModelSet":
    """Load the model, or the set of models if ``model_set`` is not None."""
    if model_set is not None:
        from avsr.recognition.model_set import ModelSet

        return ModelSet(model_set, device, max_loaded=max_loaded, precision=precision)

    from avsr.recognition.recognizer import load_model

    return load_model(model, device, precision)


_network = functools.cache(load_recognizer)  # one per process


def _work(job: TranscribeJob, folder: str, threads: int, video: str) -> FileResult:
    """Run ``transcribe_one`` in another process, from the same folder."""
    import torch

    torch.set_num_threads(threads)
    os.chdir(folder)
    network = _network(job.model, job.model_set, job.max_loaded, job.device, job.precision)
    return transcribe_one(job, network, video)
