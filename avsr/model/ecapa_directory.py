"""A directory of a language-ID model: ``config.json``, ``model.safetensors`` and ``README.md``."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from avsr.errors import ConfigError, ModelError
from avsr.language.ecapa import Ecapa, EcapaConfig
from avsr.model.directory import (
    CARD,
    CONFIG,
    ECAPA,
    WEIGHTS,
    read_json,
    replace_model,
    save_weights,
    settle,
)
from avsr.model.meta_init import gc_paused, init_on_meta
from avsr.model.weights import check_sizes, load_weights, stored_shapes


@gc_paused()
def load_ecapa(path: Path, *, packed: bool = False) -> Ecapa:
    """Read a directory that ``write_ecapa`` wrote, in evaluation mode, on the CPU.

    Args:
        path: The directory.
        packed: Lay the weights out for this CPU. The model is faster then and cannot be trained.

    Raises:
        ModelError: The directory is incomplete, broken, or does not fit its configuration.
    """
    settle(path)
    if not (path / WEIGHTS).is_file():
        raise ModelError(f"{path} is not a model directory: it has no {WEIGHTS}")
    settings = read_json(path)
    if settings.pop("architecture", None) != ECAPA:
        raise ModelError(f"{path} is no language-ID model that avsr import made")
    try:
        config = EcapaConfig.from_dict(settings)
    except ConfigError as error:
        raise ModelError(f"{path / CONFIG} is broken: {error}") from error
    check_sizes(config, stored_shapes(path / WEIGHTS), f"{path / CONFIG} does not fit")
    with init_on_meta():
        model = Ecapa(config)
    load_weights(model, path / WEIGHTS, "fp32", packed=packed)
    return model.eval()


def write_ecapa(path: Path, config: EcapaConfig, weights: Mapping[str, Tensor], card: str) -> None:
    """Write a directory, all of it or nothing.

    Args:
        path: Folder to write into; made if it does not exist.
        config: Content of ``config.json``.
        weights: Stored as they are.
        card: Text of ``README.md``.

    Raises:
        ModelError: A file cannot be written; a model that was there is as it was.
    """
    settings = {"architecture": ECAPA, **asdict(config)}
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    with replace_model(path) as folder:
        (folder / CONFIG).write_text(text, "utf-8")
        (folder / CARD).write_text(card, "utf-8")
        save_weights(folder, weights)
