import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from avsr.transcript import FaceSpan, Segment, Transcript, Word, transcript_cues


def transcript(**changes):
    values = {
        "file": "talk.mp4",
        "language": "ru",
        "language_probs": {"en": 0.07512345, "ru": 0.9, "de": 0.02487655},
        "text": "привет мир",
        "words": (Word("привет", 0.04, 0.4800001, 0.91234567), Word("мир", 0.52, 0.8, 0.5)),
        "modality": "av",
        "warnings": ("no face in 3 of 20 frames",),
        "duration": np.float32(0.8),
        "mouth": object(),
    }
    return Transcript(**{**values, **changes})


def test_text():
    assert str(transcript()) == "привет мир"


def test_languages_are_ordered_by_probability():
    assert list(transcript().language_probs) == ["ru", "en", "de"]


def test_json_is_one_line_of_readable_text():
    line = transcript().to_json()
    assert "\n" not in line
    assert "привет" in line
    assert json.loads(line) == {
        "file": "talk.mp4",
        "language": "ru",
        "language_probs": {"ru": 0.9, "en": 0.0751, "de": 0.0249},
        "text": "привет мир",
        "words": [
            {"text": "привет", "start": 0.04, "end": 0.48, "confidence": 0.9123},
            {"text": "мир", "start": 0.52, "end": 0.8, "confidence": 0.5},
        ],
        "modality": "av",
        "modality_reason": "",
        "warnings": ["no face in 3 of 20 frames"],
        "reliable": None,
        "reasons": [],
        "advice": "",
        "duration": 0.8,
        "face": None,
        "faces": [],
        "segments": [],
    }
    assert list(json.loads(line)["language_probs"]) == ["ru", "en", "de"]


def test_parts_of_a_long_recording_are_listed():
    part = Segment(
        start=1.00004,
        end=2.5,
        language="ru",
        language_probs={"ru": 0.99999, "en": 0.00001},
        text="привет",
        modality="audio",
        modality_reason="the lips contradict the sound",
    )
    assert transcript(segments=(part,)).to_dict()["segments"] == [
        {
            "start": 1.0,
            "end": 2.5,
            "language": "ru",
            "language_probs": {"ru": 1.0, "en": 0.0},
            "text": "привет",
            "modality": "audio",
            "modality_reason": "the lips contradict the sound",
            "face": None,
            "faces": [],
            "speaker": "",
            "reliable": None,
            "reasons": [],
        }
    ]


def test_a_segment_says_whose_lips_were_read():
    spans = (
        FaceSpan(face=2, start=1.0, end=1.4, num_frames=10, num_found=10),
        FaceSpan(face=1, start=1.4, end=2.2, num_frames=20, num_found=8),
        FaceSpan(face=2, start=2.2, end=2.5, num_frames=8, num_found=8),
    )
    part = Segment(
        start=1.0,
        end=2.5,
        language="ru",
        language_probs={},
        text="привет",
        modality="av",
        faces=spans,
        speaker="Face 2",
    )
    assert part.face == 2
    assert part.spoken_text == "Face 2: привет"
    row = {"face": 1, "start": 1.4, "end": 2.2, "frames": 20, "found": 8}
    assert part.to_dict()["faces"][1] == row
    assert dataclasses.replace(part, modality="audio").face is None


def test_a_line_break_in_a_file_name_stays_within_the_line():
    assert "\n" not in transcript(file="a\nb.mp4").to_json()


def test_nan_is_refused_rather_than_written_as_broken_json():
    with pytest.raises(ValueError, match="JSON"):
        transcript(duration=float("nan")).to_json()


def test_mouth_is_kept_but_not_written():
    mouth = object()
    result = transcript(mouth=mouth)
    assert result.mouth is mouth
    assert "mouth" not in result.to_dict()


def test_it_loads_no_torch():
    code = "import sys, avsr.transcript; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cues_of_faces_that_talk_at_the_same_time_say_who_and_keep_their_times():
    def part(speaker, text, start, end):
        return Segment(
            start=start,
            end=end,
            language="ru",
            language_probs={},
            text=text,
            modality="av",
            words=(Word(text, start, end, 1.0),),
            speaker=speaker,
        )

    both = part("Face 1", "привет", 1.0, 3.0), part("Face 2", "мир", 1.5, 3.5)
    cues = transcript_cues(transcript(segments=both))
    assert [(cue.start, cue.text) for cue in cues] == [
        (1.0, "Face 1: привет"),
        (1.5, "Face 2: мир"),
    ]
    assert [cue.end for cue in cues] == [3.0, 3.5]


def test_what_is_not_reliable_is_said_in_one_line():
    assert transcript().reliability_note == ""
    bad = transcript(reliable=False, reliability_reasons=("a", "b"), advice="Do this.")
    assert bad.reliability_note == "not reliable: a, b. Do this."
    row = bad.to_dict()
    assert (row["reliable"], row["reasons"], row["advice"]) == (False, ["a", "b"], "Do this.")


def test_parts_that_are_not_reliable_are_listed_by_time():
    def part(start, end, reliable):
        return Segment(
            start=start,
            end=end,
            language="ru",
            language_probs={},
            text="да",
            modality="audio",
            reliable=reliable,
        )

    parts = (part(0, 2, True), part(2, 4, False), part(4.5, 6, False), part(9, 10, False))
    result = transcript(reliable=True, segments=parts)
    assert result.reliability_note == "not reliable: 2.0 to 6.0 s, 9.0 to 10.0 s"
