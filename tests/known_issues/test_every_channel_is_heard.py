"""Opposite channels cancelled each other; channels without labels were dropped, or ended the run.

FFmpeg takes three and more channels without labels for loudspeakers: it drops the fourth of six,
and has no mix at all for nine, eleven or sixty.
"""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from avsr import media
from avsr.corpus.prepare import MediaReader
from avsr.media import Caption, burn_captions, probe, read_waveform, stream_waveform
from avsr.media import channels as mixing

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
RATE = 16_000
LOUDEST = "the loudest, {}, is read"


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_waveform(EXAMPLES / "de.mp4")[: 2 * RATE]


def write_wav(path: Path, planes: np.ndarray) -> Path:
    """A WAV of channels (C, S) without labels."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(planes))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(planes.T * 32767).astype("<i2").tobytes())
    return path


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two waveforms."""
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


def level(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform))))


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_opposite_channels_do_not_cancel(tmp_path, voice, share) -> None:
    path = write_wav(tmp_path / "opposite.wav", np.stack([voice, -share * voice]))
    warnings: list[str] = []
    waveform = read_waveform(path, warn=warnings.append)
    assert likeness(waveform, voice) > 0.999
    assert [LOUDEST.format(1) in warning for warning in warnings] == [True]
    assert isinstance(warnings[0], media.Note)


def test_a_corpus_is_prepared_from_the_loudest_channel(tmp_path, voice) -> None:
    """Only what is damaged is refused."""
    path = write_wav(tmp_path / "opposite.wav", np.stack([voice, -voice]))
    assert likeness(MediaReader(path).waveform(0, np.inf), voice) > 0.999


def test_channels_may_become_opposite(tmp_path, voice, monkeypatch) -> None:
    monkeypatch.setattr(mixing, "BLOCK_SECONDS", 0.5)
    right = np.concatenate([voice[:RATE], -voice[RATE:]])
    path = write_wav(tmp_path / "later.wav", np.stack([voice, right]))
    waveform = read_waveform(path, warn=lambda message: None)
    assert len(waveform) == len(voice)
    assert likeness(waveform, voice) > 0.95  # a piece at the change may be of the other kind
    streamed = np.concatenate([*stream_waveform(path, warn=lambda message: None)])
    assert (streamed == waveform).all()


@pytest.mark.parametrize("count", [3, 6, 8, 9, 11, 13, 16, 32, 60])
def test_a_voice_in_any_channel_is_heard(tmp_path, voice, count) -> None:
    for channel in {3, count - 1} & set(range(count)):
        planes = np.zeros((count, len(voice)), np.float32)
        planes[channel] = voice
        path = write_wav(tmp_path / "one.wav", planes)
        assert probe(path).has_audio
        warnings: list[str] = []
        waveform = read_waveform(path, warn=warnings.append)
        assert likeness(waveform, voice) > 0.999
        assert level(waveform) > 0.9 * level(voice)
        assert [LOUDEST.format(channel + 1) in warning for warning in warnings] == [True]


def test_microphones_are_mixed_alike(tmp_path, voice) -> None:
    planes = np.repeat(voice[None] * 0.5, 6, axis=0)
    warnings: list[str] = []
    path = write_wav(tmp_path / "six.wav", planes)
    waveform = read_waveform(path, warn=warnings.append)
    assert np.abs(waveform - voice * 0.5).max() < 2e-4
    assert not warnings


def test_noise_in_many_channels_does_not_drown_the_voice_in_one(tmp_path, voice) -> None:
    planes = 0.003 * np.random.default_rng(0).standard_normal((11, len(voice)))
    planes[7] = voice
    path = write_wav(tmp_path / "noisy.wav", planes)
    assert likeness(read_waveform(path, warn=lambda message: None), voice) > 0.999


def test_labelled_channels_are_mixed_as_before(tmp_path, voice) -> None:
    """One side of stereo and the centre of 5.1 alone are FFmpeg's mixes, to the sample."""
    for layout, channel in [("stereo", 0), ("5.1", 2)]:
        planes = np.zeros((2 if layout == "stereo" else 6, len(voice)), np.float32)
        planes[channel] = voice
        path = write_flac(tmp_path / f"{layout}.flac", planes, layout)
        warnings: list[str] = []
        waveform = read_waveform(path, warn=warnings.append)
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
            frames += resampler.resample(None)
        expected = np.concatenate([frame.to_ndarray()[0] for frame in frames]) / np.float32(32768)
        assert (waveform == expected).all()
        assert not warnings


def write_flac(path: Path, planes: np.ndarray, layout: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout=layout)
        packed = np.rint(planes.T * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def eleven(tmp_path: Path, voice: np.ndarray) -> Path:
    """A video of a second with eleven channels without labels, the voice in the last."""
    path = tmp_path / "eleven.mov"
    planes = np.zeros((11, RATE), np.int16)
    planes[10] = np.rint(voice[:RATE] * 32767)
    pictures = media.read_frames(EXAMPLES / "de.mp4")
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        first = next(pictures)
        video.height, video.width, video.pix_fmt = *first.shape[:2], "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="11 channels")
        for _, picture in zip(range(25), pictures, strict=False):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(video.encode(None))
        packed = np.ascontiguousarray(planes.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="11 channels")
        frame.sample_rate = RATE
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def test_the_lips_are_read_with_many_channels(model, eleven) -> None:
    result = model.transcribe(eleven, beam_size=1)
    assert result.modality == "av"


def test_burning_in_keeps_the_sound_of_many_channels(eleven, voice, tmp_path) -> None:
    out = tmp_path / "out.mp4"
    burn_captions(eleven, out, [Caption(0.1, 0.5, ("word",))])
    assert likeness(read_waveform(out), voice[:RATE]) > 0.95


def test_sound_that_cannot_be_converted_is_none(model, eleven, monkeypatch, tmp_path) -> None:
    """The lips are read, and the video is written without sound; the output is not blamed."""

    class Refusing:
        def __init__(self, **_: object) -> None: ...

        def resample(self, frame: object) -> list[object]:
            raise av.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr(av, "AudioResampler", Refusing)
    info = probe(eleven)
    assert (info.has_video, info.has_audio) == (True, False)
    assert info.sound_problem == "the sound cannot be converted (Invalid argument)"
    result = model.transcribe(eleven, beam_size=1)
    assert result.modality == "video"
    assert f"{info.sound_problem}, so the lips are read" in result.warnings
    warnings: list[str] = []
    burn_captions(eleven, tmp_path / "out.mp4", [], warn=warnings.append)
    assert info.sound_problem in warnings[-1]


@pytest.mark.parametrize("name", ["antiphase.wav", "c11_1.wav"])
def test_files_that_failed(model, faults_dir, name) -> None:
    result = model.transcribe(faults_dir / name)
    assert result.text == "bin blue at f four please"
    assert any("so the loudest" in warning for warning in result.warnings)


def test_eight_labelled_planes_are_read(voice: np.ndarray, tmp_path: Path) -> None:
    """PyAV crashed on them: a film with 7.1 sound ended the program."""
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="7.1")
        planes = np.zeros((8, len(voice)), np.float32)
        planes[2] = voice
        frame = av.AudioFrame.from_ndarray(planes.T.reshape(1, -1), format="flt", layout="7.1")
        frame.sample_rate = RATE
        for part in av.AudioResampler(format="fltp", layout="7.1").resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    assert read_waveform(tmp_path / "a.m4a").std() > 0.15 * voice.std()


def test_opposite_channels_that_are_a_sample_apart_do_not_cancel(
    voice: np.ndarray, tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "a.wav", np.stack([voice, -np.roll(voice, 1)]))
    heard = read_waveform(path, warn=lambda line: None)
    assert heard.std() > 0.9 * voice.std()
