"""Load fairseq checkpoints without fairseq, and without running code that a pickle names.

A pickle names the classes and functions that rebuild its objects. PyTorch's restricted unpickler
creates tensors and plain containers. The other classes that real checkpoints name are replaced by
``StandIn``, which stores their state and has no behaviour. Every other name is refused before
loading.
"""

import contextlib
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.serialization import safe_globals

from avsr.errors import ModelError
from avsr.settings import show

# Classes of settings, vocabularies and meters in checkpoints; no function with side effects.
STAND_INS = re.compile(
    r"argparse\.Namespace"
    r"|fairseq\.(data|dataclass|tasks|models|criterions|optim|meters|logging)\.[\w.]+"
    r"|sentencepiece\.SentencePieceProcessor"
    r"|omegaconf\.(base|basecontainer|dictconfig|listconfig|nodes)\.\w+"
    r"|typing\.(Any|Union|Optional|List|Dict)"
    r"|builtins\.(dict|list|tuple|set|frozenset|int|float|str|bool)"
    r"|numpy(\._?core\.multiarray\.scalar|\.dtype)"
)


class StandIn:
    """Replaces an object of a class that is not installed: arguments and state, no behaviour."""

    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        self = super().__new__(cls)
        self.args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args: tuple[Any, ...] = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


# Raised by PyTorch for files of other formats, truncated and hostile files.
BROKEN = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    OSError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    struct.error,
    zlib.error,
)
# Of the pickles in a file, which have no values of tensors. Those of published checkpoints have
# 1 MB at most; a vocabulary of 250,000 pieces has a million operations.
MAX_PICKLE = 32 << 20  # bytes
MAX_OPERATIONS = 3_000_000  # each makes up to 60 bytes, and takes 2 microseconds to check
MAX_INFLATION = 2  # PyTorch compresses nothing: content is as large as the file
# Names that are left to PyTorch, which rebuilds its own tensors and refuses all others.
_CHECKED_BY_TORCH = re.compile(
    r"torch\.\w+|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode"
)


def _stand_in(name: str) -> type[StandIn]:
    """Return a subclass of StandIn under the qualified name of a class."""
    module, _, kind = name.rpartition(".")
    return type(kind, (StandIn,), {"__module__": module})


def _names_in(file: IO[bytes], path: Path) -> set[str]:
    """Return the names that the pickles in a file refer to; raw tensors after them end the scan.

    Raises:
        ModelError: The pickles are too large.
    """
    names: set[str] = set()
    operations = 0
    strings: list[str] = []
    with contextlib.suppress(ValueError, LookupError, EOFError):
        while True:
            for opcode, argument, position in pickletools.genops(file):
                operations += 1
                if (position or 0) > MAX_PICKLE or operations > MAX_OPERATIONS:
                    raise ModelError(f"{path} is refused: it holds more than any checkpoint")
                if opcode.name in ("GLOBAL", "INST"):
                    names.add(_modern(*str(argument).split(" ", 1)))
                elif opcode.name == "STACK_GLOBAL":  # its two names are the last strings before it
                    names.add(".".join(strings))
                elif isinstance(argument, str):
                    strings = [*strings[-1:], argument]
    return {name for name in names if not _CHECKED_BY_TORCH.fullmatch(name)}


def _modern(module: str, name: str) -> str:
    """Translate a Python 2 name, which protocol 2 writes, as PyTorch does."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _names_in_file(path: Path, zipped: bool) -> set[str]:
    """Return the names that a checkpoint refers to."""
    if not zipped:
        with path.open("rb") as file:
            return _names_in(file, path)
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        return set().union(*(_names_in(archive.open(name), path) for name in pickles))


def _refuse(path: Path, names: Sequence[str]) -> None:
    """Raise ModelError if there are names that a checkpoint must not refer to."""
    if names:
        listing = ", ".join(names)
        raise ModelError(f"{path} is refused: it asks for {listing}, which no checkpoint needs")


def _check_archive(path: Path) -> None:
    """Raise ModelError if a zip archive would inflate, or has a wrong checksum.

    PyTorch looks at neither.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        pickles = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
        if pickles > MAX_PICKLE:
            raise ModelError(
                f"{path} is refused: its settings have {pickles >> 20} MB, more than any checkpoint"
            )
        if sum(entry.file_size for entry in entries) > MAX_INFLATION * path.stat().st_size:
            raise ModelError(f"{path} is refused: it is compressed, which no checkpoint is")
        damaged = archive.testzip()
    if damaged is not None:
        raise ModelError(f"{path} is damaged: the checksum of {damaged} differs; copy it again")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a ``torch.save`` file without running code in it.

    Args:
        path: The checkpoint. Tensors are memory-mapped if it has the zip format.

    Returns:
        Its content; objects of foreign classes are ``StandIn``.

    Raises:
        ModelError: For a file that is missing, not a checkpoint, truncated or damaged, or that
            refers to a name that no checkpoint needs.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}")
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            _check_archive(path)
        names = _names_in_file(path, zipped)
        _refuse(path, sorted(name for name in names if not STAND_INS.fullmatch(name)))
        with safe_globals([_stand_in(name) for name in names]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (*BROKEN, zipfile.BadZipFile) as error:
        _refuse(path, re.findall(r"GLOBAL (\S+)", str(error)))
        raise ModelError(f"{path} is not a checkpoint, or is truncated") from error
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} is not a checkpoint of a model: it holds a {type(content).__name__}"
        )
    return content


def check_tensors(path: Path, weights: Mapping[Any, Any]) -> None:
    """Check that weights of a checkpoint are plain tensors whose values are in the file.

    A tensor of a few bytes can claim to have any shape, by strides of 0.

    Raises:
        ModelError: One is not; the message names it.
    """
    for name, weight in weights.items():
        is_plain = (
            isinstance(name, str)
            and type(weight) in (Tensor, nn.Parameter)
            and weight.layout is torch.strided
            and weight.device.type == "cpu"
            and not weight.is_quantized
        )
        if (
            not is_plain
            or weight.numel() * weight.element_size() > weight.untyped_storage().nbytes()
        ):
            raise ModelError(f"{path} is refused: its weight {show(name)} is no ordinary tensor")
