"""A text in a language that the caller named, but nobody speaks, is not reliable.

The statistics took the certainty of the likeliest language instead, and `de.mp4 --language en`
was called reliable. A model set kept the language in segments that are not reliable.
"""

import wave
from pathlib import Path

import pytest

import avsr
from avsr.corpus import Record
from avsr.evaluation.clips import ClipReader
from avsr.recognition.model_set import mark_doubtful
from avsr.transcript import Segment, Transcript

EXAMPLES = Path(__file__).parents[2] / "demo" / "examples"


@pytest.mark.parametrize("language", ["de", "auto", "de,fr"])
def test_the_right_language_is_reliable(model: avsr.Recognizer, language: str) -> None:
    assert model.transcribe(EXAMPLES / "de.mp4", language=language).reliable is True


@pytest.mark.parametrize("language", ["en", "ru", "en,es"])
def test_another_one_is_not(model: avsr.Recognizer, language: str) -> None:
    assert model.transcribe(EXAMPLES / "de.mp4", language=language).reliable is False


def test_a_set_names_no_language_in_segments_that_are_not_reliable() -> None:
    common = {"language": "de", "language_probs": {"de": 1.0}, "text": "a", "modality": "audio"}
    parts = [Segment(start=i, end=i + 1, reliable=bool(i), **common) for i in range(2)]  # type: ignore[arg-type]
    talk = mark_doubtful(
        Transcript(file="a", reliable=True, segments=tuple(parts), **common)  # type: ignore[arg-type]
    )
    assert [talk.language, *(part.language for part in talk.segments)] == ["de", "unknown", "de"]


def test_a_silent_clip_has_no_sound_in_an_evaluation(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "silent.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    record = Record(
        utterance_id="a", media="silent.wav", text="a", language="en", split="test", speaker="s"
    )
    assert ClipReader(tmp_path).sound(record) is None
