"""Manifests: JSON lines of plain records, one per utterance."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from avsr.errors import CorpusError


@dataclass(frozen=True, kw_only=True)
class Record:
    """One utterance of a corpus."""

    utterance_id: str
    """Unique in its manifest; without dots and slashes, for it names files in shards."""
    media: str
    """Media file, relative to the manifest's folder, or absolute."""
    start: float = 0.0
    """Start in the media file, seconds."""
    end: float = math.inf
    """End in the media file, seconds; infinity (left out in JSON) is the end of the file."""
    text: str
    """What is said."""
    language: str
    """ISO 639-1 code."""
    split: str
    """train, valid or test."""
    speaker: str
    """Name of the speaker."""
    words: list[dict[str, Any]] | None = None
    """``{"word", "start", "end"}`` with seconds from the utterance's start, where known."""
    title: str | None = None
    """Title of the video the utterance comes from."""
    description: str | None = None
    """Its description."""
    location: str | None = None
    """Where it was recorded."""

    def to_json(self) -> str:
        """One line of JSON; fields without a value are left out."""
        values = {k: v for k, v in asdict(self).items() if v is not None and v != math.inf}
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    def problems(self) -> list[str]:
        """What is wrong, each as the end of "record X ..."; empty for a sound record."""
        found = []
        for name in _TEXTS:
            value = getattr(self, name)
            if not isinstance(value, str) and (name in _REQUIRED or value is not None):
                found.append(f"has a {name} that is not text")
        if isinstance(self.utterance_id, str) and not is_file_stem(self.utterance_id):
            found.append("has an id that is empty or holds a dot, a slash or a space")
        if not _is_number(self.start) or not _is_number(self.end):
            found.append("has a start or end that is not a number of seconds")
        elif not 0 <= self.start < self.end:
            found.append(f"does not satisfy 0 <= start < end (start {self.start}, end {self.end})")
        if self.words is not None and not _are_words(self.words):
            found.append('has words that are not a list of {"word", "start", "end"}')
        return found


_KNOWN = {field.name for field in fields(Record)}
_REQUIRED = {field.name for field in fields(Record) if field.default is MISSING}
_TEXTS = [field.name for field in fields(Record) if field.name not in ("start", "end", "words")]


def is_file_stem(name: str) -> bool:
    """Whether a name can stand before the first dot of a file name."""
    return bool(name) and not any(char in "./\\" or char.isspace() for char in name)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(word, dict)
        and isinstance(word.get("word"), str)
        and _is_number(word.get("start"))
        and _is_number(word.get("end"))
        for word in value
    )


def parse_record(line: str, where: str) -> Record:
    """The record of a JSON line; raise CorpusError that begins with ``where`` and names the id."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{where}: not JSON ({error.msg})") from error
    if not isinstance(values, dict):
        raise CorpusError(f"{where}: a record must be a JSON object")
    problems = [f"misses {key}" for key in sorted(_REQUIRED - set(values))]
    problems += [f"has the unknown field {key}" for key in sorted(set(values) - _KNOWN)]
    if not problems:
        record = Record(**values)
        problems = record.problems()
    if problems:
        name = values.get("utterance_id", "without id")
        raise CorpusError(f"{where}: record {name} {', '.join(problems)}")
    return record


def read_manifest(path: str | os.PathLike[str]) -> list[Record]:
    """Read a JSONL manifest; raise CorpusError naming file, line and id of a broken record."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CorpusError(f"cannot read the manifest {path}: {reason}") from error
    records = []
    line_of: dict[str, int] = {}
    # not splitlines(): texts may hold line separators other than the newline
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        record = parse_record(line, f"{path}:{number}")
        first = line_of.setdefault(record.utterance_id, number)
        if first != number:
            raise CorpusError(
                f"{path}:{number}: record {record.utterance_id} is in line {first} already"
            )
        records.append(record)
    return records


def write_manifest(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Write a JSONL manifest; it gets its name when it is complete."""
    replace_text(path, "".join(record.to_json() + "\n" for record in records))


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file under a temporary name, then rename it."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def resolve_media(manifest: str | os.PathLike[str], record: Record) -> Path:
    """Where a record's media file lies; relative names count from the manifest's folder."""
    return Path(manifest).parent / record.media
