"""The picture's length once was the recording's: sound behind its last frame was thrown away.

Words ended after the recording, and lips that move on after the sound were not read in long ones.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.evaluation.clips import Clip
from avsr.evaluation.predictor import ModelRecognizer
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.reading import PICTURE_ENDS
from avsr.recognition.recognizer import Recognizer
from avsr.recognition.recording import Recording, extend_lips
from avsr.transcript import Transcript

EXAMPLE = Path(__file__).parents[2] / "demo/examples/en.mp4"
OPTIONS = {"beam_size": 1, "language": "en"}
CheckTimes = Callable[[Transcript], None]


@pytest.fixture
def short_segments(model: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model takes a second at a time."""
    config = dataclasses.replace(model.network.config, segment_seconds=1.0)
    monkeypatch.setattr(model.network, "config", config)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(media.read_frames(EXAMPLE))


@pytest.fixture(scope="module")
def voice(frames: list[np.ndarray]) -> np.ndarray:
    return media.read_waveform(EXAMPLE)[: len(frames) * SAMPLES_PER_FRAME]


@pytest.fixture(scope="module")
def heard(model: Recognizer, voice: np.ndarray) -> Transcript:
    """What is heard without lips."""
    return model.transcribe_arrays(voice, None, **OPTIONS)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_sound_behind_the_last_picture_is_transcribed(
    model: Recognizer,
    frames: list[np.ndarray],
    voice: np.ndarray,
    heard: Transcript,
    check_times: CheckTimes,
    tmp_path: Path,
    share: float,
) -> None:
    """A portrait with a voice note, and a camera that is switched off."""
    count = max(1, round(share * len(frames)))
    media.write_video(tmp_path / "a.mp4", frames[:count], waveform=voice)
    result = model.transcribe(tmp_path / "a.mp4", **OPTIONS)
    check_times(result)
    assert result.duration == pytest.approx(len(voice) / SAMPLE_RATE, abs=0.1)
    assert result.words[-1].end > heard.words[-1].start > count / FPS
    assert len(result.words) >= len(heard.words) - 1
    assert result.modality == ("av" if share > 0.5 else "audio")
    assert any(PICTURE_ENDS in warning for warning in result.warnings)


def test_lips_behind_the_end_of_the_sound_are_read_and_it_is_said(
    model: Recognizer,
    frames: list[np.ndarray],
    voice: np.ndarray,
    check_times: CheckTimes,
    tmp_path: Path,
) -> None:
    media.write_video(tmp_path / "a.mp4", frames, waveform=voice[: SAMPLE_RATE // 2])
    result = model.transcribe(tmp_path / "a.mp4", **OPTIONS)
    check_times(result)
    assert result.modality == "av"
    assert result.duration == pytest.approx(len(frames) / FPS, abs=0.05)
    assert result.words[-1].end > 1.0
    (warning,) = result.warnings
    assert warning.startswith("the sound ends at 0.")
    assert warning.endswith("of 2.0 s; the lips are read on without it")
    alone = model.transcribe(tmp_path / "a.mp4", modality="audio", **OPTIONS)
    check_times(alone)
    assert alone.duration == result.duration, "the picture is the longer track all the same"


@pytest.mark.usefixtures("short_segments")
def test_so_it_is_in_long_recordings(
    model: Recognizer,
    frames: list[np.ndarray],
    voice: np.ndarray,
    check_times: CheckTimes,
    tmp_path: Path,
) -> None:
    media.write_video(tmp_path / "picture.mp4", frames[:20], waveform=voice)
    result = model.transcribe(tmp_path / "picture.mp4", **OPTIONS)
    check_times(result)
    assert result.segments[-1].modality == "audio"
    assert result.words[-1].end > 1.0
    assert f"parts are without lips: {PICTURE_ENDS}" in result.warnings
    media.write_video(tmp_path / "sound.mp4", frames, waveform=voice[: SAMPLE_RATE * 8 // 10])
    result = model.transcribe(tmp_path / "sound.mp4", **OPTIONS)
    check_times(result)
    assert result.segments[-1].modality == "video"
    assert result.segments[-1].end == pytest.approx(len(frames) / FPS, abs=0.01)
    assert result.duration == pytest.approx(len(frames) / FPS, abs=0.05)
    alone = model.transcribe(tmp_path / "sound.mp4", modality="audio", **OPTIONS)
    check_times(alone)
    assert {segment.modality for segment in alone.segments} == {"audio"}


def test_arrays_and_clips_of_an_evaluation_as_well(
    model: Recognizer, voice: np.ndarray, heard: Transcript, check_times: CheckTimes
) -> None:
    mouth = model.transcribe(EXAMPLE, **OPTIONS).mouth.mouth[:30]
    result = model.transcribe_arrays(voice, mouth, **OPTIONS)
    check_times(result)
    assert result.words[-1].end > heard.words[-1].start
    clip = Clip(name="a", waveform=voice, mouth=mouth)
    recognizer = ModelRecognizer(model.network, beam_size=1)
    (((prediction,),)) = recognizer.transcribe([clip], [["en"]])
    assert prediction.text == result.text
    result = model.transcribe_arrays(voice[:8000], mouth, **OPTIONS)
    check_times(result)
    assert result.duration == len(mouth) / FPS


def test_the_rest_of_a_packet_changes_nothing() -> None:
    """Codecs fill up their last packet, so sound of the same length is some ms longer."""
    mouth = np.zeros((10, 96, 96), np.uint8)
    for extra, expected in ((0, 10), (4, 10), (5, 15)):
        sound = np.zeros((10 + extra) * SAMPLES_PER_FRAME, np.float32)
        recording = Recording(name="", waveform=sound, mouth=mouth)
        assert extend_lips(recording).num_frames == expected
        assert recording.duration == len(sound) / SAMPLE_RATE


def test_a_word_ends_with_a_sound_that_is_no_whole_number_of_frames(
    model: Recognizer, voice: np.ndarray, check_times: CheckTimes
) -> None:
    for samples in (16_001, 20_100, 25_599):
        check_times(model.transcribe_arrays(voice[:samples], None, **OPTIONS))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pe_1.3.mp4", "bin blue at f four please"),
        ("sound_ends_early.mp4", "bin blue at f four please"),
    ],
)
def test_files_that_failed(
    model: Recognizer, faults_dir: Path, check_times: CheckTimes, name: str, text: str
) -> None:
    result = model.transcribe(faults_dir / name)
    check_times(result)
    assert result.text == text
    assert result.duration == pytest.approx(3.0, abs=0.05)
    assert len(result.warnings) >= 1
