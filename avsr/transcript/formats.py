"""Transcripts -> files: SRT, WebVTT, ASS, JSON, TSV and plain text.

A line of Arabic on screen opens with U+200F (right-to-left mark), for players that take a line's
direction from its first letter, as browsers do; the rest stands between U+202B (right-to-left
embedding) and U+202C, for those that lay out every line from left to right, as libass and VLC do:
there the mark alone would leave digits and foreign words on the wrong side. WebVTT and SRT have no
way of their own, and ASS has one in libass only. Letters stay in logical order. JSON, TSV and plain
text are data, not lines on a screen, and have no marks.
"""

import html
import json
import os
import unicodedata
from typing import Literal, get_args

from avsr.errors import AvsrError
from avsr.languages import RIGHT_TO_LEFT
from avsr.runtime.atomic_files import replace_bytes
from avsr.transcript.cues import Cue, transcript_cues
from avsr.transcript.result import Transcript

FileFormat = Literal["srt", "vtt", "ass", "json", "tsv", "txt"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

RLM, RLE, PDF = "\u200f", "\u202b", "\u202c"
WORD_JOINER = "\u2060"  # shown as nothing
ASS_LIMIT = 36_000.0  # s; its hours have one digit


def write_transcript(
    path: str | os.PathLike[str], transcript: Transcript, file_format: FileFormat
) -> None:
    """Write a transcript as UTF-8; an old file of that name is replaced when all is written.

    Raises AvsrError if that cannot be done.
    """
    try:
        text = render(transcript, file_format)
        # Names of files may hold bytes that are no text; the transcript is worth more.
        replace_bytes(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise AvsrError(f"{path}: cannot be written ({error.strerror or error})") from error


def render(transcript: Transcript, file_format: FileFormat) -> str:
    """The content of a file. Raises AvsrError where the format has no room for it, and
    ValueError for a format that there is not.
    """
    if file_format == "txt":
        spoken = [part for part in transcript.segments if part.text]
        if any(part.speaker for part in spoken):
            return "".join(f"{part.spoken_text}\n" for part in spoken)
        return f"{transcript.text}\n"
    cues = transcript_cues(transcript)
    if file_format == "tsv":
        rows = [f"{_ms(cue.start)}\t{_ms(cue.end)}\t{cue.text}\n" for cue in cues]
        return "".join(["start\tend\ttext\n", *rows])
    if file_format == "json":
        shown = [
            {"start": round(cue.start, 3), "end": round(cue.end, 3), "lines": list(cue.lines)}
            for cue in cues
        ]
        content = {**transcript.to_dict(), "cues": shown}
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    if file_format not in FORMATS:
        raise ValueError(f"unknown format '{file_format}' (known: {', '.join(FORMATS)})")
    if file_format == "ass" and cues and cues[-1].end >= ASS_LIMIT:
        raise AvsrError(f"{transcript.file}: ASS ends at 10 hours; write SRT or WebVTT instead")
    return _with_pysubs2(cues, file_format)


def reads_right_to_left(text: str, language: str = "") -> bool:
    """Whether a line runs from right to left: by its language, else by its first letter."""
    if language in RIGHT_TO_LEFT:
        return True
    kinds = (unicodedata.bidirectional(letter) for letter in text)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"


def _with_pysubs2(cues: tuple[Cue, ...], file_format: str) -> str:
    import pysubs2

    file = pysubs2.SSAFile()
    for cue in cues:
        right_to_left = reads_right_to_left(cue.text, cue.language)
        lines = [_escape(line, file_format) for line in cue.lines]
        if right_to_left:
            lines = [f"{RLM}{RLE}{line}{PDF}" for line in lines]
        event = pysubs2.SSAEvent(_ms(cue.start), _ms(cue.end), r"\N".join(lines))
        file.append(event)
    # keep_ssa_tags: what stands in braces is text, not a tag to be left out.
    options = {} if file_format == "ass" else {"keep_ssa_tags": True}
    return str(file.to_string(file_format, **options))


def _escape(line: str, file_format: str) -> str:
    """A line that means its characters and nothing else."""
    line = line.replace("\\", f"\\{WORD_JOINER}")  # or \N, \n and \h would be breaks and spaces
    if file_format == "vtt":
        return html.escape(line, quote=False)
    if file_format == "ass":  # no player but libass knows an escape for braces
        return line.replace("{", "｛").replace("}", "｝")
    return line


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
