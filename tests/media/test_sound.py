"""Waveform: 16 kHz mono, each sample where its time stamp says, in step with the pictures."""

from fractions import Fraction

import numpy as np
import pytest

from avsr.media import read_frames, read_waveform

RATES = [Fraction(24_000, 1001), 25, Fraction(30_000, 1001), 30, 50, 60]
CONTAINERS = [
    ("clip.mp4", "libx264", "aac"),
    ("clip.mov", "libx264", "pcm_s16le"),
    ("clip.mkv", "libx264", "flac"),
    ("clip.mkv", "mpeg4", "libopus"),
    ("clip.webm", "libvpx", "libopus"),
    ("clip.ts", "mpeg2video", "mp2"),
    ("clip.ts", "libx264", "aac"),
    ("clip.mpg", "mpeg1video", "mp2"),
    ("clip.avi", "mpeg4", "libmp3lame"),
    ("clip.flv", "libx264", "aac"),
]


def beep_start(waveform: np.ndarray) -> float:
    """Seconds to the first loud sample."""
    return float(np.flatnonzero(np.abs(waveform) > 0.2)[0]) / 16_000


def flash_start(frames) -> float:
    """Seconds to the first white frame."""
    return next(k for k, frame in enumerate(frames) if frame.mean() > 128) / 25


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{float(rate):.3f}")
def test_flash_and_beep_coincide_at_every_rate(make_clip, rate):
    event = float(round(rate) / Fraction(rate))  # of a picture, about 1 s
    clip = make_clip("clip.mp4", rate=rate, event=event)
    assert beep_start(read_waveform(clip)) == pytest.approx(event, abs=0.003)
    assert flash_start(read_frames(clip)) == pytest.approx(event, abs=1 / 25)


@pytest.mark.parametrize(("name", "video", "audio"), CONTAINERS)
def test_flash_and_beep_coincide_in_every_container(make_clip, name, video, audio):
    clip = make_clip(name, video_codec=video, audio_codec=audio)
    warnings: list[str] = []
    beep = beep_start(read_waveform(clip, warn=warnings.append))
    flash = flash_start(list(read_frames(clip, warn=warnings.append)))
    assert beep == pytest.approx(1.0, abs=0.05)
    assert flash == pytest.approx(beep, abs=1 / 25)
    assert not warnings


@pytest.mark.parametrize("offset", [0, 40_000])
def test_clock_that_leaps_goes_on(make_clip, offset):
    """Two transport streams, one after the other: the second starts anew, or 11 hours later."""
    first = make_clip("first.ts", event=0.4, duration=4.0)
    second = make_clip(
        "second.ts", event=0.4, duration=4.0, options={"output_ts_offset": str(offset)}
    )
    first.write_bytes(first.read_bytes() + second.read_bytes())
    warnings: list[str] = []
    frames = [frame.mean() > 128 for frame in read_frames(first, warn=warnings.append)]
    waveform = read_waveform(first, warn=warnings.append)
    assert any("leap" in warning for warning in warnings)
    assert len(frames) == pytest.approx(200, abs=4)
    assert len(waveform) == pytest.approx(8 * 16_000, abs=0.2 * 16_000)
    assert frames.index(True, 50) / 25 == pytest.approx(
        4 + beep_start(waveform[4 * 16_000 :]), abs=0.08
    )


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_pitch_loudness_and_length(make_clip, rate, layout):
    """A 1 kHz tone of amplitude 0.5 stays one, whatever the file's rate and channels."""
    clip = make_clip(
        "tone.wav",
        video_codec=None,
        audio_codec="pcm_s16le",
        audio_rate=rate,
        layout=layout,
        event=0.0,
    )
    waveform = read_waveform(clip)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(2 * 16_000, abs=0.13 * 16_000)  # whole codec frames
    middle = waveform[800:2400]
    assert int(np.abs(np.fft.rfft(middle)).argmax()) == 100  # 10 Hz a bin
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.03)


def test_the_resampler_is_flushed(tmp_path, make_clip):
    clip = make_clip("all.wav", video_codec=None, audio_codec="pcm_s16le", audio_rate=32_000)
    frames_of_1024 = -(-2 * 32_000 // 1024)
    assert len(read_waveform(clip)) == frames_of_1024 * 512


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_late_sound_is_padded(make_clip, name):
    clip = make_clip(name, sound_parts=[(0.5, 2.0)], event=0.5)
    waveform = read_waveform(clip)
    assert np.abs(waveform[: round(0.45 * 16_000)]).max() == 0
    assert beep_start(waveform) == pytest.approx(0.5, abs=0.03)
    assert beep_start(waveform) == pytest.approx(flash_start(read_frames(clip)), abs=1 / 25)


@pytest.mark.parametrize("name", ["gap.mp4", "gap.mkv"])
def test_gaps_are_silence(make_clip, name):
    clip = make_clip(name, sound_parts=[(0.0, 0.3), (0.7, 2.0)], event=1.0)
    waveform = read_waveform(clip)
    assert np.abs(waveform[round(0.4 * 16_000) : round(0.65 * 16_000)]).max() == 0
    assert beep_start(waveform) == pytest.approx(1.0, abs=0.005)
    assert len(waveform) == pytest.approx(2 * 16_000, abs=0.05 * 16_000)


def test_jittering_time_stamps_do_not_tear_the_sound(make_clip):
    """Pieces that start up to 15 ms off are joined without a hole: the tone has no zero run."""
    pieces = [(k / 5 + 0.015 * (k % 2), (k + 1) / 5) for k in range(10)]
    clip = make_clip(
        "jitter.mkv", sound_parts=pieces, video_codec=None, audio_codec="flac", event=0.5
    )
    tone = read_waveform(clip)[round(0.52 * 16_000) : round(0.65 * 16_000)]
    loudness = np.abs(tone[: len(tone) // 32 * 32]).reshape(-1, 32).max(axis=1)
    assert loudness.min() > 0.2


def test_sound_only_file_starts_at_its_sound(make_clip):
    clip = make_clip("tone.ogg", video_codec=None, audio_codec="libopus", event=0.5)
    assert beep_start(read_waveform(clip)) == pytest.approx(0.5, abs=0.005)


def test_the_decoders_rest_is_read_beside_a_picture(make_clip):
    """FLAC is decoded by several threads, which hold frames back until the end."""
    clip = make_clip("all.mkv", audio_codec="flac", audio_rate=16_000, event=0.0)
    whole = -(-2 * 16_000 // 4608) * 4608  # what was written: whole frames of the codec
    assert len(read_waveform(clip)) == whole
