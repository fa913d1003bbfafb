"""Find and load models: bundled, in a directory, or on the Hugging Face hub.

``hf://owner/name`` is downloaded once to the cache of huggingface_hub, which also has the settings
for it: ``HF_HOME`` (folder of the cache), ``HF_ENDPOINT`` (mirror), ``HF_HUB_OFFLINE=1``.
Repositories of AV-HuBERT's Hugging Face port are imported once, into ``HF_HOME/avsr``.
"""

import functools
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from avsr.errors import ModelError
from avsr.languages import MUAVIC_LANGUAGES
from avsr.model.device import resolve_device
from avsr.model.directory import ONNX, WEIGHTS, load_directory, read_config, read_licence
from avsr.model.hooks import add_cancel_hooks
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.model.weights import choose_precision

logger = logging.getLogger("avsr.hub")

BUNDLED = {"tiny": "tiny"}  # public name -> folder in avsr/assets
DEFAULT_MODEL = "tiny"
ASSETS = Path(__file__).parent / "assets"
SCHEME = "hf://"
ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
MODEL_FILES = ["config.json", "model.safetensors", "tokenizer.model", "lm.safetensors", "README.md"]
PORT_FILES = ["sentencepiece.bpe.model", "vocab.json"]
PORT = "hf://nguyenvulebinh/AV-HuBERT-MuAViC-"
AVHUBERT_TERMS = "AV-HuBERT's terms: non-commercial use only"
NON_COMMERCIAL = "CC BY-NC 4.0 and AV-HuBERT's terms: non-commercial use only"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A row of ``avsr models``."""

    name: str
    where: str
    """``bundled``, ``cached``, or how to get it."""
    size: str
    languages: tuple[str, ...]
    licence: str


MUAVIC = tuple(code for code in MUAVIC_LANGUAGES if code != "en")
KNOWN = [
    *(
        Listed(
            name=PORT + (codes[0] if len(codes) == 1 else "multilingual"),
            where="on the hub",
            size="1.5 GB",
            languages=codes,
            licence=NON_COMMERCIAL,
        )
        for codes in [*((code,) for code in MUAVIC_LANGUAGES), MUAVIC]
    ),
    *(
        Listed(
            name=name,
            where="avsr import",
            size=size,
            languages=codes,
            licence=NON_COMMERCIAL if "MuAViC" in name else AVHUBERT_TERMS,
        )
        for name, size, codes in [
            ("MuAViC, xx_avsr (.pt), one per language", "385 M weights", MUAVIC_LANGUAGES),
            ("MuAViC, x_avsr (.pt)", "385 M weights", MUAVIC),
            ("AV-HuBERT Base, pre-trained (.pt)", "103 M weights", ()),
            ("AV-HuBERT Base, fine-tuned (.pt)", "161 M weights", ("en",)),
            ("AV-HuBERT Large, pre-trained (.pt)", "325 M weights", ()),
            ("AV-HuBERT Large, fine-tuned (.pt)", "477 M weights", ("en",)),
        ]
    ),
]


def find_model(name: str | os.PathLike[str] | None = None) -> Path:
    """Find the directory of a model; one on the hub is downloaded.

    Args:
        name: Name of a bundled model (None: the default), a model directory, or
            ``hf://owner/name``.

    Returns:
        The model directory.

    Raises:
        ModelError: There is no such model.
    """
    name = DEFAULT_MODEL if name is None else os.fspath(name)
    if name.startswith(SCHEME):
        return fetch(name)
    path = ASSETS / BUNDLED[name] if name in BUNDLED else Path(name)
    if not path.is_dir():
        raise ModelError(
            f"no model '{name}': use the path of a model directory, hf://owner/name, or a "
            f"bundled name ({', '.join(BUNDLED)})"
        )
    return path


def fetch(address: str) -> Path:
    """Download a model from the hub, unless it is in the cache.

    Args:
        address: ``hf://owner/name`` or ``hf://owner/name@revision``.

    Returns:
        The model directory in the cache.

    Raises:
        ModelError: The address has another form, the repository cannot be downloaded, or it is
            neither a model directory nor of AV-HuBERT's Hugging Face port.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ModelError(
            f"'{address}' is not a valid address: use hf://owner/name or hf://owner/name@revision"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if sys.stderr.isatty() else disable_progress_bars)()
    try:
        snapshot = Path(
            snapshot_download(
                match["name"],
                revision=match["revision"],
                allow_patterns=[*MODEL_FILES, *PORT_FILES],
            )
        )
    except (
        Exception
    ) as error:  # errors of the library, its HTTP client and the system have no common base
        raise ModelError(f"cannot download {address}: {_describe_error(error)}") from error
    return snapshot if _is_model_directory(snapshot) else _import_once(snapshot, match["name"])


def _describe_error(error: Exception) -> str:
    """Describe in one line why a download failed."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "log in with 'hf auth login' and accept the terms of its owner first"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return "it is not in the cache, and the hub cannot be reached"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _is_model_directory(folder: Path) -> bool:
    """Return whether a folder is a model directory of avsr, and not of the port."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and "encoder" in settings


def _import_once(snapshot: Path, name: str) -> Path:
    """Import a repository of the port, unless it was imported before."""
    from huggingface_hub.constants import HF_HOME

    from avsr.interop import import_model

    out = Path(HF_HOME) / "avsr" / name.replace("/", "--") / snapshot.name
    if not (out / "model.safetensors").is_file():  # it is written last
        language = name.rpartition("-")[2]
        codes = MUAVIC if language == "multilingual" else (language,)
        import_model(snapshot, out, languages=codes if codes[0] in MUAVIC_LANGUAGES else None)
    return out


def list_models() -> list[Listed]:
    """List models without network access.

    Returns:
        The bundled models, those in the cache, and the public ones that are not in it.
    """
    models = [_describe(name, "bundled", ASSETS / folder) for name, folder in BUNDLED.items()]
    models += _list_cache()
    local_names = {entry.name for entry in models}
    return [*models, *(entry for entry in KNOWN if entry.name not in local_names)]


def _list_cache() -> Iterator[Listed]:
    """List the repositories in the cache that are model directories or among KNOWN."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    known_models = {entry.name: entry for entry in KNOWN}
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        name = SCHEME + repository.repo_id
        size = f"{repository.size_on_disk / 1e9:.1f} GB"
        for revision in repository.revisions:
            if name in known_models:
                entry = known_models[name]
                yield Listed(
                    name=name,
                    where="cached",
                    size=size,
                    languages=entry.languages,
                    licence=entry.licence,
                )
                break
            if _is_model_directory(revision.snapshot_path):
                yield _describe(name, "cached", revision.snapshot_path)
                break


def _describe(name: str, where: str, folder: Path) -> Listed:
    """Describe the model in a directory."""
    config = read_config(folder)
    return Listed(
        name=name,
        where=where,
        size=f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.0f} MB",
        languages=config.languages,
        licence=read_licence(folder),
    )


def load_network(
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> AVSRModel:
    """Load a network for inference.

    Args:
        name: Name of a bundled model (None: the default), a model directory, or
            ``hf://owner/name``.
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).
        precision: Number format for matrix products. ``bf16`` and ``int8`` (CPU only) are faster
            and smaller and change results a little; ``auto`` is the format of the stored weights.

    Returns:
        The network in evaluation mode. It cannot be trained: its weights may be laid out for this
        CPU. Its licence is logged at INFO level, once per process.

    Raises:
        ModelError: There is no such model, device or precision, or the model is a pre-trained
            encoder without a decoder.
    """
    name = DEFAULT_MODEL if name is None else os.fspath(name)
    path, target = find_model(name), resolve_device(device)
    if (path / ONNX).is_file():
        from avsr.interop.onnx_model import load_onnx

        model, target = load_onnx(path, device, precision), torch.device("cpu")
    else:
        precision = choose_precision(precision, path / WEIGHTS, target)
        model = load_directory(path, precision, packed=target.type == "cpu")
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
