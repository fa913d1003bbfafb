"""Evaluate a model: transcribe a manifest under every condition, and resume where it stopped."""

import logging
import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from avsr.corpus import Record
from avsr.corpus.normalization import NORMALIZATION_VERSION
from avsr.evaluation.clips import check_media
from avsr.evaluation.config import Condition, EvaluationConfig
from avsr.evaluation.media_digests import FILE as MEDIA
from avsr.evaluation.media_digests import digest_media, find_replaced, read_digests
from avsr.evaluation.noise import check_noise
from avsr.evaluation.predictor import ModelRecognizer, Recognizer
from avsr.evaluation.provenance import SEARCH, describe_manifest, describe_model
from avsr.evaluation.run_folder import (
    CONDITIONS,
    append_condition,
    digest,
    drop_utterances,
    read_about,
    read_json,
    read_timing,
    repair_condition,
    to_json,
    write_condition,
)
from avsr.evaluation.scores import UtteranceResult
from avsr.evaluation.worker import EvaluationWorker, Task, open_library, select_records
from avsr.hub import load_network
from avsr.runtime.atomic_files import make_folder, replace_text
from avsr.runtime.cores import usable_cores
from avsr.runtime.progress import ItemProgress
from avsr.runtime.safe_names import cut_name
from avsr.runtime.workers import process_map

logger = logging.getLogger("avsr.evaluation")
MAX_PART = 100  # bytes of the model's and of the manifest's name in the name of a folder
PACKAGES = ("avsr", "torch", "numpy", "mediapipe", "av")


@lru_cache(maxsize=1)
def _open_worker(config: EvaluationConfig, device: str) -> EvaluationWorker:
    """Open the worker of this process, once."""
    model = load_network(config.model, device, config.precision)
    options = {name: getattr(config, name) for name in SEARCH}
    return EvaluationWorker(config, ModelRecognizer(model, **options))


def _work(config: EvaluationConfig, device: str, threads: int, task: Task) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _open_worker(config, device).work(task)
    finally:
        torch.set_num_threads(before)  # the process may be the caller's


def evaluate(
    config: EvaluationConfig,
    *,
    device: str = "auto",
    workers: int = 1,
    progress: ItemProgress | None = None,
    recognizer: Recognizer | None = None,
) -> Path:
    """Transcribe every utterance under every condition of a config.

    Utterances that an earlier call has transcribed are not transcribed again. The scores are not
    computed here: see ``read_run``, ``results`` and ``write_report``.

    Args:
        config: What to evaluate.
        device: ``cpu``, ``cuda`` or ``auto``.
        workers: Number of processes.
        progress: Called with ("transcripts", number done, number of all).
        recognizer: Replaces the config's model, in this process.

    Returns:
        The folder of the run.

    Raises:
        ConfigError, CorpusError, LanguageError, MediaError, ModelError: The config, manifest,
            media or model cannot be evaluated.
    """
    records = select_records(config)
    unheard = sorted(set(config.languages or ()) - {record.language for record in records})
    if unheard:
        logger.warning("%s has no records in %s", config.manifest, ", ".join(unheard))
    check_media(records, Path(config.manifest).parent)
    conditions = list(config.conditions())
    folder = _prepare_folder(config, records, conditions, recognizer)
    names = [record.utterance_id for record in records]
    results = {c.name: _select(repair_condition(folder, c.name), records) for c in conditions}
    tasks = list(_plan_tasks(names, conditions, results, config.batch_size))
    if recognizer is not None:
        workers, work = 1, EvaluationWorker(config, recognizer).work
    else:
        threads = max(1, usable_cores() // workers)
        work = partial(_work, config, device, threads)
    total = sum(len(task.indices) * len(task.conditions) for task in tasks)
    done = 0
    seconds: dict[str, float] = defaultdict(float, read_timing(folder))
    with process_map(workers) as mapped:
        for task, (by_condition, durations) in zip(tasks, mapped(work, tasks), strict=True):
            for name, utterances in by_condition.items():
                results[name].update({u.utterance_id: u for u in utterances})
                append_condition(folder, name, utterances)
            for name, duration in durations.items():
                seconds[name or "shared"] += duration
            done += len(task.indices) * len(task.conditions)
            if progress is not None:
                progress("transcripts", done, total)
    for condition in conditions:
        by_id = results[condition.name]
        write_condition(folder, condition.name, [by_id[name] for name in names])
    rounded = {name: round(duration, 2) for name, duration in seconds.items()}
    replace_text(folder / "timing.json", to_json(rounded))
    return folder


def _prepare_folder(
    config: EvaluationConfig,
    records: Sequence[Record],
    conditions: Sequence[Condition],
    recognizer: Recognizer | None,
) -> Path:
    """Make the folder of a run and write run.json and noise.json into it."""
    library = open_library(config)
    if config.noise_manifest is not None:
        check_noise(library.manifest, read_json(config.noise_manifest), config.noise_manifest)
    about: dict[str, Any] = {
        "model": describe_model(config, records, recognizer),
        "manifest": describe_manifest(config, records),
        "noise": digest(library.manifest),
        "normalization": NORMALIZATION_VERSION,
    }
    folder = Path(config.out) / "_".join(
        (
            f"{cut_name(about['model']['name'], MAX_PART)}-{digest(about['model'])[:8]}",
            f"{cut_name(Path(config.manifest).stem, MAX_PART)}-{digest(about['manifest'])[:8]}",
            f"noise-{about['noise'][:8]}",
        )
    )
    make_folder(folder / CONDITIONS)
    all_conditions = {condition.name: asdict(condition) for condition in conditions}
    if (folder / "run.json").exists():
        all_conditions = read_about(folder)[CONDITIONS] | all_conditions
    run = {
        **about,
        "media": os.fspath(Path(config.manifest).parent.resolve()),
        "paper": config.paper,
        CONDITIONS: all_conditions,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }
    _check_media_digests(folder, records, Path(config.manifest).parent)
    replace_text(folder / "noise.json", to_json(library.manifest))
    replace_text(folder / "run.json", to_json(run))
    return folder


def _select(
    results: Mapping[str, UtteranceResult], records: Sequence[Record]
) -> dict[str, UtteranceResult]:
    """The results that are of these records: somebody may have changed the files of a run."""
    return {
        record.utterance_id: result
        for record in records
        if (result := results.get(record.utterance_id)) is not None
        and (result.reference, result.language) == (record.text, record.language)
    }


def _check_media_digests(folder: Path, records: Sequence[Record], root: Path) -> None:
    """Delete the results of clips whose media were replaced since, with a line that says so."""
    known = read_digests(folder)
    digests = digest_media(records, root, known)
    count = drop_utterances(folder, find_replaced(records, known, digests))
    if count:
        reason = "whose media were replaced" if known else "whose media are not known from before"
        logger.warning("%s: clips %s are transcribed anew: %d", folder, reason, count)
    if digests != known:
        replace_text(folder / MEDIA, to_json(digests))


def _plan_tasks(
    names: Sequence[str],
    conditions: Sequence[Condition],
    results: Mapping[str, Mapping[str, UtteranceResult]],
    batch_size: int,
) -> Iterator[Task]:
    """Batch utterances that are still missing under the same conditions."""

    def missing(index: int) -> tuple[Condition, ...]:
        return tuple(c for c in conditions if names[index] not in results[c.name])

    for missing_conditions, group in groupby(range(len(names)), missing):
        indices = list(group)
        if missing_conditions:
            for first in range(0, len(indices), batch_size):
                chunk = tuple(indices[first : first + batch_size])
                yield Task(indices=chunk, conditions=missing_conditions)
