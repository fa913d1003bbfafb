"""What is wrong with a manifest, record by record, before hours of work go into it."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from avsr.corpus.manifest import Entry, Record, resolve_media, scan_manifest
from avsr.errors import MediaError
from avsr.languages import is_language_code
from avsr.media.container import probe

SPLITS = ("train", "valid", "test")
SLACK = 0.1  # s that an end may lie past the media's: containers round their durations


def validate_manifest(
    path: str | os.PathLike[str],
    *,
    languages: Sequence[str] | None = None,
    check_media: bool = True,
) -> tuple[int, list[Entry]]:
    """Records of a manifest and those of them that are broken, in their order.

    Broken are: lines that are no record, ids that stand twice, empty texts, languages outside
    ``languages`` (None: outside ISO 639-1), splits other than train, valid and test, speakers of
    two splits, media files that are missing or unreadable, times outside the media (with
    ``check_media``). Raises CorpusError if the manifest cannot be read at all.
    """
    entries = list(scan_manifest(path))
    splits_of: dict[str, str] = {}
    durations: dict[Path, float | str] = {}
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
    if not is_language_code(record.language):
        problems.append(f"has the language '{record.language}', which is no ISO 639-1 code")
    elif languages is not None and record.language not in languages:
        problems.append(f"has the language '{record.language}', not one of {', '.join(languages)}")
    if record.split not in SPLITS:
        problems.append(f"has the split '{record.split}', not one of {', '.join(SPLITS)}")
    first = splits_of.setdefault(record.speaker, record.split)
    if first != record.split:
        problems.append(f"is {record.split}, but speaker '{record.speaker}' is in {first} already")
    return problems


def _media_problems(record: Record, media: Path, durations: dict[Path, float | str]) -> list[str]:
    """Compare the times with the file's length, which is measured once a file."""
    if media not in durations:
        durations[media] = _duration(media)
    duration = durations[media]
    if isinstance(duration, str):
        return [duration]
    problems = []
    if record.start >= duration:
        problems.append(f"starts at {record.start:g} s, {media.name} has {duration:.2f} s")
    elif not math.isinf(record.end) and record.end > duration + SLACK:
        problems.append(f"ends at {record.end:g} s, {media.name} has {duration:.2f} s")
    return problems


def _duration(media: Path) -> float | str:
    """Seconds, or why they cannot be told."""
    try:
        return probe(media).duration
    except MediaError as error:
        return f"has media that cannot be used: {error}"
