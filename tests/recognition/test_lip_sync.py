"""Lips that run before or behind the sound."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.encoder.frontend import shift_frames
from avsr.evaluation import word_errors
from avsr.hub import load_network
from avsr.recognition.inference import recognize
from avsr.recognition.lip_sync import MOST_FRAMES, Synchronizer, sync_lips
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording

EXAMPLES = sorted((Path(__file__).parents[2] / "demo/examples").glob("*.mp4"))


@pytest.fixture(scope="module")
def model():
    return load_network(device="cpu")


@pytest.fixture(scope="module")
def recordings():
    return [read_recording(path) for path in EXAMPLES]


def late(recording, frames):
    """The recording with lips that come ``frames`` later."""
    places = np.clip(np.arange(len(recording.mouth)) - frames, 0, len(recording.mouth) - 1)
    return replace(recording, mouth=recording.mouth[places])


def test_frames_move_and_the_edge_stands():
    assert shift_frames(torch.arange(5), 2).tolist() == [2, 3, 4, 4, 4]
    assert shift_frames(torch.arange(5), -2).tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("frames", [0, 3, -4])
def test_the_bundled_model_finds_the_offset(model, recordings, frames):
    found = []
    for recording in recordings:
        synchronizer = Synchronizer(model)
        synchronizer.align(late(recording, frames))
        found.append(synchronizer.delay)
    assert sum(abs(f - frames) <= 1 for f in found) >= 7, found


def test_transcripts_of_late_lips_are_mended_and_the_warning_says_so(model, recordings):
    options = TranscribeOptions()
    errors = {"late": 0, "mended": 0}
    for recording in recordings:
        behind = late(recording, 4)
        mended = sync_lips(model, behind)
        for note in mended.warnings:
            assert re.fullmatch(r"the lips come \d+ ms after the sound; they were put right", note)
        (plain,), (wrong,), (told,) = (
            recognize(model, [r], options) for r in (recording, behind, mended)
        )
        errors["late"] += word_errors(plain.text, wrong.text).errors
        errors["mended"] += word_errors(plain.text, told.text).errors
    assert errors["mended"] < 0.5 * errors["late"]


def test_without_lips_or_sound_nothing_is_moved(model, recordings):
    for part in ({"mouth": None}, {"waveform": None}):
        recording = replace(recordings[0], **part)
        synchronizer = Synchronizer(model)
        assert synchronizer.align(recording) is recording
        assert synchronizer.delay == 0


def test_an_offset_is_that_of_the_recording_not_of_a_part(model, recordings, monkeypatch):
    answers = iter([3, -MOST_FRAMES, 3])
    monkeypatch.setattr("avsr.recognition.lip_sync.estimate_lip_delay", lambda *_: next(answers))
    synchronizer = Synchronizer(model)
    for _ in range(5):  # no more than three are asked for
        aligned = synchronizer.align(recordings[0])
    assert synchronizer.delays == [3, -5, 3]
    assert synchronizer.delay == 3
    assert aligned.visual is not None
