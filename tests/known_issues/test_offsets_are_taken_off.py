"""A constant offset (DC) was taken for sound: silence was no silence, and a voice was not read."""

import wave
from pathlib import Path

import numpy as np
import pytest

from avsr.augmentation.noise_files import read_piece
from avsr.media import read_waveform, stream_waveform
from avsr.media.offset import BLOCK, remove_offset

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
RATE = 16_000


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    voice = read_waveform(EXAMPLES / "de.mp4")
    return 0.3 * voice / np.abs(voice).max()


def write_wav(path: Path, waveform: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(waveform * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return path


def level(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform))))


@pytest.mark.parametrize("offset", [0.002, 0.02, 0.3, -0.9])
@pytest.mark.parametrize("seconds", [0.5, 3, 9])
def test_an_offset_alone_is_silence(tmp_path, offset, seconds) -> None:
    path = write_wav(tmp_path / "offset.wav", np.full(round(seconds * RATE), offset))
    assert not read_waveform(path).any()


@pytest.mark.parametrize("offset", [0.1, 0.5, -0.6])
def test_a_voice_on_an_offset_is_the_voice(tmp_path, voice, offset) -> None:
    waveform = read_waveform(write_wav(tmp_path / "voice.wav", voice + offset))
    assert len(waveform) == len(voice)
    assert level(waveform - voice) < 0.05 * level(voice)


def test_a_voice_on_an_offset_gives_the_same_text(model, tmp_path, voice) -> None:
    alone = model.transcribe(write_wav(tmp_path / "alone.wav", voice))
    result = model.transcribe(write_wav(tmp_path / "voice.wav", voice + 0.5))
    assert alone.text
    assert (result.text, result.language) == (alone.text, alone.language)


def test_an_offset_may_begin_and_end(tmp_path, voice) -> None:
    silence = np.zeros(5 * RATE)
    sound = np.concatenate([silence, voice + 0.4, silence])
    path = write_wav(tmp_path / "later.wav", sound)
    waveform = read_waveform(path)
    assert len(waveform) == len(sound)
    heard = waveform[len(silence) : -len(silence)]
    inside = slice(RATE // 5, -RATE // 5)  # behind the steps
    assert level(heard[inside] - voice[inside]) < 0.05 * level(voice)
    assert not waveform[: len(silence) - RATE // 5].any()
    assert not waveform[RATE // 5 - len(silence) :].any()
    assert (np.concatenate([*stream_waveform(path)]) == waveform).all()


def test_other_sound_stays_as_it_is(voice) -> None:
    """Also with the small offsets of ordinary recordings, and however it is cut into chunks."""
    for offset in (0, 40, -100):
        samples = np.rint(np.tile(voice, 4) * 32767 + offset).astype(np.int16)
        for size in (7_001, 3 * BLOCK):
            chunks = [samples[i : i + size] for i in range(0, len(samples), size)]
            assert (np.concatenate([*remove_offset(chunks)]) == samples).all()


@pytest.mark.parametrize("count", [0, 1, 100, BLOCK, 2 * BLOCK + 1])
def test_no_sample_is_lost(count) -> None:
    samples = np.full(count, 9_000, np.int16)
    chunks = [*remove_offset([samples[:50], samples[50:]])]
    assert sum(map(len, chunks)) == count
    assert not any(chunk.any() for chunk in chunks)


def test_noise_is_read_without_its_offset(tmp_path) -> None:
    pytest.importorskip("soundfile")
    noise = 0.05 * np.random.default_rng(0).standard_normal(6 * RATE)
    path = write_wav(tmp_path / "noise.wav", noise + 0.5)
    piece, start = read_piece(path, 0.5, 2 * RATE)
    first = round(start * RATE)
    assert level(piece - noise[first : first + 2 * RATE]) < 0.1 * level(noise)


def test_files_that_failed(model, faults_dir) -> None:
    assert model.transcribe(faults_dir / "dc.wav").text == "bin blue at f four please"
    silent = model.transcribe(faults_dir / "dc_silent.wav")
    assert (silent.text, silent.language) == ("", "unknown")
    assert "the sound track is silent" in silent.warnings
