"""Find the media files that the command line names: files, folders, patterns and lists."""

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from avsr.errors import ConfigError
from avsr.runtime.addresses import explain_no_file
from avsr.runtime.text_lines import split_lines

_VIDEO_NAMES = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
_AUDIO_NAMES = "aac flac m4a mka mp3 oga ogg opus wav wma"
VIDEO_ENDINGS = frozenset(f".{name}" for name in _VIDEO_NAMES.split(" "))
MEDIA_ENDINGS = VIDEO_ENDINGS | {f".{name}" for name in _AUDIO_NAMES.split(" ")}
"""Endings of the files that are used from a folder; a file named directly may have any."""

CROP_ENDINGS = (".mouth.mp4", ".overlay.mp4")
"""Endings of the files that ``avsr crop`` writes; they are skipped in folders."""


def find_media(
    names: Sequence[str], endings: Collection[str] = MEDIA_ENDINGS
) -> tuple[list[str], dict[str, Path]]:
    """Expand the names of the command line to media files.

    A name is one of:

    - a file. One that begins with ``@`` is written ``./@...``;
    - a folder: the files in it and its subfolders that have one of ``endings`` and are not hidden;
    - a pattern such as ``talks/**/*.mp4``, quoted, for shells that do not expand it;
    - ``@FILE``: a text file with one such name per line, relative to its own folder. Empty lines
      and lines that begin with ``#`` are ignored; lists cannot contain lists.

    Args:
        names: Names from the command line.
        endings: Endings of the files that are used from folders.

    Returns:
        The files in order, and for each file the relative path of its results, without ending:
        the path below the folder or below the fixed part of the pattern, otherwise the file name.

    Raises:
        ConfigError: A name does not exist or is an address, a folder, pattern or list is empty, or
            a list cannot be read. A missing file of a list is not an error here: it may be one of
            thousands.
    """
    files: list[str] = []
    relative_paths: dict[str, Path] = {}
    for name in names:
        if not os.path.exists(name) and (reason := explain_no_file(name.removeprefix("@"))):
            raise ConfigError(reason)
    missing = [name for name in names if _is_missing(name)]
    if missing:
        more = f" ({len(missing)} are missing)" if len(missing) > 1 else ""
        raise ConfigError(f"{missing[0]}: there is no such file{more}")
    for name in names:
        entries = _read_list(name[1:], endings) if name.startswith("@") else _expand(name, endings)
        for file, relative_path in entries:
            # A file that is named twice comes twice; a folder or pattern adds only new files.
            if file == name or file not in relative_paths:
                files.append(file)
            relative_paths.setdefault(file, relative_path)
    return files, relative_paths


def _is_missing(name: str) -> bool:
    """Return whether ``name`` is neither a list nor a pattern, and does not exist."""
    return not name.startswith("@") and not glob.has_magic(name) and not os.path.exists(name)


def _read_list(name: str, endings: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Yield (file, relative path) for the names in a list."""
    path = Path(name)
    try:
        lines = split_lines(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
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
            raise ConfigError(f"{name}: no file matches this pattern")
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    else:
        yield name, Path(path.stem)
        return
    for file in files:
        yield str(file), file.relative_to(root).with_suffix("")


def _is_recording(file: Path, folder: Path, endings: Collection[str]) -> bool:
    """Return whether a file in ``folder`` is a media file to transcribe."""
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    is_crop = file.name.lower().endswith(CROP_ENDINGS)
    return not hidden and not is_crop and file.suffix.lower() in endings and file.is_file()


def check_tracks(videos: Sequence[str], audio_track: int | None, video_track: int | None) -> None:
    """Raise MediaError if the only video lacks a track that is asked for, before any work is done.

    Of several videos each is named when its turn comes.
    """
    if len(videos) == 1 and (audio_track is not None or video_track is not None):
        from avsr.media import Tracks, probe

        probe(videos[0], Tracks(audio=audio_track, video=video_track))
