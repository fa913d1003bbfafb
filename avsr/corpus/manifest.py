"""Manifests: one record per utterance, as JSON lines or CSV."""

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from avsr.errors import CorpusError
from avsr.languages import ALIASES
from avsr.runtime.atomic_files import replace_text


@dataclass(frozen=True, kw_only=True)
class Record:
    """One utterance of a corpus."""

    utterance_id: str
    """Unique in its manifest. It names files in shards: no dots, slashes or spaces."""
    media: str
    """Media file: an absolute path, or relative to the manifest's folder."""
    start: float = 0.0
    """Start in the media file, seconds."""
    end: float = math.inf
    """End in the media file, seconds; infinity (omitted in JSON) is the end of the file."""
    text: str
    """The spoken words."""
    language: str
    """ISO 639-1 code."""
    split: str
    """train, valid or test."""
    speaker: str
    """Name of the speaker."""
    words: list[dict[str, Any]] | None = None
    """``{"word", "start", "end"}``, in seconds from the start of the utterance, if known."""
    phones: list[dict[str, Any]] | None = None
    """``{"phone", "start", "end"}``, IPA without stress, "" for a pause, if known."""
    title: str | None = None
    """Title of the video that the utterance comes from."""
    description: str | None = None
    """Description of the video."""
    location: str | None = None
    """Where the video was recorded."""
    mouth: bool = False
    """Whether the video is a ready-made mouth video, as ``avsr transcribe --mouth`` reads it."""

    def to_json(self) -> str:
        """Return one line of JSON; fields without a value are omitted."""
        values = {
            k: v
            for k, v in asdict(self).items()
            if v is not None and v is not False and v != math.inf
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    def problems(self) -> list[str]:
        """Return what is wrong, each as the end of "record X ..."; empty for a valid record."""
        problems = []
        for name in _TEXTS:
            value = getattr(self, name)
            if not isinstance(value, str) and (name in _REQUIRED or value is not None):
                problems.append(f"has a {name} that is not text")
        if not isinstance(self.mouth, bool):
            problems.append("has a mouth that is not true or false")
        if isinstance(self.utterance_id, str) and not is_file_stem(self.utterance_id):
            problems.append("has an id that is empty or holds a dot, a slash or a space")
        if not is_number(self.start) or not is_number(self.end):
            problems.append("has a start or end that is not a number of seconds")
        elif not 0 <= self.start < self.end:
            problems.append(
                f"does not satisfy 0 <= start < end (start {self.start}, end {self.end})"
            )
        for name in _SPANS:
            spans = getattr(self, name)
            if spans is not None and not _are_spans(spans, name[:-1]):
                problems.append(
                    f'has {name} that are not a list of {{"{name[:-1]}", "start", "end"}}'
                )
        return problems


_FIELDS = {field.name for field in fields(Record)}
_REQUIRED = {field.name for field in fields(Record) if field.default is MISSING}
_SPANS = ("words", "phones")
_WITHOUT_ID = "without id"
_TEXTS = [f.name for f in fields(Record) if f.name not in ("start", "end", "mouth", *_SPANS)]


def is_file_stem(name: str) -> bool:
    """Return whether a name can be the part of a file name before the first dot."""
    return bool(name) and not any(char in "./\\" or char.isspace() for char in name)


def is_number(value: object) -> bool:
    """Return whether a value is a number and not NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _are_spans(value: object, name: str) -> bool:
    return isinstance(value, list) and all(
        isinstance(span, dict)
        and isinstance(span.get(name), str)
        and is_number(span.get("start"))
        and is_number(span.get("end"))
        for span in value
    )


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: its record and the problems with it."""

    line: int
    """Number of the line, from 1 on."""
    utterance_id: str
    """Id of the record; "without id" if it has none."""
    record: Record | None
    """The record; None if the line cannot be parsed as one."""
    problems: list[str]
    """What is wrong, each as the end of "record X ..."."""


def parse_record(line: str, where: str) -> Record:
    """Parse a JSON line.

    Args:
        line: A record as JSON.
        where: File and line, with which an error message begins.

    Returns:
        The record.

    Raises:
        CorpusError: The record is broken.
    """
    return _valid_record(_parse_json(line, 0), where)


def scan_manifest(path: str | os.PathLike[str]) -> Iterator[Entry]:
    """Read a manifest line by line, with the problems of each record.

    A file with the suffix ``.csv`` is a table, any other is JSON lines. The first row of a table
    has the names of the fields of Record. An empty cell is an unknown value or an empty text; the
    cells of words and phones hold JSON.

    Args:
        path: Manifest, JSON lines or CSV.

    Yields:
        One entry per record, broken or not.

    Raises:
        CorpusError: The file cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CorpusError(f"cannot read the manifest {path}: {reason}") from error
    line_of: dict[str, int] = {}
    for entry in _csv_entries(text) if path.suffix.lower() == ".csv" else _json_entries(text):
        first = entry.line
        if entry.record is not None:
            first = line_of.setdefault(entry.utterance_id, entry.line)
        duplicates = [f"is in line {first} already"] if first != entry.line else []
        yield dataclasses.replace(entry, problems=entry.problems + duplicates)


def read_manifest(path: str | os.PathLike[str]) -> list[Record]:
    """Read a manifest, JSON lines or CSV (see ``scan_manifest``).

    Args:
        path: Manifest.

    Returns:
        Its records, in order.

    Raises:
        CorpusError: The file cannot be read, or a record is broken; the message has file, line
            and id of the first one.
    """
    return [_valid_record(entry, f"{path}:{entry.line}") for entry in scan_manifest(path)]


def _valid_record(entry: Entry, where: str) -> Record:
    if entry.record is None or entry.problems:
        problems = ", ".join(entry.problems)
        name = f"record {entry.utterance_id} " if entry.utterance_id else ""
        raise CorpusError(f"{where}: {name}{problems}")
    return entry.record


def _json_entries(text: str) -> Iterator[Entry]:
    # not splitlines(): texts may hold line separators other than the newline
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _parse_json(line, number)


def _parse_json(line: str, number: int) -> Entry:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        return Entry(number, "", None, [f"not JSON ({error.msg})"])
    if not isinstance(values, dict):
        return Entry(number, "", None, ["a record must be a JSON object"])
    return _entry(number, values)


def _csv_entries(text: str) -> Iterator[Entry]:
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    try:
        for row in rows:
            cells = {k: v for k, v in row.items() if v is not None and (v or k in _REQUIRED)}
            more = cells.pop("", None)
            if more is not None:
                name = str(cells.get("utterance_id", _WITHOUT_ID))
                yield Entry(rows.line_num, name, None, ["has more cells than the first row"])
            else:
                yield _entry(rows.line_num, {k: _from_cell(k, v) for k, v in cells.items()})
    except csv.Error as error:
        yield Entry(rows.line_num, "", None, [f"not CSV ({error})"])


def _from_cell(name: str, cell: str) -> Any:
    """Convert a cell. One that cannot be converted stays text, which Record.problems reports."""
    if name in ("start", "end"):
        try:
            return float(cell)
        except ValueError:
            return cell
    if name in (*_SPANS, "mouth"):
        try:
            return json.loads(cell.lower() if name == "mouth" else cell)
        except json.JSONDecodeError:
            return cell
    return cell


def _entry(line: int, values: dict[str, Any]) -> Entry:
    problems = [f"misses {key}" for key in sorted(_REQUIRED - set(values))]
    problems += [f"has the unknown field {key}" for key in sorted(set(values) - _FIELDS)]
    record = None
    if not problems:
        record = Record(**values)
        if isinstance(record.language, str) and record.language in ALIASES:
            record = dataclasses.replace(record, language=ALIASES[record.language])
        problems = record.problems()
    return Entry(line, str(values.get("utterance_id", _WITHOUT_ID)), record, problems)


def write_manifest(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Write a manifest atomically.

    Args:
        path: File to write, as CSV if it has this suffix, else as JSON lines.
        records: Records to write.
    """
    if Path(path).suffix.lower() != ".csv":
        replace_text(path, "".join(record.to_json() + "\n" for record in records))
        return
    records = list(records)
    names = [field.name for field in fields(Record)]
    if not any(record.mouth for record in records):
        names.remove("mouth")
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    for record in records:
        values = json.loads(record.to_json())
        for name in set(values).intersection((*_SPANS, "mouth")):
            values[name] = json.dumps(values[name], ensure_ascii=False)
        writer.writerow(values)
    replace_text(path, table.getvalue())


def resolve_media(manifest: str | os.PathLike[str], record: Record) -> Path:
    """Return the path of a record's media file.

    Args:
        manifest: The manifest of the record; relative names start from its folder.
        record: The record.
    """
    return Path(manifest).parent / record.media
