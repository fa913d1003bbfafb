"""What had energy once was speech: a tone of 1 kHz was Arabic with a probability of 0.98."""

import dataclasses
import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.audio import has_speech, is_silent
from avsr.cli import app as cli
from avsr.corpus import Record, write_manifest
from avsr.evaluation import EvaluationConfig, evaluate, read_run
from avsr.face import lips_move
from avsr.rates import SAMPLE_RATE
from avsr.recognition.language_id import speech_pieces
from avsr.recognition.recognizer import Recognizer
from avsr.transcript import Transcript
from avsr.transcript.result import NO_SPEECH

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
SECONDS = 3.0
TIME = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE


def tone(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * TIME)


def hum(hz: float) -> np.ndarray:
    """A tone with overtones, as mains make it."""
    return sum(0.1 / k * np.sin(2 * np.pi * hz * k * TIME) for k in range(1, 12))


def buzz(hz: float) -> np.ndarray:
    """A loud hum with many overtones, out of step."""
    return sum(0.05 / k**0.5 * np.sin(2 * np.pi * hz * k * TIME + k) for k in range(1, 30))


def organ() -> np.ndarray:
    """A scale of held notes."""
    beat = (TIME / 0.4).astype(int)
    hz = np.array([220, 247, 262, 294, 330, 349, 392, 440])[beat % 8]
    since = TIME % 0.4
    envelope = np.minimum(1, since * 50) * np.minimum(1, (0.4 - since) * 50)
    return 0.15 * envelope * sum(np.sin(2 * np.pi * hz * k * since) / k for k in range(1, 7))


def noise(exponent: float) -> np.ndarray:
    """White noise (0), or pink noise (0.5)."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(len(TIME)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** exponent
    spectrum[0] = 0
    sound = np.fft.irfft(spectrum, len(TIME))
    return 0.3 * sound / np.abs(sound).max()


def chords() -> np.ndarray:
    """Plucked chords, two a second."""
    music = np.zeros(len(TIME))
    for beat in range(6):
        since = TIME - beat / 2
        envelope = np.where(since >= 0, np.exp(-4 * np.maximum(since, 0)), 0)
        for note in ((57, 60, 64), (53, 57, 60), (48, 55, 64), (55, 59, 62))[beat % 4]:
            hz = 440 * 2 ** ((note - 69) / 12)
            music += sum(envelope * np.sin(2 * np.pi * hz * k * TIME) / k**2 for k in (1, 2, 3))
    return 0.5 * music / np.abs(music).max()


def clicks() -> np.ndarray:
    return 0.8 * (np.arange(len(TIME)) % 4000 == 0)


SOUNDS: dict[str, np.ndarray] = {
    **{f"tone-{hz}": tone(hz) for hz in (100, 440, 1000, 4000)},
    **{f"hum-{hz}": hum(hz) for hz in (50, 60, 80, 100, 120, 150)},
    "buzz": buzz(60),
    "organ": organ(),
    "white": noise(0),
    "quiet": 0.01 * noise(0),
    "pink": noise(0.5),
    "chords": chords(),
    "held-chord": tone(220) / 3 + tone(277) / 3 + tone(330) / 3,
    "clicks": clicks(),
    "bursts": noise(0) * (TIME % 0.5 < 0.1),
    "beeps": tone(1000) * (TIME % 1 < 0.5),
    "silence": 0 * TIME,
    "offset": 0 * TIME + 0.3,
    "small-offset": 0 * TIME + 0.002,
    "one-sample": tone(440)[1:2],
    "50-ms": noise(0)[:800],
    "200-ms": hum(120)[:3200],
}
FEW = ("tone-1000", "hum-50", "pink", "chords", "small-offset", "one-sample", "50-ms")


def write_sound(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def check_nothing(result: Transcript) -> None:
    assert (result.text, result.words, result.segments) == ("", (), ())
    assert result.language == "unknown"
    assert result.language_probs == {}
    assert result.warnings[-1] == NO_SPEECH


@pytest.mark.parametrize("name", SOUNDS)
def test_these_are_no_speech(name: str) -> None:
    sound = SOUNDS[name].astype(np.float32)
    assert not has_speech(sound)
    if name in ("silence", "offset", "small-offset", "one-sample", "50-ms"):
        assert is_silent(sound)


def test_these_are_speech() -> None:
    for path in EXAMPLES.glob("*.mp4"):
        voice = media.read_waveform(path)
        assert has_speech(voice), path
        assert has_speech(voice + np.float32(0.2)), path
        assert has_speech(voice / 300), path
        hiss = 0.25 * voice.std() * np.random.default_rng(0).standard_normal(len(voice))
        assert has_speech(voice + hiss.astype(np.float32)), path


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("length", ["short", "long"])
def test_they_have_no_words(
    model: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, length: str
) -> None:
    if length == "long":
        config = dataclasses.replace(model.network.config, segment_seconds=1.0)
        monkeypatch.setattr(model.network, "config", config)
    path = write_sound(tmp_path / "sound.wav", SOUNDS[name])
    result = model.transcribe(path)
    check_nothing(result)
    assert result.duration == pytest.approx(len(SOUNDS[name]) / SAMPLE_RATE)
    check_nothing(model.transcribe(path, language="de"))
    assert model.detect_language(path) == {}
    check_nothing(model.transcribe_arrays(SOUNDS[name].astype(np.float32), None))


def test_music_behind_a_picture_without_a_face_or_with_a_still_one(
    model: Recognizer, draw_face: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    portrait = draw_face(150, 320, 180, size=(640, 360))
    for picture, reason in ((portrait, "no mouth moves"), (0 * portrait, "no face was found")):
        media.write_video(tmp_path / "a.mp4", [picture] * 50, waveform=chords())
        result = model.transcribe(tmp_path / "a.mp4")
        check_nothing(result)
        assert any(reason in warning for warning in result.warnings)
    media.write_video(tmp_path / "a.mp4", [portrait] * 50, waveform=chords())
    check_nothing(model.transcribe(tmp_path / "a.mp4", face="1"))


def test_lips_that_move_vouch_for_a_sound_without_speech(model: Recognizer, tmp_path: Path) -> None:
    frames = list(media.read_frames(EXAMPLES / "en.mp4"))
    media.write_video(tmp_path / "a.mp4", frames, waveform=noise(0.5)[: len(frames) * 640])
    assert model.transcribe(tmp_path / "a.mp4", beam_size=1).text
    mouth = model.transcribe(EXAMPLES / "en.mp4", modality="video", beam_size=1).mouth.mouth
    assert lips_move(mouth)
    assert not lips_move(mouth[:1].repeat(50, axis=0))
    assert model.transcribe_arrays(noise(0.5).astype(np.float32), mouth, beam_size=1).text
    still = mouth[:1].repeat(50, axis=0)
    check_nothing(model.transcribe_arrays(tone(1000).astype(np.float32), still))


def test_in_a_long_recording_they_are_left_out(
    model: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_times
) -> None:
    config = dataclasses.replace(model.network.config, segment_seconds=2.5)
    monkeypatch.setattr(model.network, "config", config)
    voice = media.read_waveform(EXAMPLES / "de.mp4")
    pause = np.zeros(SAMPLE_RATE)
    path = write_sound(tmp_path / "a.wav", np.concatenate([chords(), pause, voice, pause, hum(50)]))
    result = model.transcribe(path, beam_size=1)
    check_times(result)
    (segment,) = result.segments
    assert segment.text
    assert 3.5 < segment.start < 4.5
    assert list(speech_pieces([hum(50).astype(np.float32), chords().astype(np.float32)])) == []


def test_the_command_line_succeeds_and_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_sound(tmp_path / "tone.wav", SOUNDS["tone-1000"])
    output = tmp_path / "tone.srt"
    command = ["transcribe", "--device", "cpu", "--json", "--modality", "audio", str(path)]
    assert cli.main([*command, "-o", str(output)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["language"] == "unknown"
    assert f"{path}: warning: {NO_SPEECH}" in shown.err
    assert output.read_text() == ""


def test_an_evaluation_counts_them_as_no_words_and_keeps_speech_in_loud_noise(
    tmp_path: Path,
) -> None:
    def record(name: str, path: Path) -> Record:
        return Record(
            utterance_id=name, media=str(path), text="a", language="de", split="test", speaker="s"
        )

    tone_path = write_sound(tmp_path / "tone.wav", SOUNDS["tone-1000"])
    records = [record("tone", tone_path), record("voice", EXAMPLES / "de.mp4")]
    write_manifest(tmp_path / "m.jsonl", records)
    config = EvaluationConfig(
        manifest=str(tmp_path / "m.jsonl"),
        out=str(tmp_path / "out"),
        modalities=("audio",),
        snr_db=("clean", -15),
        beam_size=1,
    )
    conditions = read_run(evaluate(config, device="cpu")).conditions
    assert len(conditions) == 2
    for utterances in conditions.values():
        nothing, voice = sorted(utterances, key=lambda each: each.utterance_id)
        assert (nothing.hypothesis, nothing.failure) == ("", None)
        assert voice.hypothesis


def test_real_voices_are_not_lost(voices_dir: Path) -> None:
    """One in 90 of every language, single letters among them."""
    rows = [json.loads(line) for line in (voices_dir / "manifest.jsonl").open()]
    files = [voices_dir / row["file"] for row in rows[7::90]]
    lost = [file for file in files if not has_speech(media.read_waveform(file))]
    assert len(lost) <= len(files) / 100, lost


def test_grid_is_not_lost(grid_dir: Path) -> None:
    rows = [json.loads(line) for line in (grid_dir / "manifest.jsonl").open()]
    files = [grid_dir / row["media"] for row in rows if row["split"] == "valid"][::4]
    assert [file for file in files if not has_speech(media.read_waveform(file))] == []


@pytest.mark.parametrize("name", ["ns_hum_3.wav", "ms50.wav", "one_sample.wav", "dc_silent.wav"])
def test_files_that_failed(model: Recognizer, faults_dir: Path, name: str) -> None:
    check_nothing(model.transcribe(faults_dir / name))
