"""The folder of an evaluation run: its files, and how they are read and written.

The folder's name holds digests of model, manifest and noise, so that nothing is overwritten:

- ``run.json``: conditions, model, data and versions
- ``noise.json``: sources of the noise, with digests
- ``media.json``: digests of the media files
- ``conditions/<name>.jsonl``: every utterance under one condition
- ``results.json``, ``report.md``, ``report.html``: the scores
- ``timing.json``: seconds of work, for each condition and for what they share
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import is_number
from avsr.errors import ConfigError
from avsr.evaluation.config import Condition
from avsr.evaluation.scores import UtteranceResult
from avsr.runtime.atomic_files import explain_write, replace_text
from avsr.runtime.safe_names import name_problem, show_name
from avsr.runtime.text_lines import json_lines
from avsr.settings import CountOrZero, build_settings, check_values

logger = logging.getLogger("avsr.evaluation")
CONDITIONS = "conditions"  # subfolder, and key of run.json and results.json


@dataclass(frozen=True, kw_only=True)
class Run:
    """Content of a run's folder."""

    folder: Path
    about: dict[str, Any]
    """Content of ``run.json``."""
    conditions: dict[str, list[UtteranceResult]]
    """Every utterance under each finished condition, in the order of ``about["conditions"]``."""

    @property
    def timing(self) -> dict[str, float]:
        """Seconds of work of each condition; "shared" is the work that they have in common."""
        return read_timing(self.folder)


@dataclass(frozen=True, kw_only=True)
class _About:
    """What is used of ``run.json``."""

    model: Mapping[str, Any]
    manifest: Mapping[str, Any]
    noise: str
    normalization: str
    media: str
    paper: str | None
    conditions: Mapping[str, Condition]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Named:
    """What is used of the model in ``run.json``."""

    name: str


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """What is used of the manifest in ``run.json``."""

    name: str
    sha256: str
    utterances: CountOrZero


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read the folder of a run, without conditions that are not finished.

    Args:
        folder: Folder that ``evaluate`` returned.

    Raises:
        ConfigError: It is not the folder of a run.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise ConfigError(f"{folder} is no folder of an evaluation run: it has no run.json")
    about = read_about(folder)
    conditions = {}
    for name in about[CONDITIONS]:
        results = _read_condition(folder, name)
        if len(results) >= about["manifest"]["utterances"]:  # else started, not finished
            conditions[name] = results
    return Run(folder=folder, about=about, conditions=conditions)


def read_about(folder: Path) -> dict[str, Any]:
    """Read ``run.json``; raise ConfigError if an older version of avsr wrote it."""
    path = folder / "run.json"
    about = read_json(path)
    if not isinstance(about.get(CONDITIONS), dict):
        raise ConfigError(
            f"{folder} is from an older version of avsr: evaluate anew, into another --out"
        )
    damaged = f"{path} is damaged: evaluate anew, into another --out"
    check_values(_About, about, damaged)
    check_values(_Named, about["model"], damaged)
    check_values(_Manifest, about["manifest"], damaged)
    return about


def read_timing(folder: Path) -> dict[str, float]:
    """Read the seconds of work in ``timing.json``; what is damaged in it is left out."""
    try:
        values = read_json(folder / "timing.json")
    except ConfigError:  # it says nothing of the results
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: seconds for name, seconds in values.items() if is_number(seconds)}


def condition_path(folder: Path, name: str) -> Path:
    """Path of the results of one condition; raise ConfigError if its name leads elsewhere."""
    if problem := name_problem(name.replace(".", "_")):
        raise ConfigError(f"{folder / 'run.json'}: the condition '{show_name(name)}' {problem}")
    return folder / CONDITIONS / f"{name}.jsonl"


def repair_condition(folder: Path, name: str) -> dict[str, UtteranceResult]:
    """Read the results of a condition by utterance, and drop a line that was cut off."""
    results = {result.utterance_id: result for result in _read_condition(folder, name)}
    if condition_path(folder, name).exists():
        write_condition(folder, name, results.values())
    return results


def drop_utterances(folder: Path, names: Iterable[str]) -> int:
    """Delete the results of utterances under every condition; return how many had any."""
    wanted, dropped = set(names), set[str]()
    if not wanted or not (folder / "run.json").exists():
        return 0
    for condition in read_about(folder)[CONDITIONS]:
        results = repair_condition(folder, condition)
        if found := results.keys() & wanted:
            kept = [result for name, result in results.items() if name not in found]
            write_condition(folder, condition, kept)
            dropped |= found
    return len(dropped)


def _read_condition(folder: Path, name: str) -> list[UtteranceResult]:
    """Read the results of a condition, without lines that were cut off or are damaged."""
    path = condition_path(folder, name)
    results = []
    for line in json_lines(path.read_bytes()) if path.exists() else ():
        try:
            results.append(build_settings(UtteranceResult, line.values, str(path)))
        except ConfigError:
            logger.warning("%s:%d is damaged and left out", path, line.number)
    return results


def append_condition(folder: Path, name: str, results: Iterable[UtteranceResult]) -> None:
    """Add results to those of a condition."""
    path = condition_path(folder, name)
    with explain_write(path), path.open("a", encoding="utf-8") as file:
        file.write(_lines(results))


def write_condition(folder: Path, name: str, results: Iterable[UtteranceResult]) -> None:
    """Replace the results of a condition."""
    replace_text(condition_path(folder, name), _lines(results))


def _lines(results: Iterable[UtteranceResult]) -> str:
    return "".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in results)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file; raise ConfigError if that fails."""
    try:
        values = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} cannot be read: it is no JSON object")
    return values


def to_json(values: Any) -> str:
    """Format values as readable JSON."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def digest(values: Any) -> str:
    """Compute the SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
