"""Many files: in batches, side by side in processes, or on the machines of a Ray cluster."""

import contextlib
import functools
import io
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.cli.options import complain, show_status
from avsr.cli.outputs import Delivery
from avsr.errors import AvsrError
from avsr.runtime.cores import usable_cores
from avsr.runtime.interrupts import Stopped
from avsr.runtime.progress import Progress, telling

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel
    from avsr.model.quantization import Precision
    from avsr.recognition.model_set import ModelSet
    from avsr.transcript import Transcript

WIDEST = 60  # characters of a cell of the table


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done with every file; goes to every process."""

    model: str | None
    """As in ``load_model``."""
    models: Path | None
    """YAML of a ModelSet instead."""
    max_loaded: int
    device: str
    precision: "Precision"
    options: Mapping[str, Any]
    """Fields of TranscribeOptions."""
    delivery: Delivery


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a file."""

    video: str
    transcript: "Transcript | None" = None
    """Not there if it failed; with an ``error`` it is there, but could not be written."""
    error: str | None = None
    """One line."""
    stopped: bool = False
    """By Ctrl-C; the transcript has what was finished."""


def transcribe_files(
    job: Job, videos: Sequence[str], *, workers: int = 1, cluster: str | None = None
) -> Iterator[Outcome]:
    """Transcribe files and write what is to be written; the outcomes are in the files' order.

    With several ``workers``, or a ``cluster`` (an address as in ``corpus.workers``), every process
    has a model and a file at a time, and the processes of a machine share its cores. A cluster's
    machines need files, model and the folder of the results under the same paths. Raises
    AvsrError, before anything is done, if there is no such model, language or cluster.
    """
    from avsr.languages import check_language_option

    with show_status("loading the model"):
        network = load_network(job.model, job.models, job.max_loaded, job.device, job.precision)
    check_language_option(job.options["language"], network.config.languages)
    workers = min(workers, len(videos))
    if cluster is None and workers == 1:
        yield from _in_turn(job, network, videos)
        return
    del network
    from avsr.runtime.workers import cluster_map, process_map

    if cluster is None:
        cores = max(1, usable_cores() // workers)
        work, processes = _work_until_stopped, process_map(workers)
    else:
        cores, work, processes = 1, _work, cluster_map(cluster)
    with processes as run:
        yield from run(functools.partial(work, job, os.getcwd(), cores), videos)


def _in_turn(job: Job, network: "AVSRModel | ModelSet", videos: Sequence[str]) -> Iterator[Outcome]:
    """The outcome of each file, in this process."""
    from avsr.model.network import AVSRModel

    results: Iterator[Transcript | Exception] | None = None
    if len(videos) > 1 and isinstance(network, AVSRModel):
        from avsr.recognition.batching import transcribe_batches
        from avsr.recognition.pipeline import TranscribeOptions

        options = TranscribeOptions(**job.options)
        results = transcribe_batches(network, videos, options, job.delivery.check)
    for number, video in enumerate(videos, 1):
        with show_status(f"{video} ({number} of {len(videos)})") as at:
            if results is None:
                outcome = transcribe_one(job, network, video, at)
            else:
                with telling(at):
                    outcome = _take(job, video, results)
        yield outcome


def _take(job: Job, video: str, results: Iterator["Transcript | Exception"]) -> Outcome:
    """What became of the next file."""
    try:
        result = next(results)
    except Stopped as stop:
        return _keep(job, video, stop.transcript)
    if isinstance(result, Exception):
        return Outcome(video=video, error=describe(video, result))
    return _deliver(job, video, result)


def transcribe_one(
    job: Job,
    network: "AVSRModel | ModelSet",
    video: str,
    progress: Progress | None = None,
) -> Outcome:
    """Transcribe and write one file; an exception becomes its ``error``, unless AVSR_DEBUG is set.

    Raises KeyboardInterrupt at Ctrl-C, unless there is something to keep.
    """
    try:
        job.delivery.check(video)
        result = network.transcribe(video, progress=progress, **job.options)
    except Stopped as stop:
        return _keep(job, video, stop.transcript)
    except Exception as error:  # the other files are still to be done
        return Outcome(video=video, error=describe(video, error))
    return _deliver(job, video, result)


def _deliver(job: Job, video: str, result: "Transcript") -> Outcome:
    """Write what is to be written of a file."""
    result = replace(result, mouth=None)  # large, and seen by nobody here
    try:
        job.delivery.write(video, result)
    except Exception as error:
        return Outcome(video=video, transcript=result, error=describe(video, error))
    return Outcome(video=video, transcript=result)


def _keep(job: Job, video: str, transcript: "Transcript") -> Outcome:
    """Write the finished parts of a file that Ctrl-C has stopped."""
    try:
        part = job.delivery.write_part(video, transcript)
    except AvsrError as error:
        complain(describe(video, error))
        part = None
    done = f"{transcript.segments[-1].end:.1f} of {transcript.duration:.1f} s"
    complain(f"{video}: stopped at {done}" + (f"; what is done is in {part}" if part else ""))
    return Outcome(video=video, transcript=transcript, stopped=True)


def load_network(
    model: str | None, models: Path | None, max_loaded: int, device: str, precision: "Precision"
) -> "AVSRModel | ModelSet":
    """The model, or the set of models."""
    if models is not None:
        from avsr.recognition.model_set import ModelSet

        return ModelSet(models, device, max_loaded=max_loaded, precision=precision)
    from avsr.model.network import load_model

    return load_model(model, device, precision)


_network = functools.cache(load_network)  # one in each process
_interrupted = False  # this process; it has nothing more to do


def _work(job: Job, folder: str, threads: int, video: str) -> Outcome:
    """``transcribe_one`` in another process, from the same folder."""
    import torch

    torch.set_num_threads(threads)
    os.chdir(folder)
    with contextlib.redirect_stderr(io.StringIO()):  # the first process has said the licence
        network = _network(job.model, job.models, job.max_loaded, job.device, job.precision)
    return transcribe_one(job, network, video)


def _work_until_stopped(job: Job, folder: str, threads: int, video: str) -> Outcome:
    """``_work`` that is quiet at Ctrl-C, which comes to all processes, and has then finished."""
    global _interrupted
    if not _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            outcome = _work(job, folder, threads, video)
        except KeyboardInterrupt:
            outcome = Outcome(video=video, stopped=True)
        finally:
            signal.signal(signal.SIGINT, _on_interrupt)
        _interrupted = _interrupted or outcome.stopped
        return outcome
    return Outcome(video=video, stopped=True)


def _on_interrupt(*_: object) -> None:
    global _interrupted
    _interrupted = True


def describe(video: str, error: Exception) -> str:
    """One line about a file that failed; a bug is raised again where AVSR_DEBUG asks for it."""
    if isinstance(error, AvsrError):
        return about(video, str(error))
    if os.environ.get("AVSR_DEBUG"):
        raise error
    return about(video, f"{unexpected(error)}; AVSR_DEBUG=1 shows where")


def about(video: str, message: str) -> str:
    """The message with the file's name in front, unless it already names it."""
    named = message.startswith((f"{video}:", f"{Path(video)}:"))
    return message if named else f"{video}: {message}"


def unexpected(error: Exception) -> str:
    """One line about a bug."""
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def summary_table(outcomes: Sequence[Outcome]) -> list[str]:
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
