import json
import subprocess
import sys

import numpy as np
import pytest

from avsr.transcript import Segment, Transcript, Word


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
        "warnings": ["no face in 3 of 20 frames"],
        "duration": 0.8,
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
    )
    assert transcript(segments=(part,)).to_dict()["segments"] == [
        {
            "start": 1.0,
            "end": 2.5,
            "language": "ru",
            "language_probs": {"ru": 1.0, "en": 0.0},
            "text": "привет",
            "modality": "audio",
        }
    ]


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
