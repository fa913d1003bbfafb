"""Manifests: one record per utterance, as JSON lines or as a table."""

import csv
import dataclasses
import io
import json
import math
import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from avsr.corpus.tables import SUFFIXES, find_separator, table_rows
from avsr.corpus.text_files import UTF_16, decode_text, read_bytes
from avsr.errors import CorpusError
from avsr.languages import ALIASES, canonical_code, is_language_code
from avsr.runtime.atomic_files import replace_text
from avsr.runtime.safe_names import MAX_MEMBER_BYTES, name_problem, show_name
from avsr.runtime.text_lines import json_lines


@dataclass(frozen=True, kw_only=True)
class Record:
    """One utterance of a corpus."""

    utterance_id: str
    """Unique in its manifest. It names files in shards, see ``name_problem``: no dots, slashes or
    spaces."""
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
    """train, valid or test. It names a folder, see ``name_problem``."""
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
        if isinstance(self.text, str) and "\0" in self.text:
            problems.append(r"has a text with the control character '\x00'")
        if not isinstance(self.mouth, bool):
            problems.append("has a mouth that is not true or false")
        id_problem = name_problem(self.utterance_id, MAX_MEMBER_BYTES)
        if isinstance(self.utterance_id, str) and id_problem:
            problems.append(f"has an id that {id_problem}")
        if isinstance(self.split, str) and (problem := name_problem(self.split)):
            problems.append(f"has a split that {problem}")
        if isinstance(self.media, str) and (not self.media or "\0" in self.media):
            problems.append("has a media that is empty or holds a NUL character")
        if isinstance(self.language, str) and not is_language_code(self.language):
            code = canonical_code(self.language)
            if code is not None:
                name = show_name(self.language)
                problems.append(f"has the language '{name}', whose code is '{code}'")
        if not is_number(self.start) or not is_number(self.end):
            problems.append("has a start or end that is not a number of seconds")
        elif not 0 <= self.start < self.end:
            problems.append(
                f"does not satisfy 0 <= start < end (start {self.start}, end {self.end})"
            )
        elif MAX_SECONDS < self.end < math.inf:
            problems.append(f"ends at {self.end:g} s, later than any recording")
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
MAX_INTEGER = 2**53  # exact as a float
MAX_FIRST_ROW = 4096  # bytes in which the names of the columns stand
MAX_SECONDS = 1e7  # 115 days
_WITHOUT_ID = "without id"
_TEXTS = [f.name for f in fields(Record) if f.name not in ("start", "end", "mouth", *_SPANS)]


def is_number(value: object) -> bool:
    """Return whether a value is a number, which a float can hold, and not NaN."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return value == value and (isinstance(value, float) or abs(value) < MAX_INTEGER)


def _are_spans(value: object, name: str) -> bool:
    return isinstance(value, list) and all(_is_span(span, name) for span in value)


def _is_span(span: object, name: str) -> bool:
    if not isinstance(span, dict) or not isinstance(span.get(name), str):
        return False
    if not (_is_time(span.get("start")) and _is_time(span.get("end"))):
        return False
    more = () if len(span) == 3 else span.values()  # JSON cannot hold all numbers
    return all(math.isfinite(value) for value in more if isinstance(value, float))


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and -MAX_SECONDS < value < MAX_SECONDS  # type: ignore[operator]


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


def parse_record(values: dict[str, Any], where: str) -> Record:
    """Check the values of a record.

    Args:
        values: Field -> value, as JSON has them.
        where: File and line, with which an error message begins.

    Returns:
        The record.

    Raises:
        CorpusError: The record is broken.
    """
    return _valid_record(_entry(0, values), where)


def scan_manifest(path: str | os.PathLike[str]) -> Iterator[Entry]:
    """Read a manifest line by line, with the problems of each record.

    A file with the suffix ``.csv`` or ``.tsv`` is a table, any other is JSON lines. Commas,
    semicolons or tabs separate the cells of a table, and its first row has the names of the fields
    of Record. An empty cell is an unknown value or an empty text; the cells of words and phones
    hold JSON.

    Args:
        path: Manifest, JSON lines or a table.

    Yields:
        One entry per record, broken or not.

    Raises:
        CorpusError: The file cannot be read.
    """
    path = Path(path)
    content = read_bytes(path)
    line_of: dict[str, int] = {}
    if path.suffix.lower() in SUFFIXES:
        entries = _table_entries(decode_text(content, path))
    else:
        entries = _json_entries(content, path)
    for entry in entries:
        first = entry.line
        if entry.record is not None and isinstance(entry.record.utterance_id, str):
            first = line_of.setdefault(entry.record.utterance_id, entry.line)
        duplicates = [f"is in line {first} already"] if first != entry.line else []
        yield dataclasses.replace(entry, problems=entry.problems + duplicates)


def read_manifest(path: str | os.PathLike[str]) -> list[Record]:
    """Read a manifest, JSON lines or a table (see ``scan_manifest``).

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


def _json_entries(content: bytes, path: Path) -> Iterator[Entry]:
    if content.startswith(UTF_16):
        decode_text(content, path)  # raises
    start = content.removeprefix(BOM_UTF8).lstrip()[:MAX_FIRST_ROW].split(b"\n")[0]
    if start.startswith(b"["):
        yield Entry(1, "", None, ["a JSON list: write one object per line"])
        return
    if not start.startswith(b"{") and b"utterance_id" in start:
        yield Entry(1, "", None, ["a table, not JSON lines: name the file .csv or .tsv"])
        return
    for line in json_lines(content):
        if line.problem:
            yield Entry(line.number, "", None, [line.problem])
        else:
            yield _entry(line.number, line.values)


def _table_entries(text: str) -> Iterator[Entry]:
    if text.lstrip().startswith("{"):
        yield Entry(1, "", None, ["JSON lines, not a table: name the file .jsonl"])
        return
    separator = find_separator(text, _FIELDS)
    for row in table_rows(text, separator, _FIELDS, _REQUIRED):
        if row.problem:
            name = _shown_id(row.cells) if row.cells else ""
            yield Entry(row.line, name, None, [row.problem])
            continue
        values = {
            name: _from_cell(name, cell, decimal_comma=separator != ",")
            for name, cell in row.cells.items()
            if cell or name in _REQUIRED
        }
        yield _entry(row.line, values)


def _from_cell(name: str, cell: str, *, decimal_comma: bool) -> Any:
    """Convert a cell. One that cannot be converted stays text, which Record.problems reports."""
    if name in ("start", "end"):
        try:
            return float(cell.replace(",", ".") if decimal_comma else cell)
        except ValueError:
            return cell
    if name in (*_SPANS, "mouth"):
        try:
            return json.loads(cell.lower() if name == "mouth" else cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _entry(line: int, values: dict[str, Any]) -> Entry:
    problems = [f"misses {key}" for key in sorted(_REQUIRED - set(values))]
    problems += [f"has the unknown field {show_name(key)}" for key in sorted(set(values) - _FIELDS)]
    record = None
    if not problems:
        record = Record(**values)
        if isinstance(record.language, str) and record.language in ALIASES:
            record = dataclasses.replace(record, language=ALIASES[record.language])
        problems = record.problems()
    return Entry(line, _shown_id(values), record, problems)


def _shown_id(values: dict[str, Any]) -> str:
    return show_name(values.get("utterance_id", _WITHOUT_ID))


def write_manifest(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Write a manifest atomically.

    Args:
        path: File to write: with the suffix ``.csv`` or ``.tsv`` as a table with commas or tabs,
            else as JSON lines.
        records: Records to write.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        replace_text(path, "".join(record.to_json() + "\n" for record in records))
        return
    records = list(records)
    names = [field.name for field in fields(Record)]
    if not any(record.mouth for record in records):
        names.remove("mouth")
    table = io.StringIO(newline="")
    separator = "\t" if suffix == ".tsv" else ","
    writer = csv.DictWriter(table, names, delimiter=separator, lineterminator="\n")
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
