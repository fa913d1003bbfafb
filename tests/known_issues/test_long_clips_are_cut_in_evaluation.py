"""``avsr evaluate`` once decoded in one piece what ``avsr transcribe`` cuts at pauses.

Nine words of 168 were wrong in each nine that were said: the model had never seen so long a clip.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.corpus import Record, write_manifest
from avsr.errors import MediaError
from avsr.evaluation import EvaluationConfig, evaluate, read_run, word_errors
from avsr.evaluation.clips import Clip
from avsr.evaluation.predictor import ModelRecognizer
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.pipeline import transcribe_recording
from avsr.recognition.reading import read_recording
from avsr.recognition.recording import Recording
from avsr.recognition.segmentation import cut_segments

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
JOINED = ("de", "es", "ru")
PAUSE = FPS  # frames


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Three examples with pauses between them, longer than the model takes at a time."""
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    frames, sound = [], []
    for code in JOINED:
        pictures = list(media.read_frames(EXAMPLES / f"{code}.mp4"))
        waveform = media.read_waveform(EXAMPLES / f"{code}.mp4")
        frames += pictures + pictures[-1:] * PAUSE
        samples = (len(pictures) + PAUSE) * SAMPLES_PER_FRAME
        sound.append(np.pad(waveform, (0, samples))[:samples])
    media.write_video(path, frames, waveform=np.concatenate(sound), crf=18)
    return path


@pytest.fixture(scope="module")
def manifest(talk):
    """The talk, and a short clip before and after it."""

    def record(name, path):
        return Record(
            utterance_id=name, media=str(path), text="", language="de", split="test", speaker="s"
        )

    short = [record(code, EXAMPLES / f"{code}.mp4") for code in ("de", "es")]
    write_manifest(talk.parent / "m.jsonl", [short[0], record("talk", talk), short[1]])
    return talk.parent / "m.jsonl"


def run(manifest, out, **changes):
    options = {"modalities": ("av", "audio", "video"), "snr_db": ("clean",), "beam_size": 2}
    config = EvaluationConfig(manifest=str(manifest), out=str(out), **(options | changes))
    return evaluate(config, device="cpu")


def test_evaluate_gives_the_words_of_transcribe(model, talk, manifest, tmp_path):
    conditions = read_run(run(manifest, tmp_path)).conditions
    for modality in ("av", "audio", "video"):
        transcript = model.transcribe(talk, modality=modality, beam_size=2)
        assert len(transcript.segments) >= len(JOINED)
        assert transcript.duration > model.network.config.segment_seconds
        results = {u.utterance_id: u for u in conditions[f"{modality}-clean-auto"]}
        assert results["talk"].hypothesis == transcript.text, modality
        assert results["talk"].modality == modality
        if modality == "audio":
            probs = results["talk"].language_probs
            assert probs == pytest.approx(transcript.language_probs, abs=1e-3)


def test_neither_batches_nor_conditions_beside_it_change_a_byte(manifest, tmp_path):
    one = run(manifest, tmp_path / "one", modalities=("audio",), snr_db=("clean", 5))
    other = run(manifest, tmp_path / "other", modalities=("audio",), snr_db=(5,), batch_size=1)
    name = "conditions/audio-babble+5dB-auto.jsonl"
    assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_recording_in_memory_is_cut_like_its_file(model, talk):
    recording = read_recording(talk)
    longest = model.network.config.segment_seconds
    segments, warnings = cut_segments(recording, longest)
    assert warnings == []
    options = {"beam_size": 1, "language": "de"}  # of one language nothing is split
    expected = model.transcribe(talk, **options)
    times = [(segment.start, segment.end) for segment in segments]
    assert times == [(segment.start, segment.end) for segment in expected.segments]
    arrays = model.transcribe_arrays(recording.waveform, recording.mouth, **options)
    assert word_errors(expected.text, arrays.text).rate < 0.15
    assert [(s.start, s.end) for s in arrays.segments] == times
    lips = replace(recording, waveform=None)
    assert {s.recording.modality for s in cut_segments(lips, longest)[0]} == {"video"}
    by_sound, _ = cut_segments(lips, longest, heard=recording.waveform)
    assert [(s.start, s.end) for s in by_sound] == times
    assert {s.recording.modality for s in by_sound} == {"video"}


def test_lips_that_cannot_be_read_are_left_out_of_their_segment():
    sound = np.sin(np.arange(12 * SAMPLE_RATE) * 0.05).astype(np.float32)
    mouth = np.random.default_rng(0).integers(0, 255, (11 * FPS, 96, 96), np.uint8)
    mouth[8 * FPS :] = 100  # something covers it
    readable = np.ones(len(mouth), np.bool_)
    readable[: 3 * FPS] = False
    recording = Recording(name="x", waveform=sound, mouth=mouth)
    segments, warnings = cut_segments(recording, 4.0, readable=readable)
    assert "no speech was found" in warnings[0]
    assert [s.recording.modality for s in segments] == ["audio", "av", "audio"]
    assert len(segments[1].recording.mouth) == 4 * FPS
    silent = replace(recording, waveform=0 * sound)
    kept, _ = cut_segments(silent, 4.0, readable=readable)
    assert [(s.start, s.recording.modality) for s in kept] == [(4.0, "video"), (8.0, "video")]
    assert len(kept[1].recording.mouth) == 4 * FPS, "the last crop stands to the end"


def test_a_long_clip_without_anything_to_read_fails_alone(model):
    silence = np.zeros(12 * SAMPLE_RATE, np.float32)
    speech = read_recording(EXAMPLES / "de.mp4", "audio").waveform
    clips = [Clip(name=n, waveform=w, mouth=None) for n, w in (("x", silence), ("de", speech))]
    recognizer = ModelRecognizer(model.network, beam_size=1)
    ((nothing, german),) = recognizer.transcribe(clips, [["auto", "auto"]])
    assert nothing.failure.startswith("x: nothing to transcribe")
    assert german.text
    with pytest.raises(MediaError, match="nothing to transcribe"):
        transcribe_recording(
            model.network, Recording(name="x", waveform=silence, mouth=None), recognizer.options
        )
