"""Noise at the level that is asked for, and differences that are marked."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avsr import Transcript
from avsr.audio import rms
from demo import laboratory
from demo.laboratory import (
    NOISES,
    PICTURES,
    SNRS,
    Scene,
    marked_words,
    render_sweep,
    share_right,
    spoil,
)

SHOWN: Any = None  # read_scene knows
RNG = np.random.default_rng(0)
SCENE = Scene(
    (0.05 * RNG.standard_normal(32_000)).astype(np.float32),
    RNG.integers(0, 255, (50, 96, 96), np.uint8),
)


@pytest.mark.parametrize("kind", [kind for _, kind in NOISES])
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_has_its_level(kind: str, snr_db: float) -> None:
    mixed = spoil(SCENE, kind, snr_db).waveform
    gain = float(np.dot(mixed, SCENE.waveform) / np.dot(SCENE.waveform, SCENE.waveform))
    noise = mixed / gain - SCENE.waveform
    assert 20 * np.log10(rms(SCENE.waveform) / rms(noise)) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("picture", [picture for _, picture in PICTURES])
def test_a_picture_is_damaged_and_the_sound_is_not(picture: str) -> None:
    spoilt = spoil(SCENE, "babble", None, picture)
    assert np.array_equal(spoilt.mouth, SCENE.mouth) == (picture == "")
    assert np.array_equal(spoilt.waveform, SCENE.waveform)


def test_a_sweep_reads_the_lips_once_and_knows_a_covered_mouth(
    transcriber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laboratory, "read_scene", lambda shown: SCENE)
    shares, covered = laboratory.sweep(transcriber, SHOWN, "noise", "")
    assert shares == {key: [0.5] * 6 if key != "av" else [1.0] * 6 for key in shares}
    assert transcriber.read.count((False, True)) == 1
    assert not covered
    shares, covered = laboratory.sweep(transcriber, SHOWN, "noise", "occlusion:0.8")
    assert shares["av"] == shares["audio"]
    assert covered
    assert "Something covers the mouth" in render_sweep(shares, covered)


def test_differences_are_marked() -> None:
    assert marked_words("a b c d", "a x c") == [
        ("a", "right"),
        ("x", "wrong"),
        ("c", "right"),
        ("d", "missing"),
    ]
    assert marked_words("a", "a b") == [("a", "right"), ("b", "extra")]


def test_what_is_right_is_counted_in_words() -> None:
    def said(text: str) -> Transcript:
        return SimpleNamespace(text=text, language="en")  # type: ignore[return-value]

    assert share_right(said("a b c d"), said("A b, c x")) == pytest.approx(0.75)
    assert share_right(said("a"), said("b c d")) == 0.0


def test_a_plot_has_a_point_for_each_reading_and_level() -> None:
    shares = [i / len(SNRS) for i in range(len(SNRS) + 1)]
    plot = render_sweep({"audio": shares, "av": shares})
    assert plot.count("<circle") == 2 * len(shares)
    assert "<title>Sound only, -10: 0%</title>" in plot
    assert "<title>Sound and lips, quiet: 100%</title>" in plot
