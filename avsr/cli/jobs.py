"""Many files: in batches, side by side in processes, or on the machines of a Ray cluster."""

import functools
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.cli.display import format_error, print_error, show_status
from avsr.cli.outputs import Delivery
from avsr.errors import AvsrError
from avsr.languages import check_language_option
from avsr.runtime.cores import usable_cores
from avsr.runtime.progress import Progress, listen_progress
from avsr.runtime.workers import cluster_map, process_map
from avsr.transcript.result import Interrupted

if TYPE_CHECKING:
    from avsr.model.quantization import Precision
    from avsr.recognition.model_set import ModelSet
    from avsr.recognition.recognizer import Recognizer
    from avsr.transcript import Transcript


@dataclass(frozen=True, kw_only=True)
class TranscribeJob:
    """What is done with every file; goes to every process."""

    model: str | None
    """As in ``load_model``."""
    model_set: Path | None
    """YAML of a ModelSet instead."""
    max_loaded: int
    device: str
    precision: "Precision"
    options: Mapping[str, Any]
    """Fields of TranscribeOptions."""
    delivery: Delivery


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """What came of a file."""

    video: str
    transcript: "Transcript | None" = None
    """Not there if it failed; with an ``error`` it is there, but could not be written."""
    error: str | None = None
    """One line."""
    stopped: bool = False
    """By Ctrl-C; the transcript has what was finished."""


def transcribe_files(
    job: TranscribeJob, videos: Sequence[str], *, workers: int = 1, cluster: str | None = None
) -> Iterator[FileResult]:
    """Transcribe files and write what is to be written; the outcomes are in the files' order.

    With several ``workers``, or a ``cluster`` (an address as in ``corpus.workers``), every process
    has a model and a file at a time, and the processes of a machine share its cores. A cluster's
    machines need files, model and the folder of the results under the same paths. Raises
    AvsrError, before anything is done, if there is no such model, language or cluster.
    """
    with show_status("loading the model"):
        network = load_recognizer(
            job.model, job.model_set, job.max_loaded, job.device, job.precision
        )
    check_language_option(job.options["language"], network.languages)
    workers = min(workers, len(videos))
    if cluster is None and workers == 1:
        yield from _in_turn(job, network, videos)
        return
    del network
    if cluster is None:
        cores = max(1, usable_cores() // workers)
        work, processes = _work_until_stopped, process_map(workers)
    else:
        cores, work, processes = 1, _work, cluster_map(cluster)
    with processes as run:
        yield from run(functools.partial(work, job, os.getcwd(), cores), videos)


def _in_turn(
    job: TranscribeJob, network: "Recognizer | ModelSet", videos: Sequence[str]
) -> Iterator[FileResult]:
    """The outcome of each file, in this process."""
    from avsr.recognition.recognizer import Recognizer

    results: Iterator[Transcript | Exception] | None = None
    if len(videos) > 1 and isinstance(network, Recognizer):
        from avsr.recognition.batching import transcribe_batches
        from avsr.recognition.options import TranscribeOptions

        options = TranscribeOptions(**job.options)
        results = transcribe_batches(network.network, videos, options, job.delivery.check)
    for number, video in enumerate(videos, 1):
        with show_status(f"{video} ({number} of {len(videos)})") as at:
            if results is None:
                outcome = transcribe_one(job, network, video, at)
            else:
                with listen_progress(at):
                    outcome = _take(job, video, results)
        yield outcome


def _take(
    job: TranscribeJob, video: str, results: Iterator["Transcript | Exception"]
) -> FileResult:
    """What became of the next file."""
    try:
        result = next(results)
    except Interrupted as stop:
        return _keep(job, video, stop.transcript)
    if isinstance(result, Exception):
        return FileResult(video=video, error=format_error(video, result))
    return _deliver(job, video, result)


def transcribe_one(
    job: TranscribeJob,
    network: "Recognizer | ModelSet",
    video: str,
    progress: Progress | None = None,
) -> FileResult:
    """Transcribe and write one file; an exception becomes its ``error``, unless AVSR_DEBUG is set.

    Raises KeyboardInterrupt at Ctrl-C, unless there is something to keep.
    """
    try:
        job.delivery.check(video)
        result = network.transcribe(video, progress=progress, **job.options)
    except Interrupted as stop:
        return _keep(job, video, stop.transcript)
    except Exception as error:  # the other files are still to be done
        return FileResult(video=video, error=format_error(video, error))
    return _deliver(job, video, result)


def _deliver(job: TranscribeJob, video: str, result: "Transcript") -> FileResult:
    """Write what is to be written of a file."""
    result = replace(result, mouth=None)  # large, and seen by nobody here
    try:
        job.delivery.write(video, result)
    except Exception as error:
        return FileResult(video=video, transcript=result, error=format_error(video, error))
    return FileResult(video=video, transcript=result)


def _keep(job: TranscribeJob, video: str, transcript: "Transcript") -> FileResult:
    """Write the finished parts of a file that Ctrl-C has stopped."""
    try:
        part = job.delivery.write_part(video, transcript)
    except AvsrError as error:
        print_error(format_error(video, error))
        part = None
    done = f"{transcript.segments[-1].end:.1f} of {transcript.duration:.1f} s"
    print_error(f"{video}: stopped at {done}" + (f"; what is done is in {part}" if part else ""))
    return FileResult(video=video, transcript=transcript, stopped=True)


def load_recognizer(
    model: str | None, model_set: Path | None, max_loaded: int, device: str, precision: "Precision"
) -> "Recognizer | ModelSet":
    """The model, or the set of models."""
    if model_set is not None:
        from avsr.recognition.model_set import ModelSet

        return ModelSet(model_set, device, max_loaded=max_loaded, precision=precision)

    from avsr.recognition.recognizer import load_model

    return load_model(model, device, precision)


_network = functools.cache(load_recognizer)  # one in each process
_interrupted = False  # this process; it has nothing more to do


def _work(job: TranscribeJob, folder: str, threads: int, video: str) -> FileResult:
    """``transcribe_one`` in another process, from the same folder."""
    import torch

    torch.set_num_threads(threads)
    os.chdir(folder)
    network = _network(job.model, job.model_set, job.max_loaded, job.device, job.precision)
    return transcribe_one(job, network, video)


def _work_until_stopped(job: TranscribeJob, folder: str, threads: int, video: str) -> FileResult:
    """``_work`` that is quiet at Ctrl-C, which comes to all processes, and has then finished."""
    global _interrupted
    if not _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            outcome = _work(job, folder, threads, video)
        except KeyboardInterrupt:
            outcome = FileResult(video=video, stopped=True)
        finally:
            signal.signal(signal.SIGINT, _on_interrupt)
        _interrupted = _interrupted or outcome.stopped
        return outcome
    return FileResult(video=video, stopped=True)


def _on_interrupt(*_: object) -> None:
    global _interrupted
    _interrupted = True
