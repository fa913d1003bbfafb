"""From the name of a model to its directory, and to a network in memory."""

import functools
import logging
import os
from pathlib import Path
from typing import Any

import torch

from avsr.errors import ModelError
from avsr.hub.names import (
    ASSETS,
    BUNDLED,
    DEFAULT_MODEL,
    explain_unknown,
    find_address,
    find_public,
)
from avsr.hub.repository import fetch
from avsr.model.device import resolve_device
from avsr.model.directory import ONNX, WEIGHTS, load_directory, read_licence, settle
from avsr.model.hooks import add_cancel_hooks
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.model.weights import choose_precision
from avsr.settings import show

logger = logging.getLogger("avsr.hub")


def find_model(name: str | os.PathLike[str] | None = None) -> Path:
    """Find the directory of a model; one on the hub is downloaded.

    Args:
        name: Name of a bundled model (None: the default), short name of a public one, a model
            directory, or ``hf://owner/name``.

    Returns:
        The model directory.

    Raises:
        ModelError: There is no such model, or it cannot be downloaded.
    """
    name = model_name(name)
    if find_address(name) is not None:
        return fetch(name)
    path = ASSETS / BUNDLED[name] if name in BUNDLED else Path(name)
    if not os.path.isdir(path):  # Path.is_dir raises for names that are too long
        raise ModelError(explain_unknown(name))
    settle(path)
    return path


def model_name(name: Any) -> str:
    """Return the name of a model, of which None is the default one, as text.

    Raises:
        ModelError: It is neither text nor a path.
    """
    if name is None:
        return DEFAULT_MODEL
    try:
        return os.fsdecode(name)
    except TypeError as error:
        raise ModelError(f"the name of a model must be text or a path, not {show(name)}") from error


def load_network(
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    *,
    calibrated: bool = True,
) -> AVSRModel:
    """Load a network for inference.

    Args:
        name: Name of a bundled model (None: the default), short name of a public one, a model
            directory, or ``hf://owner/name``.
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).
        precision: Number format for matrix products. ``bf16`` and ``int8`` (CPU only) are faster
            and smaller and change results a little; ``auto`` is the format of the stored weights.
        calibrated: Read ``reliability.json``, if there is one.

    Returns:
        The network in evaluation mode. It cannot be trained: its weights may be laid out for this
        CPU. Its licence is logged at INFO level, once per process.

    Raises:
        ModelError: There is no such model, device or precision, or the model writes no text: it
            only names languages, or it is a pre-trained encoder without a decoder.
    """
    name = model_name(name)
    public = find_public(name)
    if public is not None and public.kind == "language":
        raise ModelError(
            f"{name} names languages and writes no text: give it as 'language_id' in the file of "
            "--model-set"
        )
    path, target = find_model(name), resolve_device(device)
    try:
        return _load(name, path, target, device, precision, calibrated)
    except ModelError as error:
        if find_address(name) is None or str(path) not in str(error):
            raise
        cached = path.parents[1] if path.parent.name == "snapshots" else path
        raise ModelError(f"{error}; to download it again, delete {cached}") from error


def _load(
    name: str,
    path: Path,
    target: torch.device,
    device: str,
    precision: Precision,
    calibrated: bool,
) -> AVSRModel:
    """Load the network of a directory; see ``load_network``."""
    if (path / ONNX).is_file():
        from avsr.interop.onnx_model import load_onnx

        model = load_onnx(path, device, precision, calibrated=calibrated)
        target = torch.device("cpu")
    else:
        precision = choose_precision(precision, path / WEIGHTS, target)
        packed = target.type == "cpu"
        model = load_directory(path, precision, packed=packed, calibrated=calibrated)
    if not model.has("decoder"):
        raise ModelError(
            f"{name} is a pre-trained encoder, which writes no text: train it first, with "
            f"'init: {name}' in the recipe of 'avsr train'"
        )
    log_licence(name, read_licence(path))
    add_cancel_hooks(model)
    return model.to(target)


@functools.cache
def log_licence(name: str, licence: str) -> None:
    """Log the licence of a model, once per process."""
    logger.info("%s: licence: %s", name, licence)
