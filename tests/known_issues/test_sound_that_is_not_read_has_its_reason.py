"""Sound in an unknown codec or encrypted was "no sound track"; joined files were read in part
without a word; floats in the scale of integers were clipped to noise."""

from pathlib import Path

import av
import numpy as np
import pytest

from avsr import media
from avsr.errors import MediaError
from avsr.media import Caption, Note, burn_captions, probe, read_waveform

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
RATE = 16_000
KEY = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}
UNKNOWN = "the sound is in a codec that is not known here or protected against copying"


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_waveform(EXAMPLES / "de.mp4")[: 2 * RATE]


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """An example whose sound has a codec that nobody knows."""
    path = tmp_path / "strange.mkv"
    with av.open(str(EXAMPLES / "de.mp4")) as example, av.open(str(path), "w") as container:
        copies = {s.index: container.add_stream_from_template(s) for s in example.streams}
        for packet in example.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    return path


def test_an_unknown_codec_is_named(model, strange) -> None:
    info = probe(strange)
    assert (info.has_audio, info.sound_tracks, info.sound_problem) == (False, 1, UNKNOWN)
    result = model.transcribe(strange, beam_size=1)
    assert result.modality == "video"
    assert f"{UNKNOWN}, so the lips are read" in result.warnings
    with pytest.raises(MediaError, match="not known here"):
        read_waveform(strange)


def test_a_copy_with_subtitles_lacks_the_unknown_sound_and_says_so(strange, tmp_path) -> None:
    warnings: list[str] = []
    burn_captions(strange, tmp_path / "out.mp4", [Caption(0, 1, ("a",))], warn=warnings.append)
    assert warnings == [f"{strange}: the subtitled video is without sound: {UNKNOWN}"]
    assert not probe(tmp_path / "out.mp4").has_audio


def test_encrypted_sound_and_pictures_are_named(make_clip, tmp_path) -> None:
    clip = make_clip("both.mp4", options=KEY)
    with pytest.raises(MediaError, match="the picture is encrypted; the sound is encrypted"):
        probe(clip)
    with pytest.raises(MediaError, match="the sound is encrypted"):
        read_waveform(clip)
    with pytest.raises(MediaError, match="the picture is encrypted"):
        next(media.read_frames(clip))


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("a.wav", (None, "pcm_s16le")),
        ("a.mp4", ("libx264", "aac")),
        ("a.m4a", (None, "aac")),
        ("a.webm", ("libvpx", "libopus")),
        ("a.mka", (None, "flac")),
        ("a.flv", ("flv1", "mp3")),
        ("a.aiff", (None, "pcm_s16be")),
    ],
)
def test_bytes_behind_the_end_are_warned_of(make_clip, name, codecs) -> None:
    layout = "mono" if name == "a.wav" else "stereo"
    video, audio = codecs
    rate = 44_100 if name == "a.flv" else 48_000
    clip = make_clip(name, video_codec=video, audio_codec=audio, layout=layout, audio_rate=rate)
    warnings: list[str] = []
    read_waveform(clip, warn=warnings.append)
    assert not warnings
    clip.write_bytes(clip.read_bytes() * 3)
    read_waveform(clip, warn=warnings.append)
    assert any("of the file lies behind the end" in warning for warning in warnings)
    assert not any(isinstance(warning, Note) for warning in warnings)


def test_a_large_cover_is_no_unread_sound(make_clip) -> None:
    """The index of an MP4, with a cover in it, lies behind the sound and may be larger."""
    clip = make_clip("a.m4a", video_codec=None)
    with clip.open("ab") as file:
        file.write((200_000).to_bytes(4, "big") + b"free" + bytes(199_992))
    warnings: list[str] = []
    read_waveform(clip, warn=warnings.append)
    assert not warnings


def write_floats(path: Path, samples: np.ndarray, codec: str = "pcm_f32le") -> Path:
    """A WAV of floats (C, S)."""
    layout = "mono" if len(samples) == 1 else "stereo"
    kind = "flt" if codec == "pcm_f32le" else "dbl"
    packed = samples.T.reshape(1, -1).astype(np.float32 if kind == "flt" else np.float64)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(packed, format=kind, layout=layout)
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("scale", [20.0, 2.0**15, 2.0**23, 2.0**31])
def test_floats_above_full_scale_are_scaled(tmp_path, voice, scale, codec) -> None:
    path = write_floats(tmp_path / "loud.wav", voice[None] * scale, codec)
    warnings: list[str] = []
    waveform = read_waveform(path, warn=warnings.append)
    ratio = 1.0 if scale > 20 else 1 / np.abs(voice).max()
    assert np.abs(waveform - ratio * voice).max() < 1e-3
    assert ["times full scale" in warning for warning in warnings] == [True]


def test_loud_floats_are_clipped_as_before(tmp_path, voice) -> None:
    loud = 2 * voice / np.abs(voice).max()
    warnings: list[str] = []
    waveform = read_waveform(write_floats(tmp_path / "a.wav", loud[None]), warn=warnings.append)
    assert not warnings
    assert np.abs(waveform - loud.clip(-1, 1)).max() < 1e-3


def test_broken_samples_do_not_silence_a_voice(tmp_path, voice) -> None:
    broken = voice.copy()
    broken[[100, 200, 300]] = 1e30, np.nan, np.inf
    warnings: list[str] = []
    waveform = read_waveform(write_floats(tmp_path / "a.wav", broken[None]), warn=warnings.append)
    assert np.abs(np.delete(waveform - voice, [100, 200, 300])).max() < 1e-3
    assert any("no numbers" in warning for warning in warnings)


def test_files_that_failed(model, faults_dir) -> None:
    lips = model.transcribe(faults_dir / "unk.mov")
    assert lips.modality == "video"
    assert f"{UNKNOWN}, so the lips are read" in lips.warnings
    joined = model.transcribe(faults_dir / "cat.wav")
    assert any("86% of the file lies behind the end" in warning for warning in joined.warnings)
    floats = model.transcribe(faults_dir / "float_int_scale.wav")
    assert floats.text == "bin blue at f four please"
    assert any("32767 times full scale" in warning for warning in floats.warnings)
