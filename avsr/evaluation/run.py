"""An evaluation run: a manifest under every condition, resumed where it stopped.

The folder's name holds digests of model, manifest and noise, so that nothing is overwritten:

- ``run.json``: what was asked of which model on which data, with which versions
- ``noise.json``: where the noise comes from, with digests
- ``cells/<cell>.jsonl``: every utterance under one condition
- ``results.json``, ``report.md``, ``report.html``: the scores
- ``timing.json``: seconds of work, for each cell and for what they share
"""

import hashlib
import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from avsr.corpus import Record
from avsr.errors import ConfigError, LanguageError
from avsr.evaluation.clips import check_media
from avsr.evaluation.config import Condition, EvaluationConfig
from avsr.evaluation.noise import check_noise
from avsr.evaluation.predictor import AUTO, ModelRecognizer, Recognizer
from avsr.evaluation.scores import UtteranceResult
from avsr.evaluation.text import NORMALIZATION_VERSION
from avsr.evaluation.worker import EvaluationWorker, Task, chosen_records, noise_library
from avsr.hub import find_model
from avsr.runtime.atomic_files import replace_text
from avsr.runtime.cores import usable_cores
from avsr.runtime.progress import ItemProgress
from avsr.runtime.workers import process_map
from avsr.search import pack_ngrams

SEARCH = ("beam_size", "ctc_weight", "lm_weight", "sync")
PACKAGES = ("avsr", "torch", "numpy", "mediapipe", "av")


@lru_cache(maxsize=1)
def _open(config: EvaluationConfig, device: str, threads: int) -> EvaluationWorker:
    """The workplace of a process of its own."""
    import torch

    from avsr.hub import load_network

    torch.set_num_threads(threads)
    model = load_network(config.model, device, config.precision)
    options = {name: getattr(config, name) for name in SEARCH}
    return EvaluationWorker(config, ModelRecognizer(model, **options))


def _work(config: EvaluationConfig, device: str, threads: int, task: Task) -> Any:
    return _open(config, device, threads).work(task)


def evaluate(
    config: EvaluationConfig,
    *,
    device: str = "auto",
    workers: int = 1,
    progress: ItemProgress | None = None,
    recognizer: Recognizer | None = None,
) -> Path:
    """Transcribe what is not transcribed yet and return the run's folder, without a report.

    ``recognizer`` takes the place of the config's model, in this process. Raises ConfigError,
    CorpusError, LanguageError, MediaError or ModelError for what cannot be evaluated.
    """
    records = chosen_records(config)
    check_media(records, Path(config.manifest).parent)
    cells = list(config.cells())
    library = noise_library(config)
    if config.noise_manifest is not None:
        check_noise(library.manifest, _read_json(config.noise_manifest), config.noise_manifest)
    about: dict[str, Any] = {
        "model": _about_model(config, records, recognizer),
        "manifest": _about_manifest(config, records),
        "noise": _digest(library.manifest),
        "normalization": NORMALIZATION_VERSION,
    }
    folder = Path(config.out) / "_".join(
        (
            f"{about['model']['name']}-{_digest(about['model'])[:8]}",
            f"{Path(config.manifest).stem}-{_digest(about['manifest'])[:8]}",
            f"noise-{about['noise'][:8]}",
        )
    )
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    replace_text(folder / "noise.json", _json(library.manifest))
    asked = {cell.name: asdict(cell) for cell in cells}
    if (folder / "run.json").exists():
        asked = _read_json(folder / "run.json")["cells"] | asked
    versions = {"python": platform.python_version()} | {p: version(p) for p in PACKAGES}
    run = {
        **about,
        "media": os.fspath(Path(config.manifest).parent.resolve()),
        "paper": config.paper,
        "cells": asked,
        "versions": versions,
    }
    replace_text(folder / "run.json", _json(run))

    names = [record.utterance_id for record in records]
    kept = {cell.name: _read_cell(folder, cell.name) for cell in cells}
    tasks = list(_tasks(names, cells, kept, config.batch_size))
    total = sum(len(task.indices) * len(task.cells) for task in tasks)
    done = 0
    seconds: dict[str, float] = defaultdict(float)
    if (folder / "timing.json").exists():
        seconds.update(_read_json(folder / "timing.json"))
    if recognizer is not None:
        workers, work = 1, EvaluationWorker(config, recognizer).work
    else:
        threads = max(1, usable_cores() // workers)
        work = partial(_work, config, device, threads)
    with process_map(workers) as mapped:
        for task, (found, took) in zip(tasks, mapped(work, tasks), strict=True):
            for name, outcomes in found.items():
                kept[name].update({o.utterance_id: o for o in outcomes})
                _append(folder, name, outcomes)
            for name, amount in took.items():
                seconds[name or "shared"] += amount
            done += len(task.indices) * len(task.cells)
            if progress is not None:
                progress("transcripts", done, total)
    for cell in cells:
        _write_cell(folder, cell.name, [kept[cell.name][name] for name in names])
    rounded = {name: round(amount, 2) for name, amount in seconds.items()}
    replace_text(folder / "timing.json", _json(rounded))
    return folder


def _tasks(
    names: Sequence[str],
    cells: Sequence[Condition],
    kept: Mapping[str, Mapping[str, UtteranceResult]],
    batch_size: int,
) -> Iterator[Task]:
    """What is missing: utterances that lack the same cells, ``batch_size`` at a time."""

    def missing(index: int) -> tuple[Condition, ...]:
        return tuple(cell for cell in cells if names[index] not in kept[cell.name])

    for lacking, group in groupby(range(len(names)), missing):
        indices = list(group)
        if lacking:
            for first in range(0, len(indices), batch_size):
                chunk = tuple(indices[first : first + batch_size])
                yield Task(indices=chunk, cells=lacking)


def _about_model(
    config: EvaluationConfig, records: Iterable[Record], recognizer: Recognizer | None
) -> dict[str, Any]:
    """Name, digest of the weights and search options; check that it knows the languages."""
    from avsr.hub import load_network
    from avsr.model.directory import WEIGHTS
    from avsr.model.weights import stored_precision

    options = {name: getattr(config, name) for name in SEARCH}
    if recognizer is not None:
        return {"name": type(recognizer).__name__.lower(), "weights": None, **options}
    model = load_network(config.model, "cpu", "fp32")
    known = model.config.languages
    wrong = sorted({r.language for r in records} - set(known))
    if wrong:
        raise LanguageError(
            f"the model does not know {', '.join(wrong)}, which the manifest has; score the others "
            "with 'languages'"
        )
    told = [mode for mode in config.language_modes if mode not in (AUTO, "given", *known)]
    if told:
        raise ConfigError(f"language_modes: '{told[0]}' is neither auto, given nor known")
    # The temperature of its probabilities, say, may change while the weights stay.
    digest = hashlib.sha256(_json(asdict(model.config)).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.contiguous().numpy().tobytes())
    digest.update(pack_ngrams(model.language_models))
    folder = find_model(config.model)
    for graph in sorted(folder.glob("*.onnx*")):  # which are not in the state
        digest.update(graph.read_bytes())
    precision = config.precision
    if precision == "auto" and (folder / WEIGHTS).is_file():
        precision = stored_precision(folder / WEIGHTS)
    if precision not in ("auto", "fp32"):  # folders of runs in fp32 do not say so
        options["precision"] = precision
    path = Path(config.model or "tiny").resolve()
    name = path.parent.name if path.name == "model" else path.name
    return {"name": name, "weights": digest.hexdigest(), **options}


def _about_manifest(config: EvaluationConfig, records: Sequence[Record]) -> dict[str, Any]:
    return {
        "name": Path(config.manifest).name,
        "sha256": hashlib.sha256(Path(config.manifest).read_bytes()).hexdigest(),
        "split": config.split,
        "languages": None if config.languages is None else list(config.languages),
        "limit": config.limit,
        "utterances": len(records),
    }


def _read_cell(folder: Path, name: str) -> dict[str, UtteranceResult]:
    """Outcomes by utterance; a line that an interruption cut off is left out."""
    path = folder / "cells" / f"{name}.jsonl"
    found = {}
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                outcome = UtteranceResult(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue
            found[outcome.utterance_id] = outcome
        _write_cell(folder, name, list(found.values()))
    return found


def _lines(outcomes: Iterable[UtteranceResult]) -> str:
    return "".join(json.dumps(asdict(o), ensure_ascii=False) + "\n" for o in outcomes)


def _append(folder: Path, name: str, outcomes: Iterable[UtteranceResult]) -> None:
    with (folder / "cells" / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(_lines(outcomes))


def _write_cell(folder: Path, name: str, outcomes: Sequence[UtteranceResult]) -> None:
    replace_text(folder / "cells" / f"{name}.jsonl", _lines(outcomes))


def _read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _json(values: Any) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
