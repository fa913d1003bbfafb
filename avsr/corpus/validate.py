"""Check a manifest record by record: ``avsr validate``."""

import math
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from avsr.corpus import shard_index
from avsr.corpus.manifest import Entry, Record, resolve_media, scan_manifest
from avsr.errors import CorpusError, LanguageError, MediaError
from avsr.languages import canonical_code, is_language_code
from avsr.media.media_info import probe
from avsr.runtime.safe_names import show_name

SPLITS = ("train", "valid", "test")
WORD_CHARACTERS = ("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "No")
SLACK = 0.1  # s; an end may exceed the duration by it: containers round their durations

Durations = dict[str | None, float] | str
"""Seconds of each utterance of a file, those of all under None; or why there are none."""


def validate_manifest(
    path: str | os.PathLike[str],
    *,
    languages: Sequence[str] | None = None,
    check_media: bool = True,
) -> tuple[int, list[Entry]]:
    """Find the broken records of a manifest.

    A record is broken if its line cannot be parsed, its id is not unique, its text has no words,
    its language or split is unknown, its speaker is in two splits, its media file is missing or
    unreadable, or its times are outside of the media file.

    Args:
        path: Manifest, JSON lines or CSV.
        languages: Codes that may occur; default: all of ISO 639-1.
        check_media: Whether to open the media files.

    Returns:
        Number of records, and the broken ones in order, with their problems.

    Raises:
        CorpusError: The manifest cannot be read or has no records.
        LanguageError: One of ``languages`` is no code.
    """
    for code in languages or ():
        if not is_language_code(code):
            canonical = canonical_code(code)
            hint = f"; did you mean '{canonical}'?" if canonical else ""
            raise LanguageError(f"'{show_name(code)}' is no language code{hint}")
    entries = list(scan_manifest(path))
    if not entries:
        raise CorpusError(f"{path} has no records")
    splits_of: dict[str, str] = {}
    durations: dict[Path, Durations] = {}
    broken = []
    for entry in entries:
        problems = list(entry.problems)
        if entry.record is not None and not problems:
            problems = _content_problems(entry.record, languages, splits_of)
            if check_media:
                media = resolve_media(path, entry.record)
                problems += _media_problems(entry.record, media, durations)
        if problems:
            broken.append(Entry(entry.line, entry.utterance_id, entry.record, problems))
    return len(entries), broken


def _content_problems(
    record: Record, languages: Sequence[str] | None, splits_of: dict[str, str]
) -> list[str]:
    problems = []
    if not record.text.strip():
        problems.append("has an empty text")
    elif not has_words(record.text):
        problems.append(f"has a text without words ('{show_name(record.text)}')")
    if strange := sorted(filter(_is_control, record.text)):
        problems.append(f"has a text with the control character {strange[0]!a}")
    if not is_language_code(record.language):
        name = show_name(record.language)
        problems.append(f"has the language '{name}', which is not an ISO 639-1 code")
    elif languages is not None and record.language not in languages:
        problems.append(f"has the language '{record.language}', not one of {', '.join(languages)}")
    if record.split not in SPLITS:
        problems.append(f"has the split '{record.split}', not one of {', '.join(SPLITS)}")
    first = splits_of.setdefault(record.speaker, record.split)
    if first != record.split:
        name = show_name(record.speaker)
        problems.append(f"is {record.split}, but speaker '{name}' is already in {first}")
    return problems


def has_words(text: str) -> bool:
    """Whether a text has a letter or a digit; without any, nothing of it is scored."""
    return any(unicodedata.category(char) in WORD_CHARACTERS for char in text)


def _is_control(char: str) -> bool:
    """Whether a character is a control character, and no kind of blank."""
    return unicodedata.category(char) == "Cc" and not char.isspace()


def _media_problems(record: Record, media: Path, durations: dict[Path, Durations]) -> list[str]:
    """Compare the times with the duration of the file, which is read once per file."""
    if media not in durations:
        durations[media] = _durations(media)
    known = durations[media]
    if isinstance(known, str):
        return [f"has media that cannot be used: {known}"]
    duration = known.get(None, known.get(record.utterance_id))
    if duration is None:
        return [f"is not in the shard {media.name}"]
    problems = []
    if record.start >= duration:
        problems.append(f"starts at {record.start:g} s, but {media.name} has {duration:.2f} s")
    elif not math.isinf(record.end) and record.end > duration + SLACK:
        problems.append(f"ends at {record.end:g} s, but {media.name} has {duration:.2f} s")
    return problems


def _durations(media: Path) -> Durations:
    """Return the seconds of a file, of each utterance of a shard, or why it cannot be read."""
    try:
        if media.suffix == shard_index.SUFFIX:
            records = [sample.record for sample in shard_index.open_shard(media)]
            return {record.utterance_id: record.end - record.start for record in records}
        return {None: probe(media).duration}
    except (CorpusError, MediaError) as error:
        return str(error)
