"""Files of every format, read back by pysubs2 or by hand."""

import json
import os
from typing import get_args

import pysubs2
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from avsr.errors import AvsrError
from avsr.transcript import (
    ENDINGS,
    FORMATS,
    FileFormat,
    Transcript,
    Word,
    reads_right_to_left,
    render,
    transcript_cues,
    write_transcript,
)

ARABIC = "ذهبنا إلى متحف IBM في سنة 1984."


def transcript(text: str, language: str = "en", **changes: object) -> Transcript:
    """Words of 0.4 s, from 1 s on, 0.1 s between."""
    words = tuple(
        Word(word, 1.0 + 0.5 * i, 1.4 + 0.5 * i, 0.9) for i, word in enumerate(text.split())
    )
    values = {
        "file": "talk.mp4",
        "language": language,
        "language_probs": {language: 1.0},
        "text": text,
        "modality": "av",
        "words": words,
        "duration": 60.0,
    }
    return Transcript(**{**values, **changes})


TALK = transcript(
    "when the ship came in, we ran down to the harbour. nobody knew where the captain was."
)


def test_srt_is_what_players_expect() -> None:
    assert render(TALK, "srt") == (
        "1\n00:00:01,000 --> 00:00:06,400\n"
        "when the ship came in,\nwe ran down to the harbour.\n\n"
        "2\n00:00:06,500 --> 00:00:09,400\nnobody knew where the captain was.\n\n"
    )


def test_vtt_is_what_browsers_expect() -> None:
    assert render(TALK, "vtt").startswith(
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:06.400\nwhen the ship came in,\n"
    )
    text = render(transcript("AT&T <b> a-->b"), "vtt")
    assert "AT&amp;T &lt;b&gt; a--&gt;b" in text


def test_tsv_is_in_milliseconds() -> None:
    assert render(TALK, "tsv") == (
        "start\tend\ttext\n"
        "1000\t6400\twhen the ship came in, we ran down to the harbour.\n"
        "6500\t9400\tnobody knew where the captain was.\n"
    )


def test_plain_text_is_the_text() -> None:
    assert render(TALK, "txt") == f"{TALK.text}\n"


def test_json_has_words_and_cues() -> None:
    content = json.loads(render(TALK, "json"))
    cues = content.pop("cues")
    assert content == TALK.to_dict()
    assert cues[1] == {"start": 6.5, "end": 9.4, "lines": ["nobody knew where the captain was."]}
    assert len(cues) == 2


@pytest.mark.parametrize("file_format", ["srt", "vtt", "ass"])
@pytest.mark.parametrize("text", [TALK.text, "семь книг", "a {b} \\N c\\nd <i>"])
def test_pysubs2_reads_the_cues_back(file_format: str, text: str) -> None:
    talk = transcript(text, "ru")
    written = render(talk, file_format)
    back = pysubs2.SSAFile.from_string(written, keep_html_tags=True)
    assert back.format == file_format
    cues = transcript_cues(talk)
    assert len(back) == len(cues)
    for event, cue in zip(back, cues, strict=True):
        assert event.start == pytest.approx(cue.start * 1000, abs=5)
        assert event.end == pytest.approx(cue.end * 1000, abs=5)
        # Text as it stands in the file: pysubs2 would take braces for tags.
        written_text = event.text.replace("\u2060", "").replace("&lt;", "<").replace("&gt;", ">")
        written_text = written_text.replace("｛", "{").replace("｝", "}")
        assert written_text == r"\N".join(cue.lines)


@pytest.mark.parametrize("file_format", ["srt", "vtt", "ass"])
def test_arabic_is_marked_and_stays_in_logical_order(file_format: str) -> None:
    talk = transcript(f"{ARABIC} {ARABIC}", "ar")
    back = pysubs2.SSAFile.from_string(render(talk, file_format))
    lines = [line for event in back for line in event.text.split(r"\N")]
    assert len(lines) == 2
    assert all(line.startswith("\u200f\u202b") and line.endswith("\u202c") for line in lines)
    assert " ".join(line[2:-1] for line in lines) == talk.text


def test_data_has_no_marks() -> None:
    talk = transcript(ARABIC, "ar")
    for file_format in ("json", "tsv", "txt"):
        assert not {"\u200f", "\u202b", "\u202c"} & set(render(talk, file_format))


@pytest.mark.skipif(
    not (features.check("raqm") and features.check("fribidi")), reason="Pillow has no raqm"
)
def test_the_marks_do_what_they_are_for() -> None:
    """Laid out from left to right, a marked line looks as it does laid out from right to left."""
    import matplotlib

    name = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    font = ImageFont.truetype(name, 20, layout_engine=ImageFont.Layout.RAQM)

    def picture(text: str, direction: str) -> bytes:
        image = Image.new("L", (600, 40))
        ImageDraw.Draw(image).text((5, 5), text, 255, font, direction=direction)
        return image.crop(image.getbbox()).tobytes()

    line = pysubs2.SSAFile.from_string(render(transcript(ARABIC, "ar"), "srt"))[0].text
    right = picture(ARABIC, "rtl")
    assert picture(line, "ltr") == right
    assert picture(ARABIC, "ltr") != right
    assert picture(f"\u200f{ARABIC}\u200f", "ltr") != right, "the mark alone is not enough"


def test_direction_by_language_or_first_letter() -> None:
    assert reads_right_to_left("IBM", "ar")
    assert reads_right_to_left("1. שלום", "he")
    assert not reads_right_to_left("1. hello שלום", "en")
    assert not reads_right_to_left("123")


def test_a_silent_recording_gives_valid_files() -> None:
    silent = transcript("")
    assert render(silent, "srt") == ""
    assert render(silent, "vtt") == "WEBVTT\n\n"
    assert len(pysubs2.SSAFile.from_string(render(silent, "ass"))) == 0
    assert render(silent, "tsv") == "start\tend\ttext\n"
    assert json.loads(render(silent, "json"))["cues"] == []


def test_ass_has_room_for_ten_hours_only() -> None:
    late = transcript("", words=(Word("late", 35_999.5, 36_001.0, 0.5),), duration=36_001.0)
    assert "10:00:01,000" in render(late, "srt")
    with pytest.raises(AvsrError, match="10 hours"):
        render(late, "ass")


def test_every_format_has_a_name_an_ending_and_a_description() -> None:
    assert tuple(FORMATS) == get_args(FileFormat)
    assert {f".{name}": name for name in FORMATS} == ENDINGS
    assert all(entry.description for entry in FORMATS.values())


def test_an_unknown_format() -> None:
    with pytest.raises(ValueError, match="unknown format 'doc'"):
        render(TALK, "doc")  # type: ignore[arg-type]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_is_replaced_whole(tmp_path, file_format: str) -> None:
    path = tmp_path / f"talk.{file_format}"
    path.write_text("old")
    write_transcript(path, TALK, file_format)
    assert path.read_text("utf-8") == render(TALK, file_format)
    assert os.listdir(tmp_path) == [path.name]


def test_a_name_that_is_no_text_is_no_reason_to_fail(tmp_path) -> None:
    write_transcript(tmp_path / "a.json", transcript("a", file="b\udcff.mp4"), "json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["file"] == "b?.mp4"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path) -> None:
    with pytest.raises(AvsrError, match="cannot be written") as error:
        write_transcript(tmp_path / "nowhere" / "a.srt", TALK, "srt")
    assert "\n" not in str(error.value)


BAD = transcript(
    "one two", reliable=False, reliability_reasons=("a --> b",), advice="Line\nbreaks end a note."
)


def test_vtt_notes_what_is_not_reliable() -> None:
    text = render(BAD, "vtt")
    assert text.startswith(
        "WEBVTT\n\nNOTE not reliable: a -> b. Line breaks end a note.\n\n1\n00:00:01.000"
    )
    (event,) = pysubs2.SSAFile.from_string(text)
    assert event.plaintext == "one two"
    assert "NOTE" not in render(TALK, "vtt")


def test_ass_has_a_comment_on_what_is_not_reliable() -> None:
    comment, cue = pysubs2.SSAFile.from_string(render(BAD, "ass"))
    assert comment.is_comment
    assert "not reliable" in comment.text
    assert not cue.is_comment


def test_other_formats_hold_the_text_alone() -> None:
    good = transcript("one two")
    for file_format in ("srt", "tsv", "txt"):
        assert render(BAD, file_format) == render(good, file_format)
