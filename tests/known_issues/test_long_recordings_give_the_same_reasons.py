"""Why lips are not read was said wrongly, or not at all, where a recording is cut in segments."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.errors import MediaError
from avsr.recognition.recognizer import Recognizer

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
NO_PICTURE = "there is no picture, so the sound is transcribed"
TOO_SMALL = "the face is too small to read its lips (under 48 px tall)"


@pytest.fixture(params=["short", "long"])
def model(
    model: Recognizer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Recognizer:
    """The bundled model, for which a recording of two seconds is short, or long."""
    seconds = {"short": 5.0, "long": 1.0}[request.param]
    config = dataclasses.replace(model.network.config, segment_seconds=seconds)
    monkeypatch.setattr(model.network, "config", config)
    return model


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return media.read_waveform(EXAMPLES / "de.mp4")


@pytest.fixture(scope="module")
def small(draw_face, sound, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face of 40 px, with speech."""
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    frame = draw_face(40, 320, 180, size=(640, 360))
    media.write_video(path, [frame] * 50, waveform=sound[:32_000], crf=12)
    return path


def test_a_sound_file_has_no_picture(model, sound, tmp_path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "talk.wav", sound, 16_000)
    for modality, warnings in [("av", (NO_PICTURE,)), ("video", (NO_PICTURE,)), ("audio", ())]:
        result = model.transcribe(tmp_path / "talk.wav", modality=modality, beam_size=1)
        assert result.warnings == warnings
        assert result.modality == "audio"


def test_a_small_face_is_too_small(model, small) -> None:
    result = model.transcribe(small, beam_size=1)
    assert any(warning.endswith(TOO_SMALL) for warning in result.warnings), result.warnings


def test_a_small_face_without_sound_is_too_small(model, small, tmp_path) -> None:
    media.write_video(tmp_path / "mute.mp4", media.read_frames(small), crf=12)
    with pytest.raises(MediaError) as error:
        model.transcribe(tmp_path / "mute.mp4")
    assert TOO_SMALL in str(error.value)
    assert "no face" not in str(error.value)


def test_where_there_is_speech_its_lack_is_no_reason(model, small) -> None:
    """Asked for the lips alone, of a face that is too small."""
    try:
        warnings = model.transcribe(small, modality="video", beam_size=1).warnings
    except MediaError as error:
        warnings = (str(error),)
    assert any(TOO_SMALL in warning for warning in warnings)
    assert not any("no speech" in warning for warning in warnings)
