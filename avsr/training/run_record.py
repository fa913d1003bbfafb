"""What the folder of a run holds: settings, data and start weights, kept in its ``recipe.json``.

A run that has trained goes on only with what it was begun with. Data and models count by their
content, wherever they lie.
"""

import dataclasses
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import ConfigError, ModelError
from avsr.hub import find_model
from avsr.model.directory import CONFIG, TOKENIZER, TRAINING, WEIGHTS, load_directory
from avsr.runtime.atomic_files import explain_write, replace_text
from avsr.runtime.file_digest import digest_file
from avsr.training.checkpoints import FINAL
from avsr.training.config import TrainConfig
from avsr.training.dataset import Utterances

RECORD = "recipe.json"
STARTS = ("init", "init_encoder", "init_frontend")
FREE = ("out", "devices", "num_nodes")  # may change: they do not decide what an update learns
FROM_DATA = ("babble", "speech")  # noise that is made of the training data
MADE = (RECORD, TOKENIZER, "balance.txt", "balance.png", "curves.png", "languages.png")
MADE_PATTERNS = ("train-visual-*.npy", "valid-visual-*.npy")
STAGE = re.compile(r"\d+-.+")  # name of the folder of a stage
MAX_SHOWN = 60  # characters of a value in a message
ADVICE = "use another 'out', or start anew with --fresh"

logger = logging.getLogger(__name__)


def claim_run(
    config: TrainConfig,
    out: Path,
    train_data: Utterances,
    valid_data: Utterances | None,
    noises: Mapping[str, Sequence[np.ndarray]],
) -> None:
    """Keep in ``out`` what a run is made of, or check that it is what the run there is made of.

    A run that has trained nothing yet is begun anew with what is given.

    Args:
        config: Settings of the run.
        out: Folder of the run.
        train_data: Training data.
        valid_data: Validation data.
        noises: Clips (S,) of each kind of noise.

    Raises:
        ConfigError: The run in ``out`` is made of something else; all differences in one line.
    """
    path = out / RECORD
    record = _describe(config, train_data, valid_data, noises)
    has_trained = any(any(folder.glob("*.ckpt")) or _is_final(folder) for folder in _stages(out))
    if path.exists():
        try:
            old = _read(path)
        except ConfigError as error:
            if has_trained:
                raise ConfigError(f"{error}: {ADVICE}") from error
            old = {}
        changed = [
            *_differences(old.get("settings"), record["settings"]),
            *(f"content of {text}" for text in _differences(old.get("content"), record["content"])),
        ]
        if not changed:
            return
        if has_trained:
            raise ConfigError(f"{out} holds another run ({'; '.join(changed)}): {ADVICE}")
    elif has_trained:
        raise ConfigError(
            f"{out} holds a run of an earlier version, which does not say its recipe: {ADVICE}"
        )
    if is_first_process():
        if path.exists():
            clear_run(out)
        content = {"run": secrets.token_hex(8), **record}
        replace_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def clear_run(out: Path) -> None:
    """Delete what a run has left in its folder, but for the model, which stays until the next."""
    caches = [path for pattern in MADE_PATTERNS for path in out.glob(pattern)]
    with explain_write(out):
        for folder in _stages(out):
            shutil.rmtree(folder)
        for path in (*(out / name for name in MADE), *caches):
            path.unlink(missing_ok=True)


def run_number(out: Path) -> str:
    """Return the random name of the run in a folder, as ``claim_run`` has drawn it."""
    return str(_read(out / RECORD)["run"])


def has_model(out: Path) -> bool:
    """Return whether the run in a folder has written its model, and that is whole."""
    try:
        origin = json.loads((out / "model" / TRAINING).read_text("utf-8"))
        load_directory(out / "model")
        return bool(origin["run"] == run_number(out))
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        return False


def is_first_process() -> bool:
    """Return whether this is the first of the processes that train together, before they meet."""
    names = ("RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)


def _stages(out: Path) -> Iterator[Path]:
    """Yield the folders of the stages of a run: those that hold what only stages write."""
    for folder in sorted(out.iterdir()) if out.is_dir() else []:
        if STAGE.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            made = ("*.ckpt", FINAL, "metrics.csv", "events.out.tfevents.*")
            if any(any(folder.glob(pattern)) for pattern in made):
                yield folder


def _is_final(folder: Path) -> bool:
    return (folder / FINAL).exists()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is broken ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("run"), str):
        raise ConfigError(f"{path} is broken (it does not name a run)")
    return content


def _describe(
    config: TrainConfig,
    train_data: Utterances,
    valid_data: Utterances | None,
    noises: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, Any]:
    """Describe what decides the result of a run, as plain JSON."""
    settings = dataclasses.asdict(config)
    starts = {name: settings.pop(name) for name in STARTS}
    free = [*FREE]
    if not config.select_best:
        free.append("validate_every")
    if config.average_checkpoints == 1:
        free.append("checkpoint_every")
    for name in free:
        del settings[name]
    for corpus in (*settings["corpora"], *settings["validation"]):
        del corpus["path"]
    for stage in settings["stages"]:
        stage["modalities"] = list(stage["modalities"].items())  # batches depend on their order
    content = {
        "corpora": _digest_data(train_data),
        "validation": None if valid_data is None else _digest_data(valid_data),
        "noises": {k: _digest_clips(clips) for k, clips in noises.items() if k not in FROM_DATA},
        **{name: None if start is None else _digest_model(start) for name, start in starts.items()},
    }
    return json.loads(json.dumps({"settings": settings, "content": content}))


def _digest_data(data: Utterances) -> str:
    """Digest the records of utterances and where their sound and pictures lie in the shards."""
    digest = hashlib.sha256()
    for sample in data.samples:
        digest.update(f"{sample.record.to_json()} {sorted(sample.places.items())}\n".encode())
    return digest.hexdigest()


def _digest_clips(clips: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(np.ascontiguousarray(clip).tobytes())
    return digest.hexdigest()


def _digest_model(name: str) -> str:
    """Digest the files of a model that training begins with."""
    digest = hashlib.sha256()
    folder = find_model(name)
    for path in (folder / CONFIG, folder / WEIGHTS, folder / TOKENIZER):
        if path.is_file():
            digest.update(bytes.fromhex(digest_file(path, ModelError)))
    return digest.hexdigest()


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Name the values that differ, with both."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(name), new.get(name), f"{where}.{name}".lstrip("."))
    elif _is_table(old) and _is_table(new) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{where}[{i}]")
    elif old != new:
        yield f"{where}: {_show(old)} -> {_show(new)}"


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _show(value: Any) -> str:
    if isinstance(value, list) and value and _is_table(value):
        return f"{len(value)} entries"
    if isinstance(value, list):
        text = ", ".join(map(_show, value)) or "none"
    elif isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        text = value[:8]
    else:
        text = "none" if value is None else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
