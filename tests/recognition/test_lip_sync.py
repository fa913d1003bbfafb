"""Lips that run before or behind the sound."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from avsr.encoder.frontend import shift_frames
from avsr.evaluation import word_errors
from avsr.hub import load_network
from avsr.recognition.inference import recognize
from avsr.recognition.lip_sync import (
    LAGS,
    MOST_FRAMES,
    Synchronizer,
    find_delay,
    sync_lips,
)
from avsr.recognition.options import TranscribeOptions


@pytest.fixture(scope="module")
def model():
    return load_network(device="cpu")


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
    assert sum(f == frames for f in found) >= 8, found


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


def planted(delay, top, frames=50):
    """Evidence of a segment with its peak at ``delay``."""
    mean = np.maximum(top - 0.5 * np.abs(LAGS - delay), -0.5)
    return np.stack([mean * frames, np.full(len(LAGS), frames)])


def test_an_offset_is_that_of_the_recording_not_of_a_part(model, recordings, monkeypatch):
    unclear = np.stack([np.full(len(LAGS), -0.1 * 50), np.full(len(LAGS), 50.0)])
    answers = iter([unclear, planted(3, 1.2), planted(-MOST_FRAMES, 0.6, 20)])
    monkeypatch.setattr("avsr.recognition.lip_sync.measure_delays", lambda *_: next(answers))
    synchronizer = Synchronizer(model)
    delays = []
    for _ in range(5):  # no more than three are asked for
        aligned = synchronizer.align(recordings[0])
        delays.append(synchronizer.delay)
    assert delays == [0, 3, 3, 3, 3]
    assert aligned.visual is not None


@pytest.mark.parametrize(
    ("delay", "top", "found"),
    [
        (3, 1.0, 3),
        (-5, 1.0, -5),
        (2, 1.0, 2),
        (1, 1.0, 0),  # one frame is within the accuracy
        (3, 0.2, 0),  # no letters agree at any delay
        (6, 1.0, 0),  # the peak is outside
    ],
)
def test_a_delay_is_taken_where_the_peak_is_high_sharp_and_inside(delay, top, found):
    assert find_delay(planted(delay, top)) == found
    assert find_delay(planted(delay, top, frames=14)) == 0, "too short to tell"


def test_a_peak_between_two_frames_counts_where_it_is():
    mean = np.full(len(LAGS), -1.0)
    mean[LAGS == -2], mean[LAGS == -1] = 1.22, 0.95  # of a GRID clip: it comes 1.6 frames early
    totals = np.stack([60 * mean, np.full(len(LAGS), 60.0)])
    assert find_delay(totals) == 0
    mean[LAGS == -3] = 0.95
    totals = np.stack([60 * mean, np.full(len(LAGS), 60.0)])
    assert find_delay(totals) == -2
