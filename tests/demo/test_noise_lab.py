"""Noise has its level, differences are marked, scores and plots are right."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avsr import Transcript
from avsr.audio import rms
from demo import noise_lab
from demo.noise_lab import SNRS, Scene, corrupt, mark_words, share_correct
from demo.noise_lab_view import NOISES, VIDEO_CORRUPTIONS, render_sweep

VIEW: Any = None  # read_scene is replaced
RNG = np.random.default_rng(0)
SCENE = Scene(
    (0.05 * RNG.standard_normal(32_000)).astype(np.float32),
    RNG.integers(0, 255, (50, 96, 96), np.uint8),
)


@pytest.mark.parametrize("kind", [kind for _, kind in NOISES])
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_has_its_level(kind: str, snr_db: float) -> None:
    mixed = corrupt(SCENE, kind, snr_db).waveform
    gain = float(np.dot(mixed, SCENE.waveform) / np.dot(SCENE.waveform, SCENE.waveform))
    noise = mixed / gain - SCENE.waveform
    assert 20 * np.log10(rms(SCENE.waveform) / rms(noise)) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("corruption", [value for _, value in VIDEO_CORRUPTIONS])
def test_a_video_corruption_leaves_the_sound_alone(corruption: str) -> None:
    corrupted = corrupt(SCENE, "babble", None, corruption)
    assert np.array_equal(corrupted.mouth, SCENE.mouth) == (corruption == "")
    assert np.array_equal(corrupted.waveform, SCENE.waveform)


def test_a_sweep_reads_the_lips_once_and_detects_a_covered_mouth(
    recognizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_lab, "read_scene", lambda view: SCENE)
    shares, covered = noise_lab.sweep(recognizer, VIEW, "noise", "")
    assert shares == {key: [0.5] * 6 if key != "av" else [1.0] * 6 for key in shares}
    assert recognizer.inputs.count((False, True)) == 1
    assert not covered
    shares, covered = noise_lab.sweep(recognizer, VIEW, "noise", "occlusion:0.8")
    assert shares["av"] == shares["audio"]
    assert covered
    assert "Something covers the mouth" in render_sweep(shares, covered)


def test_differences_are_marked() -> None:
    assert mark_words("a b c d", "a x c") == [
        ("a", "right"),
        ("x", "wrong"),
        ("c", "right"),
        ("d", "missing"),
    ]
    assert mark_words("a", "a b") == [("a", "right"), ("b", "extra")]


def test_the_score_counts_words() -> None:
    def transcript(text: str) -> Transcript:
        return SimpleNamespace(text=text, language="en")  # type: ignore[return-value]

    assert share_correct(transcript("a b c d"), transcript("A b, c x")) == pytest.approx(0.75)
    assert share_correct(transcript("a"), transcript("b c d")) == 0.0


def test_a_plot_has_a_point_for_each_modality_and_level() -> None:
    shares = [i / len(SNRS) for i in range(len(SNRS) + 1)]
    plot = render_sweep({"audio": shares, "av": shares})
    assert plot.count("<circle") == 2 * len(shares)
    assert "<title>Sound only, -10: 0%</title>" in plot
    assert "<title>Sound and lips, quiet: 100%</title>" in plot
