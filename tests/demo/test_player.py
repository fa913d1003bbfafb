"""A transcript as HTML, and words that the visitor corrects."""

import base64
import dataclasses
import re

import pytest

from avsr import Transcript
from avsr.transcript import Segment, Word, transcript_cues
from demo.player import ResultView, edit_word, render_player

WORDS = tuple(Word(text, float(i), i + 0.8, 0.9) for i, text in enumerate(["uno", "dos", "tres"]))


def transcript(**changes: object) -> Transcript:
    first, second = WORDS[:2], WORDS[2:]
    parts = [
        Segment(
            start=words[0].start,
            end=words[-1].end,
            language="es",
            language_probs={"es": 1.0},
            text=" ".join(word.text for word in words),
            modality="av",
            words=words,
        )
        for words in (first, second)
    ]
    whole = Transcript(
        file="a.mp4",
        language="es",
        language_probs={"es": 1.0, "en": 0.0},
        text="uno dos tres",
        modality="av",
        words=WORDS,
        duration=3.0,
        segments=tuple(parts),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def test_a_corrected_word_is_in_text_words_segments_and_cues() -> None:
    changed = edit_word(transcript(), 2, " cuatro ")
    assert changed.text == "uno dos cuatro"
    assert changed.words[2] == Word("cuatro", 2.0, 2.8, 1.0)
    assert [part.text for part in changed.segments] == ["uno dos", "cuatro"]
    assert " ".join(cue.text for cue in transcript_cues(changed)) == "uno dos cuatro"


def test_an_empty_word_is_removed() -> None:
    changed = edit_word(transcript(), 0, "")
    assert changed.text == "dos tres"
    assert [part.text for part in changed.segments] == ["dos", "tres"]


def test_a_text_without_words_is_corrected_as_a_whole() -> None:
    changed = edit_word(transcript(words=(), segments=()), -1, "otra cosa")
    assert changed.text == "otra cosa"


@pytest.mark.parametrize("index", [-1, 3])
def test_an_unknown_word_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match="there is no word"):
        edit_word(transcript(), index, "x")


def test_words_are_escaped_and_subtitles_are_in_the_page() -> None:
    hostile = edit_word(transcript(), 1, "<script>alert(1)</script>")
    page = render_player(ResultView(transcript=hostile, video="/up/a b.mp4", mouth=None))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'src="gradio_api/file=/up/a%20b.mp4"' in page
    subtitles = re.search(r"base64,([\w+/=]+)", page)
    assert subtitles is not None
    assert base64.b64decode(subtitles[1]).decode().startswith("WEBVTT")


def test_the_time_line_has_every_part() -> None:
    page = render_player(ResultView(transcript=transcript(), video="a.mp4", mouth=None))
    assert re.findall(r'class="part tint0" style="left:([\d.]+)%', page) == ["0.000", "66.667"]
    assert page.count('class="word"') == 3
