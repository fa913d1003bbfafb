"""Recordings that are longer than what the model takes at a time."""

from pathlib import Path

import numpy as np
import pytest

from avsr import load_model, media
from avsr.errors import MediaError
from avsr.progress import READING, WRITING
from avsr.rates import FPS, SAMPLES_PER_FRAME

EXAMPLES = sorted((Path(__file__).parents[1] / "demo/examples").glob("*.mp4"))
GAP = FPS  # frames of silence, the last picture standing


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A German and a Spanish example, five times each, with pauses; and where each begins."""
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    clips = [p for code in ("de", "es") for p in EXAMPLES if p.stem.startswith(code)] * 5
    clips = sorted(clips, key=lambda p: p.stem)
    frames, sound, starts = [], [], []
    for clip in clips:
        pictures = list(media.read_frames(clip))
        waveform = media.read_waveform(clip)[: len(pictures) * SAMPLES_PER_FRAME]
        starts.append(len(frames) / FPS)
        frames += pictures + pictures[-1:] * GAP
        room = (len(pictures) + GAP) * SAMPLES_PER_FRAME
        sound.append(np.pad(waveform, (0, room - len(waveform))))
    media.write_video(path, frames, waveform=np.concatenate(sound), crf=18)
    return path, clips, starts


def test_a_stream_has_the_samples_of_the_whole(talk):
    whole = media.read_waveform(talk[0])
    np.testing.assert_array_equal(np.concatenate(list(media.stream_waveform(talk[0]))), whole)


def test_parts_are_transcribed_like_clips_with_times_and_languages(model, talk):
    path, clips, starts = talk
    seen = []
    result = model.transcribe(path, progress=lambda *told: seen.append(told))
    assert [s.language for s in result.segments] == [p.stem[:2] for p in clips]
    for stage in (READING, WRITING):
        positions = [done for done, _, doing in seen if doing == stage]
        assert positions == sorted(positions)
        assert len(set(positions)) > 1
    assert seen[-1][0] <= seen[-1][1] == pytest.approx(result.duration)
    alone = {clip: model.transcribe(clip) for clip in dict.fromkeys(clips)}
    same = words = 0
    for segment, clip, start in zip(result.segments, clips, starts, strict=True):
        assert start - 0.25 <= segment.start < segment.end <= start + alone[clip].duration + 0.4
        own = alone[clip].text.split()
        words += len(own)
        same += sum(a == b for a, b in zip(segment.text.split(), own, strict=False))
        for word in segment.words:
            assert segment.start <= word.start <= word.end <= segment.end + 0.1
    assert same >= 0.6 * words
    assert result.text == " ".join(s.text for s in result.segments)
    assert [w.start for w in result.words] == sorted(w.start for w in result.words)
    assert sum(result.language_probs.values()) == pytest.approx(1)
    assert result.modality == "av"
    assert result.to_dict()["segments"][0]["language"] == "de"


def test_long_files_take_this_way_by_themselves_and_short_ones_do_not(model, talk):
    assert len(model.transcribe(talk[0], modality="audio").segments) > 1
    assert model.transcribe(talk[1][0]).segments == ()


def test_one_language_may_be_told(model, talk):
    result = model.transcribe(talk[0], modality="audio", language="es")
    assert {s.language for s in result.segments} == {"es"}
    assert result.language == "es"


def test_without_sound_the_lips_are_read_in_even_parts(model, talk, tmp_path):
    frames = list(media.read_frames(talk[0]))
    media.write_video(tmp_path / "mute.mp4", frames)
    result = model.transcribe(tmp_path / "mute.mp4")
    assert {s.modality for s in result.segments} == {"video"}
    edges = [edge for s in result.segments for edge in (s.start, s.end)]
    assert edges[0] == 0.0
    assert edges[-1] == pytest.approx(len(frames) / FPS, abs=0.05)
    assert all(a == b for a, b in zip(edges[1::2], edges[2::2], strict=False))


def test_nothing_spoken_is_one_clear_line(model, tmp_path):
    grey = [np.full((96, 96, 3), 90, np.uint8)] * (25 * FPS)
    path = tmp_path / "grey.mp4"
    media.write_video(path, grey, waveform=np.zeros(25 * 16_000, np.float32))
    with pytest.raises(MediaError, match="no speech and no face"):
        model.transcribe(path)
