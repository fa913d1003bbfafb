"""Recordings that are longer than what the model takes at a time."""

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.evaluation import word_errors
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.recognition import assembly, pipeline
from avsr.recognition.options import TranscribeOptions
from avsr.runtime.progress import READING, WRITING
from avsr.transcript import Segment
from avsr.transcript.result import Interrupted

EXAMPLES = sorted((Path(__file__).parents[2] / "demo/examples").glob("*.mp4"))
GAP = FPS  # frames of silence, the last picture standing


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
    errors = words = 0
    for segment, clip, start in zip(result.segments, clips, starts, strict=True):
        assert start - 0.25 <= segment.start < segment.end <= start + alone[clip].duration + 0.4
        words += len(alone[clip].text.split())
        errors += word_errors(alone[clip].text, segment.text).errors
        for word in segment.words:
            assert segment.start <= word.start <= word.end <= segment.end
    assert errors <= 0.4 * words
    first_spanish = next(s.start for s in result.segments if s.language == "es")
    true = next(start for start, clip in zip(starts, clips, strict=True) if clip.stem == "es")
    assert abs(first_spanish - true) <= 1.0
    assert result.text == " ".join(s.text for s in result.segments)
    assert [w.start for w in result.words] == sorted(w.start for w in result.words)
    assert sum(result.language_probs.values()) == pytest.approx(1)
    assert result.modality == "av"
    assert result.to_dict()["segments"][0]["language"] == "de"


def test_long_files_take_this_way_by_themselves_and_short_ones_do_not(model, talk):
    assert len(model.transcribe(talk[0], modality="audio").segments) > 1
    assert model.transcribe(talk[1][0]).segments == ()


def test_parts_are_no_longer_than_what_the_model_was_trained_on(model, talk, monkeypatch):
    alone = talk[1][0]
    short = dataclasses.replace(model.network.config, segment_seconds=1.0)
    monkeypatch.setattr(model.network, "config", short)
    segments = model.transcribe(alone).segments
    assert len(segments) > 1
    assert all(0 < s.end - s.start <= 1.0 for s in segments)


def test_the_mouth_of_a_recording_of_few_parts_is_kept(model, talk, monkeypatch):
    alone = talk[1][0]
    whole = model.transcribe(alone).mouth
    short = dataclasses.replace(model.network.config, segment_seconds=1.0)
    monkeypatch.setattr(model.network, "config", short)
    result = model.transcribe(alone)
    assert result.mouth is not None
    assert len(result.mouth.mouth) == len(whole.mouth)
    middle = slice(10, -10)  # what was no speech is in no part
    assert result.mouth.found[middle].all()
    np.testing.assert_allclose(result.mouth.boxes[middle], whole.boxes[middle], atol=3)
    assert len(result.mouth.spans()) == len(result.segments)
    assert model.transcribe(talk[0], beam_size=1).mouth is None


def test_one_language_may_be_told(model, talk):
    result = model.transcribe(talk[0], modality="audio", language="es")
    assert {s.language for s in result.segments} == {"es"}
    assert result.language == "es"


def test_a_few_languages_may_be_told(model, talk, monkeypatch):
    monkeypatch.setattr(model.network, "reliability", None)  # German as Spanish is not reliable
    result = model.transcribe(talk[0], modality="audio", language="es,fr", beam_size=1)
    assert {s.language for s in result.segments} <= {"es", "fr"}
    assert {s.language for s in result.segments[5:]} == {"es"}
    for segment in result.segments:
        assert segment.language_probs["de"] == 0.0
        assert sum(segment.language_probs.values()) == pytest.approx(1)


def test_parts_of_which_none_is_sure_are_of_an_unknown_language(model, talk, monkeypatch):
    unsure = dataclasses.replace(model.network.config, language_temperature=100.0)
    monkeypatch.setattr(model.network, "config", unsure)
    result = model.transcribe(talk[0], modality="audio", beam_size=1)
    assert {s.language for s in result.segments} == {"unknown"}
    assert result.language == "unknown"
    assert all(s.text for s in result.segments)
    assert any("the language is not sure" in warning for warning in result.warnings)


def test_an_unsure_part_follows_a_sure_neighbour():
    def segment(code, **probs):
        return Segment(
            start=0.0, end=1.0, language=code, language_probs=probs, text="", modality="av"
        )

    found = assembly.mark_uncertain_segments(
        [
            segment("de", de=0.4, en=0.3),
            segment("de", de=0.9, en=0.1),
            segment("en", de=0.2, en=0.4),
            segment("en", de=0.1, en=0.49),
        ]
    )
    assert [s.language for s in found] == ["de", "de", "unknown", "unknown"]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_hands_back_the_finished_parts(model, talk):
    positions = []

    def interrupt(done, total, doing):
        positions.append(done)
        if doing == WRITING and done > positions[0]:  # the second batch
            os.kill(os.getpid(), signal.SIGINT)

    options = {"modality": "audio", "language": "de", "beam_size": 1}
    with pytest.raises(KeyboardInterrupt) as stop:
        model.transcribe(talk[0], progress=interrupt, **options)
    assert isinstance(stop.value, Interrupted)
    result = stop.value.transcript
    assert len(result.segments) % pipeline.BATCH_SEGMENTS == 0
    end = result.segments[-1].end
    assert 5 < end < result.duration
    assert result.words[-1].end <= end
    assert result.text == " ".join(s.text for s in result.segments)
    assert any(f"stopped at {end:.1f} of" in warning for warning in result.warnings)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_before_anything_is_finished_is_an_ordinary_one(model, talk, monkeypatch):
    monkeypatch.setattr(
        pipeline, "transcribe_batch", lambda *arguments: os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt) as stop:
        model.transcribe(talk[0], modality="audio")
    assert not isinstance(stop.value, Interrupted)


def test_without_sound_the_lips_are_read_in_even_parts(model, talk, tmp_path):
    frames = list(media.read_frames(talk[0]))
    media.write_video(tmp_path / "mute.mp4", frames)
    result = model.transcribe(tmp_path / "mute.mp4")
    assert {s.modality for s in result.segments} == {"video"}
    edges = [edge for s in result.segments for edge in (s.start, s.end)]
    assert edges[0] == 0.0
    assert edges[-1] == pytest.approx(len(frames) / FPS, abs=0.05)
    assert all(a == b for a, b in zip(edges[1::2], edges[2::2], strict=False))


def test_where_nobody_speaks_there_are_no_words(model, tmp_path):
    grey = [np.full((96, 96, 3), 90, np.uint8)] * (25 * FPS)
    path = tmp_path / "grey.mp4"
    media.write_video(path, grey, waveform=np.zeros(25 * 16_000, np.float32))
    result = model.transcribe(path)
    assert (result.text, result.language, result.segments) == ("", "unknown", ())
    assert "no face was found in any frame" in result.warnings
    assert result.warnings[-1] == "no speech was found, so there are no words"


def test_a_model_that_names_no_language_says_so_of_its_segments():
    shared = {"language": "unknown", "language_probs": {}, "text": "a", "modality": "audio"}
    segments = [Segment(start=float(i), end=i + 1.0, **shared) for i in range(2)]
    transcript = assembly.assemble_transcript(
        "talk.wav",
        segments,
        is_whole=False,
        duration=2.0,
        warnings=[],
        sync_warnings=[],
        options=TranscribeOptions(),
        mouth=None,
    )
    assert transcript.warnings == (
        "this model does not tell languages apart, so the language is unknown",
    )
