"""fairseq checkpoints without fairseq, and without running anything that a pickle asks for.

A pickle names the classes and functions that rebuild its objects. PyTorch's restricted unpickler
makes tensors and plain containers; the classes that real checkpoints name beside them become
``StandIn``, which keeps their state and does nothing; every other name is refused before loading.
"""

import contextlib
import pickle
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch.serialization import safe_globals

from avsr.errors import ModelError

# Classes of settings, vocabularies and meters that checkpoints hold; never a function that acts.
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
    """An object of a class that is not there: its arguments and its state, no behaviour."""

    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        self = super().__new__(cls)
        self.args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args: tuple[Any, ...] = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


# What PyTorch raises for files that are something else, or end too early.
BROKEN = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    OSError,
    TypeError,
)
# Names that PyTorch is left to judge: it rebuilds its own tensors and refuses the rest.
_LEFT_TO_TORCH = re.compile(
    r"torch\.\w+|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode"
)


def _stand_in(name: str) -> type[StandIn]:
    module, _, kind = name.rpartition(".")
    return type(kind, (StandIn,), {"__module__": module})


def _names_in(file: IO[bytes]) -> set[str]:
    """Names that the pickles in a file ask for; raw tensors behind them end the search."""
    names: set[str] = set()
    strings: list[str] = []
    with contextlib.suppress(ValueError, LookupError, EOFError):
        while True:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    names.add(_modern(*str(argument).split(" ", 1)))
                elif opcode.name == "STACK_GLOBAL":  # its two names are the last strings before it
                    names.add(".".join(strings))
                elif isinstance(argument, str):
                    strings = [*strings[-1:], argument]
    return {name for name in names if not _LEFT_TO_TORCH.fullmatch(name)}


def _modern(module: str, name: str) -> str:
    """Protocol 2 writes the names that Python 2 had; PyTorch translates them back like this."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _names_in_file(path: Path, zipped: bool) -> set[str]:
    if not zipped:
        with path.open("rb") as file:
            return _names_in(file)
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        return set().union(*(_names_in(archive.open(name)) for name in pickles))


def _refuse(path: Path, names: Sequence[str]) -> None:
    if names:
        asked = ", ".join(names)
        raise ModelError(f"{path} is refused: it asks for {asked}, which no checkpoint needs")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a ``torch.save`` file, tensors mapped into memory where the file allows it.

    Objects of foreign classes are ``StandIn``. Raises ModelError, in one line, for a file that is
    no checkpoint, is cut short, or asks for a name that no checkpoint needs.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}")
    zipped = zipfile.is_zipfile(path)
    try:
        names = _names_in_file(path, zipped)
        _refuse(path, sorted(name for name in names if not STAND_INS.fullmatch(name)))
        with safe_globals([_stand_in(name) for name in names]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except BROKEN as error:
        _refuse(path, re.findall(r"GLOBAL (\S+)", str(error)))
        raise ModelError(f"{path} is no checkpoint, or is cut short") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is no checkpoint of a model: it holds a {type(content).__name__}")
    return content
