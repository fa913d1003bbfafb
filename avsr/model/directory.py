"""A model directory on disk: it is written whole or not at all, and nothing is unpickled.

It holds ``config.json``, ``model.safetensors`` (fp16 or fp32; bf16 or int8 as ``avsr export``
writes it), ``tokenizer.model``, ``README.md`` (the model card), with language models
``lm.safetensors``, and once it is calibrated ``reliability.json``. Weights that are stored in the
format in which they are computed with (fp32 or bf16) are mapped into memory instead of read.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from avsr import settings
from avsr.decoder import BOS, Tokenizer
from avsr.errors import ConfigError, ModelError, UnknownKeyError
from avsr.layers.chunked_frontend import use_channels_last
from avsr.layers.plain import plain
from avsr.model.config import ModelConfig
from avsr.model.meta_init import gc_paused
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision, use_bf16_kernels
from avsr.model.reliability import FILE as RELIABILITY
from avsr.model.reliability import PARTS, Reliability, read_reliability
from avsr.model.weights import (
    check_sizes,
    check_weights,
    load_weights,
    stored_shapes,
    take_scales,
)
from avsr.runtime.atomic_files import finish_replacing, replace_files
from avsr.search import NgramModel, load_ngrams, pack_ngrams

WEIGHTS = "model.safetensors"
ONNX = "encoder.onnx"  # with other graphs, in place of WEIGHTS
CONFIG = "config.json"
SHARDS = "model.safetensors.index.json"  # of other programs, in place of WEIGHTS
IN_SHARDS = "its weights are in several parts, which avsr does not read"
TOKENIZER = "tokenizer.model"
LANGUAGE_MODELS = "lm.safetensors"
CARD = "README.md"
TRAINING = "training.json"
# What a model directory of any kind may hold.
FILES = (CONFIG, WEIGHTS, TOKENIZER, LANGUAGE_MODELS, CARD, RELIABILITY, TRAINING)
GRAPHS = ("*.onnx", "*.onnx.data")
ECAPA = "ecapa"  # `architecture` in the config.json of a language-ID model; others name none


@gc_paused()
def load_directory(
    directory: str | os.PathLike[str],
    precision: Precision = "fp32",
    *,
    packed: bool = False,
    calibrated: bool = True,
) -> AVSRModel:
    """Read a model directory, in evaluation mode, on the CPU.

    Args:
        directory: Folder that ``save_directory`` or ``write_directory`` wrote.
        precision: Number format for matrix products; ``auto`` is the one that is stored.
        packed: Lay the weights out for this CPU. The model is faster then and cannot be trained.
        calibrated: Read ``reliability.json``, if there is one.

    Returns:
        The network with its tokenizer and language models.

    Raises:
        ModelError: The directory is incomplete, broken, or does not fit its configuration.
    """
    path = Path(directory)
    model = load_outline(path, WEIGHTS, calibrated=calibrated)
    model.precision = load_weights(model, path / WEIGHTS, precision, packed=packed)
    model.encoder.frontend.is_channels_last = False  # loading assigned other tensors
    if not plain() and not (packed and model.precision == "fp32"):
        use_channels_last(model.encoder.frontend)  # else at the first use, when they are read
    if model.precision != "fp32":
        use_bf16_kernels(model, attention=packed)
    return model.eval()


def load_outline(
    path: Path,
    required_file: str,
    *,
    calibrated: bool = True,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> AVSRModel:
    """Read everything of a directory but the weights.

    Args:
        path: The directory.
        required_file: File of weights or graphs that must be there.
        calibrated: Read ``reliability.json``, if there is one.
        shapes: Of the weights, by name. None: read them from the file, if there is one.

    Raises:
        ModelError: The directory lacks ``config.json`` or ``required_file``, or one is broken, or
            sizes are larger than those of the weights.
    """
    settle(path)
    for name in ("config.json", required_file):
        if not (path / name).is_file():
            raise ModelError(f"{path} is not a model directory: it has no {name}")
    config = read_config(path)
    if shapes is None and required_file == WEIGHTS:
        shapes = stored_shapes(path / WEIGHTS)
    if shapes is not None:
        check_sizes(config.encoder, shapes, f"{path / CONFIG} does not fit: encoder")
        if "decoder" in config.parts:
            check_sizes(config.decoder, shapes, f"{path / CONFIG} does not fit: decoder")
    tokenizer = None
    if "decoder" in config.parts:
        tokenizer = Tokenizer.load(path / "tokenizer.model")
        if len(tokenizer) != config.vocabulary_size:
            raise ModelError(
                f"{path}: the tokenizer has {len(tokenizer)} tokens, "
                f"config.json says {config.vocabulary_size}"
            )
    model = AVSRModel.on_meta(config, tokenizer)
    model.reliability = read_reliability(path) if calibrated else None
    needed = model.reliability.statistics if model.reliability is not None else ()
    missing = [PARTS[name] for name in needed if not model.has(PARTS[name])]
    if missing:
        raise ModelError(f"{path / RELIABILITY} does not fit the model, which has no {missing[0]}")
    if (path / "lm.safetensors").exists():
        model.language_models = load_ngrams(path / "lm.safetensors", BOS)
        misfits = [
            code
            for code, ngrams in model.language_models.items()
            if ngrams.vocabulary_size != config.vocabulary_size or code not in config.languages
        ]
        if misfits:
            raise ModelError(
                f"{path / 'lm.safetensors'} does not fit the model: {', '.join(misfits)}"
            )
    return model


def check_directory(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Check that a model directory can be loaded, before its weights are there.

    Args:
        path: Its other files.
        weights: Its weights on ``meta``, by their names in the file.

    Raises:
        ModelError: As ``load_directory`` would.
    """
    weights = dict(weights)
    scales = take_scales(weights, path / WEIGHTS)
    outline = load_outline(path, CONFIG, shapes={n: w.shape for n, w in weights.items()})
    check_weights(outline, weights, str(path / WEIGHTS), scaled=scales)


def read_config(path: Path) -> ModelConfig:
    """Read the ``config.json`` of a model directory.

    Raises:
        ModelError: It is broken, or that of a language-ID model.
    """
    values = read_json(path)
    if values.get("architecture") == ECAPA:
        raise ModelError(
            f"{path} is a language-ID model, which writes no text: name it as 'language_id' in the "
            "file of --model-set"
        )
    try:
        return ModelConfig.from_dict(values)
    except ConfigError as error:
        if isinstance(error, UnknownKeyError):
            raise
        raise ModelError(f"{path / 'config.json'} is broken: {error}") from error


def settle(path: Path) -> None:
    """Finish the move of new files that was interrupted, before a file of a model is read.

    Raises:
        ModelError: The directory cannot be written into.
    """
    try:
        finish_replacing(path)
    except OSError as error:
        raise ModelError(
            f"{path}: writing this model was interrupted, and it cannot be finished here "
            f"({error.strerror}): load it once where the directory can be written into"
        ) from error


def is_language_id(path: Path) -> bool:
    """Return whether a directory says that it holds a language-ID model; it may still be broken."""
    try:
        return read_json(path).get("architecture") == ECAPA
    except ModelError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a model directory of any kind; ModelError if it is broken."""
    settle(path)
    try:
        return settings.read_json(path / CONFIG)
    except ConfigError as error:
        reason = str(error).replace(str(path / CONFIG), "it")
        raise ModelError(f"{path / CONFIG} is broken: {reason}") from error


def save_directory(
    model: AVSRModel,
    directory: str | os.PathLike[str],
    *,
    card: str,
    half: bool = True,
    training: str | None = None,
) -> None:
    """Write a network as a model directory.

    Args:
        model: A network in fp32.
        directory: Folder to write into; made if it does not exist.
        card: Text of its ``README.md``.
        half: Store the weights in fp16.
        training: Content of ``training.json``, where it comes from.

    Raises:
        ModelError: The model has a decoder and no tokenizer, or was loaded in bf16 or int8, or the
            directory cannot be written.
    """
    if model.precision != "fp32":
        raise ModelError(f"a model in {model.precision} cannot be saved: load it in fp32")
    weights = {
        name: value.half() if half and value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    write_directory(
        directory,
        model.config,
        weights,
        model.tokenizer,
        card,
        model.language_models,
        model.reliability,
        training,
    )


def write_directory(
    directory: str | os.PathLike[str],
    config: ModelConfig,
    weights: Mapping[str, Tensor] | None,
    tokenizer: Tokenizer | None,
    card: str,
    language_models: Mapping[str, NgramModel] | None = None,
    reliability: Reliability | None = None,
    training: str | None = None,
) -> None:
    """Write a model directory from its contents.

    Args:
        directory: Folder to write into; made if it does not exist.
        config: Content of ``config.json``.
        weights: Stored as they are; None: write no file of weights.
        tokenizer: Needed if the model has a decoder.
        card: Text of ``README.md``.
        language_models: N-gram models by language code, for ``lm.safetensors``.
        reliability: Content of ``reliability.json``.
        training: Content of ``training.json``.

    Raises:
        ModelError: The model has a decoder and no tokenizer, or a file cannot be written; a model
            that was there is as it was.
    """
    with replace_model(directory) as folder:
        write_contents(folder, config, weights, tokenizer, card, language_models, reliability)
        if training is not None:
            (folder / TRAINING).write_text(training, "utf-8")


@contextlib.contextmanager
def replace_model(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder for the files of a model, which replaces the one in ``directory``.

    The model that is there stays whole until all files of the new one are written. Those that the
    new one does not have are deleted, since they would be taken for its own. Whoever is interrupted
    after that leaves the new one: the first to load it finishes the move.

    Args:
        directory: Folder to write into; made if it does not exist.

    Raises:
        ModelError: A file cannot be written; an existing model is as it was.
    """
    try:
        with replace_files(directory, (*FILES, *GRAPHS)) as folder:
            yield folder
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"cannot write {directory}: {reason}") from error


def write_contents(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor] | None,
    tokenizer: Tokenizer | None,
    card: str,
    language_models: Mapping[str, NgramModel] | None = None,
    reliability: Reliability | None = None,
) -> None:
    """Write the files of a model into an empty folder; the arguments are ``write_directory``'s.

    Raises:
        ModelError: The model has a decoder and no tokenizer.
        OSError: A file cannot be written; for the weights it is a SafetensorError.
    """
    if tokenizer is None and "decoder" in config.parts:
        raise ModelError("a model without tokenizer cannot be saved as a model directory")
    (folder / CONFIG).write_text(json.dumps(config.to_dict(), indent=2) + "\n", "utf-8")
    if tokenizer is not None:
        (folder / TOKENIZER).write_bytes(tokenizer.model)
    (folder / CARD).write_text(card, "utf-8")
    if language_models:
        (folder / LANGUAGE_MODELS).write_bytes(pack_ngrams(language_models))
    if reliability is not None:
        (folder / RELIABILITY).write_text(reliability.to_json(), "utf-8")
    if weights is not None:
        save_weights(folder, weights)


def save_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights as they are."""
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)


def read_licence(directory: str | os.PathLike[str]) -> str:
    """Read the licence from a model card: its line ``Licence: ...`` or ``license: ...``."""
    card = Path(directory) / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.search(r"^Licen[cs]e: *(\S.*)$", text, re.MULTILINE | re.IGNORECASE)
    licence = match[1].strip() if match else "its card does not say"
    if re.search(r"\bnc\b", licence, re.IGNORECASE) and "non-commercial" not in licence.lower():
        licence += " (non-commercial use only)"
    return licence
