"""Transcripts -> files: SRT, WebVTT, ASS, JSON, TSV and plain text.

To add a format, write a function ``Transcript -> str`` and add a row to ``FORMATS`` and its name to
``FileFormat``. The command line and the demo take their lists from there.

A line of Arabic in subtitles starts with U+200F (right-to-left mark), for players that take the
direction of a line from its first letter, as browsers do. The text follows between U+202B
(right-to-left embedding) and U+202C, for players that lay out every line from left to right, such
as libass and VLC: there the mark alone would leave digits and foreign words on the wrong side.
WebVTT and SRT cannot declare a direction, and ASS can in libass only. Letters stay in logical
order. JSON, TSV and plain text are data and have no marks.

What is not reliable is said in JSON, in a ``NOTE`` of WebVTT and in a comment of ASS; the other
formats have no place for it.
"""

import html
import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from avsr.errors import AvsrError
from avsr.languages import RIGHT_TO_LEFT
from avsr.runtime.atomic_files import replace_bytes
from avsr.transcript.cues import Cue, transcript_cues
from avsr.transcript.result import Transcript

FileFormat = Literal["srt", "vtt", "ass", "json", "tsv", "txt"]

RLM, RLE, PDF = "\u200f", "\u202b", "\u202c"
WORD_JOINER = "\u2060"  # invisible
ASS_LIMIT = 36_000.0  # s; its hours have one digit


@dataclass(frozen=True)
class Format:
    """A file format of transcripts."""

    ending: str
    """Of the file's name, with its dot."""
    description: str
    """What it is, in a few words."""
    render: Callable[[Transcript], str]
    """Makes the content of a file. Raises AvsrError if the format cannot hold the transcript."""


def write_transcript(
    path: str | os.PathLike[str], transcript: Transcript, file_format: FileFormat
) -> None:
    """Write a transcript to a UTF-8 file, which appears only when it is complete.

    Args:
        path: The file; an old one of that name is replaced.
        transcript: What is written.
        file_format: Name of the format, see ``FORMATS``.

    Raises:
        AvsrError: The file cannot be written, or the format cannot hold the transcript.
        ValueError: There is no such format.
    """
    try:
        text = render(transcript, file_format)
        # Names of files may hold bytes that are no text; the transcript is worth more.
        replace_bytes(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise AvsrError(f"{path}: cannot be written ({error.strerror or error})") from error


def render(transcript: Transcript, file_format: FileFormat) -> str:
    """Make the content of a transcript's file.

    Args:
        transcript: What is written.
        file_format: Name of the format, see ``FORMATS``.

    Returns:
        The text of the file.

    Raises:
        AvsrError: The format cannot hold the transcript.
        ValueError: There is no such format.
    """
    if file_format not in FORMATS:
        raise ValueError(f"unknown format '{file_format}' (known: {', '.join(FORMATS)})")
    return FORMATS[file_format].render(transcript)


def reads_right_to_left(text: str, language: str = "") -> bool:
    """Decide whether a line runs from right to left.

    Args:
        text: The line. If the language does not tell, its first letter does.
        language: ISO 639-1 code, or empty if not known.
    """
    if language in RIGHT_TO_LEFT:
        return True
    kinds = (unicodedata.bidirectional(letter) for letter in text)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"


def _render_srt(transcript: Transcript) -> str:
    return _with_pysubs2(transcript_cues(transcript), "srt")


def _render_vtt(transcript: Transcript) -> str:
    text = _with_pysubs2(transcript_cues(transcript), "vtt")
    note = " ".join(transcript.reliability_note.split()).replace("-->", "->")
    return text.replace("WEBVTT\n", f"WEBVTT\n\nNOTE {note}\n", 1) if note else text


def _render_ass(transcript: Transcript) -> str:
    cues = transcript_cues(transcript)
    if cues and cues[-1].end >= ASS_LIMIT:
        raise AvsrError(f"{transcript.file}: ASS ends at 10 hours; write SRT or WebVTT instead")
    return _with_pysubs2(cues, "ass", transcript.reliability_note)


def _render_json(transcript: Transcript) -> str:
    cues = [
        {"start": round(cue.start, 3), "end": round(cue.end, 3), "lines": list(cue.lines)}
        for cue in transcript_cues(transcript)
    ]
    content = {**transcript.to_dict(), "cues": cues}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _render_tsv(transcript: Transcript) -> str:
    rows = [
        f"{_ms(cue.start)}\t{_ms(cue.end)}\t{cue.text}\n" for cue in transcript_cues(transcript)
    ]
    return "".join(["start\tend\ttext\n", *rows])


def _render_txt(transcript: Transcript) -> str:
    segments = [segment for segment in transcript.segments if segment.text]
    if any(segment.speaker for segment in segments):
        return "".join(f"{segment.spoken_text}\n" for segment in segments)
    return f"{transcript.text}\n"


def _with_pysubs2(cues: Sequence[Cue], file_format: str, comment: str = "") -> str:
    import pysubs2

    file = pysubs2.SSAFile()
    if comment:
        text = _escape(" ".join(comment.split()), file_format)
        file.append(pysubs2.SSAEvent(0, 0, text, type="Comment"))
    for cue in cues:
        right_to_left = reads_right_to_left(cue.text, cue.language)
        lines = [_escape(line, file_format) for line in cue.lines]
        if right_to_left:
            lines = [f"{RLM}{RLE}{line}{PDF}" for line in lines]
        event = pysubs2.SSAEvent(_ms(cue.start), _ms(cue.end), r"\N".join(lines))
        file.append(event)
    # keep_ssa_tags: text in braces is text, not a tag to be left out.
    options = {} if file_format == "ass" else {"keep_ssa_tags": True}
    return str(file.to_string(file_format, **options))


def _escape(line: str, file_format: str) -> str:
    """Escape a line so that every character stands for itself."""
    line = line.replace("\\", f"\\{WORD_JOINER}")  # or \N, \n and \h would be breaks and spaces
    if file_format == "vtt":
        return html.escape(line, quote=False)
    if file_format == "ass":  # no player but libass knows an escape for braces
        return line.replace("{", "｛").replace("}", "｝")
    return line


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


FORMATS: dict[FileFormat, Format] = {
    "srt": Format(".srt", "SubRip subtitles", _render_srt),
    "vtt": Format(".vtt", "WebVTT subtitles", _render_vtt),
    "ass": Format(".ass", "Advanced SubStation Alpha subtitles", _render_ass),
    "json": Format(".json", "words, times and probabilities as JSON", _render_json),
    "tsv": Format(".tsv", "table of subtitle times (ms) and texts", _render_tsv),
    "txt": Format(".txt", "plain text", _render_txt),
}
ENDINGS: dict[str, FileFormat] = {entry.ending: name for name, entry in FORMATS.items()}
