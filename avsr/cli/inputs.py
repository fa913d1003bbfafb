"""Inputs as they are named on the command line: files, folders, patterns and lists."""

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from avsr.errors import ConfigError

_PICTURES = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
_SOUNDS = "aac flac m4a mka mp3 oga ogg opus wav wma"
VIDEO_ENDINGS = frozenset(f".{name}" for name in _PICTURES.split(" "))
MEDIA_ENDINGS = VIDEO_ENDINGS | {f".{name}" for name in _SOUNDS.split(" ")}
"""Endings of the files that are taken from a folder. A file that is named may have any."""

OWN_ENDINGS = (".mouth.mp4", ".overlay.mp4")
"""Endings of what ``avsr crop`` writes: these are skipped in folders."""


def find_media(
    names: Sequence[str], endings: Collection[str] = MEDIA_ENDINGS
) -> tuple[list[str], dict[str, Path]]:
    """Expand ``names`` to files, in order, with the relative path of each, without ending.

    A name is a file; a folder, for the files in it and below that have one of ``endings`` and are
    not hidden; a pattern (``talks/**/*.mp4``, quoted, for shells that do not expand it); or
    ``@FILE``, a text with such names (but no lists) one a line, relative to the folder it lies in,
    where empty lines and those after ``#`` do not count. A file that begins with ``@`` is named
    ``./@...``.

    The relative path says where results go in a folder of results: as below the folder or the fixed
    part of the pattern, else the bare name. Raises ConfigError, in one line, for a name
    of nothing, a folder, pattern or list with nothing in it, or a list that cannot be read. A file
    of a list that is not there is left to be reported: it may be one of thousands.
    """
    files: list[str] = []
    relative_paths: dict[str, Path] = {}
    missing = [name for name in names if _is_missing(name)]
    if missing:
        more = f" ({len(missing)} are missing)" if len(missing) > 1 else ""
        raise ConfigError(f"{missing[0]}: there is no such file{more}")
    for name in names:
        several = _read_list(name[1:], endings) if name.startswith("@") else _expand(name, endings)
        for file, relative_path in several:
            # Who names a file twice gets it twice; a folder only adds what is not there yet.
            if file == name or file not in relative_paths:
                files.append(file)
            relative_paths.setdefault(file, relative_path)
    return files, relative_paths


def _is_missing(name: str) -> bool:
    """Whether ``name`` is neither a list nor a pattern, and does not exist."""
    return not name.startswith("@") and not glob.has_magic(name) and not os.path.exists(name)


def _read_list(name: str, endings: Collection[str]) -> Iterator[tuple[str, Path]]:
    path = Path(name)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"@{name}: the list cannot be read ({reason})") from error
    entries = [line.strip() for line in lines]
    entries = [entry for entry in entries if entry and not entry.startswith("#")]
    if not entries:
        raise ConfigError(f"@{name}: the list is empty")
    for entry in entries:
        yield from _expand(os.path.join(os.path.dirname(name), entry), endings)


def _expand(name: str, endings: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Yield (file, relative path) for one name that is not a list."""
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_recording(file, path, endings))
        if not files:
            raise ConfigError(f"{name}: there are no media files in this folder")
        root = path
    elif glob.has_magic(name) and not path.exists():
        files = sorted(
            Path(match) for match in glob.glob(name, recursive=True) if Path(match).is_file()
        )
        if not files:
            raise ConfigError(f"{name}: no file is named like this")
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    else:
        yield name, Path(path.stem)
        return
    for file in files:
        yield str(file), file.relative_to(root).with_suffix("")


def _is_recording(file: Path, folder: Path, endings: Collection[str]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    own = file.name.lower().endswith(OWN_ENDINGS)
    return not hidden and not own and file.suffix.lower() in endings and file.is_file()
