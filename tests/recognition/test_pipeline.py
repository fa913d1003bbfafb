"""What a user may throw at it: every kind of awkward file, with a small untrained model."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avsr import media
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ConfigError, LanguageError, MediaError
from avsr.face import MouthTrack
from avsr.media import write_video
from avsr.model.config import ModelConfig
from avsr.model.network import AVSRModel
from avsr.recognition.inference import mark_uncertain, recognize
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording
from avsr.recognition.recognizer import Recognizer, detect_language, transcribe
from avsr.recognition.recording import Recording
from avsr.transcript import Transcript

EXAMPLE = Path(__file__).parents[2] / "demo/examples/en.mp4"
VOICE = media.read_waveform(EXAMPLE)[:32_000]  # 2 s
TONE = np.sin(np.arange(32_000) * 0.05).astype(np.float32) * 0.3  # 2 s


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, position_kernel=8, prompts=2
        ),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        classifier_channels=8,
        vocabulary_size=20,
        languages=("de", "en"),
    )
    network = AVSRModel(config, Tokenizer.train(["ein kleiner satz", "a small sentence"], 20))
    return Recognizer(network.eval())


@pytest.fixture(scope="module")
def face():
    """(320, 320, 3), a photograph of a face."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[:320, 60:380])


def _with_open_mouth(face: np.ndarray) -> np.ndarray:
    """The photograph with its mouth wide open: what lies below the lips is drawn lower."""
    height, width = face.shape[:2]
    rows = np.arange(height, dtype=np.float32)
    lips = 145.0  # px from the top, between the lips
    source = np.where(rows > lips, np.maximum(lips, rows - 10), rows)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), source.astype(np.float32))
    return cv2.remap(face, x, y, cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def clips(face, tmp_path_factory):
    """One file per awkward case."""
    folder = tmp_path_factory.mktemp("clips")
    empty = np.full_like(face, 90)
    talking = [_with_open_mouth(face) if i % 6 < 3 else face for i in range(200)]
    silence = np.zeros(8 * 16_000, np.float32)
    cases = {
        "plain": (talking[:50], VOICE),
        "no-face": ([empty] * 50, VOICE),
        "half-face": (talking[:25] + [empty] * 25, VOICE),
        "no-sound": (talking[:50], None),
        "one-frame": ([face], TONE[:640]),
        "silence": (talking, silence),
        "slide": ([face] * 50, VOICE),
        "slide-no-sound": ([face] * 50, None),
        "silence-no-face": ([empty] * 50, silence[:32_000]),
        "no-face-no-sound": ([empty] * 25, None),
        "long": ([empty] * 25 * 31, np.tile(TONE, 16)[: 31 * 16_000]),
    }
    for name, (frames, waveform) in cases.items():
        write_video(folder / f"{name}.mp4", frames, waveform=waveform)
    big = np.zeros((2160, 3840, 3), np.uint8)
    big[700:1340, 1500:2140] = face.repeat(2, 0).repeat(2, 1)
    write_video(folder / "4k.mp4", [big] * 5, waveform=VOICE[8000:11_200])
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(folder / "sound.wav", VOICE, 16_000)
    whole = (folder / "plain.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "headless.mp4").write_bytes(whole[len(whole) // 2 :])
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no film\n" * 50)
    return folder


def test_sound_and_lips(model, clips):
    result = model.transcribe(clips / "plain.mp4")
    assert result.modality == "av"
    assert result.warnings == ()
    assert result.language in ("de", "en")
    assert sum(result.language_probs.values()) == pytest.approx(1.0)
    assert result.duration == pytest.approx(2.0, abs=0.1)
    assert isinstance(result.mouth, MouthTrack)
    assert result.mouth.mouth.shape == (50, 96, 96)
    assert all(0 <= w.start < w.end <= result.duration for w in result.words)


@pytest.mark.parametrize(
    ("clip", "asked", "used", "warning"),
    [
        ("plain", "audio", "audio", None),
        ("plain", "video", "video", None),
        ("no-face", "av", "audio", "no face was found"),
        ("no-face", "video", "audio", "no face was found"),
        ("slide", "av", "audio", "no mouth moves"),
        ("half-face", "av", "av", "of the frames only"),
        ("no-sound", "av", "video", "no sound track"),
        ("no-sound", "audio", "video", "no sound track"),
        ("one-frame", "av", "video", "sound of 0.064 s is too short"),
        ("silence", "av", "video", "sound track is silent"),
        ("4k", "av", "av", None),
        ("long", "audio", "audio", "no speech was found"),
    ],
)
def test_what_is_missing_is_replaced_and_said(model, clips, clip, asked, used, warning):
    result = model.transcribe(clips / f"{clip}.mp4", modality=asked, beam_size=2)
    assert result.modality == used
    if warning is None:
        assert result.warnings == ()
    else:
        assert any(warning in w for w in result.warnings), result.warnings


def test_a_sound_file_has_no_picture(model, clips):
    for asked in ("av", "video", "audio"):
        result = model.transcribe(clips / "sound.wav", modality=asked, beam_size=2)
        assert result.modality == "audio"
        assert bool(result.warnings) == (asked != "audio")


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ("no-face-no-sound.mp4", "nothing to transcribe: .*no sound track.*no face"),
        ("slide-no-sound.mp4", "nothing to transcribe: .*no sound track.*no mouth moves"),
        ("headless.mp4", "headless.mp4"),
        ("zero.mp4", "zero.mp4"),
        ("text.mp4", "text.mp4"),
        ("missing.mp4", "missing.mp4"),
        (".", "director|folder"),
    ],
)
def test_what_cannot_be_used_is_one_line(model, clips, clip, message):
    with pytest.raises(MediaError, match=message) as error:
        model.transcribe(clips / clip)
    assert "\n" not in str(error.value)


def test_silence_without_a_face_has_no_words(model, clips):
    result = model.transcribe(clips / "silence-no-face.mp4")
    assert (result.text, result.language, result.words) == ("", "unknown", ())
    assert result.warnings == (
        "the sound track is silent",
        "no face was found in any frame",
        "no speech was found, so there are no words",
    )


def test_of_a_truncated_file_what_is_there_is_transcribed_and_the_cut_is_said(model, clips):
    result = model.transcribe(clips / "truncated.mp4", beam_size=2)
    assert any("cut short" in warning for warning in result.warnings)


def test_an_unknown_language_is_refused_before_any_work(model, clips):
    with pytest.raises(LanguageError, match="unknown language 'xx'"):
        model.transcribe(clips / "missing.mp4", language="xx")


def test_a_given_language_is_used(model, clips):
    for code in ("de", "en"):
        assert model.transcribe(clips / "plain.mp4", language=code).language == code


def test_an_unsure_language_is_unknown_and_the_words_are_there():
    options = TranscribeOptions()
    transcript = Transcript(
        file="x", language="de", language_probs={"de": 0.49, "en": 0.3}, text="ja", modality="av"
    )
    doubted = mark_uncertain(transcript, options)
    assert (doubted.language, doubted.text) == ("unknown", "ja")
    assert doubted.warnings == ("the language is not sure; the words are in 'de'",)
    told = TranscribeOptions(language="de")
    assert mark_uncertain(transcript, told) is transcript
    assert mark_uncertain(transcript, TranscribeOptions(language="de,en")) == doubted


def test_options_are_checked():
    with pytest.raises(ConfigError, match="modality 'sound'"):
        TranscribeOptions(modality="sound")
    with pytest.raises(ConfigError, match="beam_size"):
        TranscribeOptions(beam_size=0)


def test_module_functions_agree_with_the_model(model, clips):
    path = clips / "plain.mp4"
    assert transcribe(path, model=model, beam_size=2) == model.transcribe(path, beam_size=2)
    probs = detect_language(path, model=model)
    assert probs == pytest.approx(model.transcribe(path, beam_size=2).language_probs, abs=1e-4)
    assert list(probs.values()) == sorted(probs.values(), reverse=True)


@pytest.mark.parametrize("modality", ["av", "audio", "video"])
def test_batch_equals_one_by_one(model, modality):
    rng = np.random.default_rng(0)
    recordings = [
        Recording(
            name=str(frames),
            waveform=None
            if modality == "video"
            else rng.normal(0, 0.1, frames * 640).astype(np.float32),
            mouth=None if modality == "audio" else rng.integers(0, 255, (frames, 96, 96), np.uint8),
        )
        for frames in (40, 12, 25)
    ]
    options = TranscribeOptions(beam_size=3)
    together = recognize(model.network, recordings, options)
    for recording, result in zip(recordings, together, strict=True):
        alone = recognize(model.network, [recording], options)[0]
        assert (alone.text, alone.language) == (result.text, result.language)
        assert alone.language_probs == pytest.approx(result.language_probs, abs=1e-5)


def test_arrays_are_enough(model):
    result = model.transcribe_arrays(VOICE, None, beam_size=2)
    assert result.text
    assert (result.modality, result.file) == ("audio", "")


def test_a_covered_mouth_in_arrays_is_not_read_as_in_a_file(model):
    mouth = np.random.default_rng(0).integers(0, 255, (50, 96, 96), np.uint8)
    assert model.transcribe_arrays(VOICE, mouth).modality == "av"
    mouth[:, 10:86, 10:86] = 128
    result = model.transcribe_arrays(VOICE, mouth)
    assert result.modality == "audio"
    assert result.text == model.transcribe_arrays(VOICE, None).text
    assert "something covers the mouth" in result.warnings
    assert model.transcribe_arrays(None, mouth).modality == "video", "there is nothing else"


def test_read_recording_keeps_sound_and_lips_in_step(clips):
    recording = read_recording(clips / "plain.mp4")
    assert recording.num_frames == 50
    assert recording.modality == "av"
    assert abs(len(recording.waveform) / 640 - 50) <= 2
