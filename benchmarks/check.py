"""What it costs to check which of sound and lips is to be read, as a ratio to ``check=False``.

The bundled model, and Large with random weights, with CTC head and without. A talk of a few seconds
is transcribed from its sound and its mouth crops; face detection, which both ways have in common,
is left out. Both ways put the lips in step with the sound, if there is a CTC head. The search finds
four tokens a second, about what people say. Ratios are medians of turns, one way after the other:

- ``ratio``: both senses are read in the end.
- ``ratio_alone``: the sound is read alone, which takes a second search where there is no CTC head.
- ``ratio_mean``: of one in ten segments the sound is read alone.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.recognition.options import TranscribeOptions
from avsr.search.options import SearchOptions

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel
    from avsr.recognition.segmentation import MediaSegment

SECONDS = 4
TOKENS = 4 * SECONDS
ALONE = 0.1  # share of the segments that are searched again
SIZES = ("tiny", "large")


class FixedLength(TranscribeOptions):
    """Options whose search finds ``TOKENS`` tokens, whatever the model."""

    def search(self, with_lm: bool = True, with_ctc: bool = True) -> SearchOptions:
        """Options of the search."""
        options = super().search(with_lm, with_ctc)
        return dataclasses.replace(options, min_len=TOKENS, max_len_a=0.0, max_len_b=TOKENS)


def measure(runs: int) -> dict[str, Any]:
    """Return the ratios by size, with and without CTC head."""
    from avsr.hub import load_network
    from benchmarks.network import write_models

    result: dict[str, Any] = {"case": f"sound and lips of {SECONDS} s, checked or not"}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            if size == "tiny":
                network = load_network(device="cpu")
            else:
                write_models(size, folder)
                network = load_network(f"{folder}/fp32", "cpu")
            result[f"{size}, with CTC"] = compare(network, runs)
            parts = tuple(part for part in network.config.parts if part != "ctc")
            network.config = dataclasses.replace(network.config, parts=parts)
            result[f"{size}, without CTC"] = compare(network, runs)
    return result


def compare(network: "AVSRModel", runs: int) -> dict[str, float]:
    """Return seconds without the check, and the ratios."""
    from avsr.model.sense_rule import SenseRule, SenseWeights
    from avsr.recognition import senses
    from avsr.recognition.batching import transcribe_whole

    segment = make_segment()
    options = FixedLength(language=network.config.languages[0])
    network.reliability = None

    def plan(bias: float) -> SenseRule:
        weights = SenseWeights(audio={"bias": bias}, video={"bias": -1.0})
        return SenseRule(letters=weights, scores=weights, report={})

    def timed(check: bool, bias: float = 0.0) -> float:
        rule = plan(bias)
        senses.bundled_rule = lambda: rule  # type: ignore[assignment]
        start = time.perf_counter()
        transcribe_whole(network, [segment], dataclasses.replace(options, check=check))
        return time.perf_counter() - start

    before = senses.bundled_rule
    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: timed(False),
        "ratio": lambda: timed(True, -1.0),
        "ratio_alone": lambda: timed(True, 1.0),
    }
    try:
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(runs + 1):
            for name, way in ways.items():
                taken = way()
                if turn:  # the first only fills caches
                    seconds[name].append(taken)
    finally:
        senses.bundled_rule = before
    figures = {"seconds": round(statistics.median(seconds["plain"]), 3)}
    for name in ("ratio", "ratio_alone"):
        pairs = zip(seconds[name], seconds["plain"], strict=True)
        figures[name] = round(statistics.median(a / b for a, b in pairs), 3)
    mean = (1 - ALONE) * figures["ratio"] + ALONE * figures["ratio_alone"]
    return figures | {"ratio_mean": round(mean, 3)}


def make_segment() -> "MediaSegment":
    """Noise and a moving picture: what it says does not matter."""
    from avsr.rates import FPS, MOUTH_SIZE, SAMPLE_RATE
    from avsr.recognition.recording import Recording
    from avsr.recognition.segmentation import MediaSegment

    rng = np.random.default_rng(0)
    waveform = 0.1 * rng.standard_normal(SECONDS * SAMPLE_RATE).astype(np.float32)
    mouth = rng.integers(0, 256, (SECONDS * FPS, MOUTH_SIZE, MOUTH_SIZE), np.uint8)
    recording = Recording(name="noise", waveform=waveform, mouth=mouth)
    return MediaSegment(0.0, float(SECONDS), recording, whole=True)
