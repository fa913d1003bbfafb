import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.audio import speech
from avsr.audio.speech import Span, SpokenParts, speech_probs, speech_spans
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.synthetic import make_utterance


def frames(*parts):
    """(seconds, probability) pairs as one list of probabilities."""
    return [prob for seconds, prob in parts for _ in range(round(seconds * FPS))]


def seconds(spans):
    return [(round(s.start / 16_000, 2), round(s.end / 16_000, 2)) for s in spans]


def test_speech_with_its_margins():
    probs = frames((2, 0.1), (3, 0.9), (2, 0.1), (1, 0.8), (1, 0.0))
    assert seconds(speech_spans(probs)) == [(1.76, 5.24), (6.76, 8.24)]


def test_a_short_pause_does_not_cut_and_a_click_is_nothing():
    probs = frames((1, 0.9), (0.4, 0.0), (1, 0.9), (2, 0.0), (0.04, 0.9), (2, 0.0))
    assert seconds(speech_spans(probs)) == [(0.0, 2.64)]


def test_speech_without_a_pause_is_cut_where_it_is_least_likely():
    probs = frames((30, 0.9))
    probs[round(14 * FPS)] = 0.6
    probs[round(3 * FPS)] = 0.55  # too early
    spans = list(speech_spans(probs, 20.0))
    assert seconds(spans) == [(0.0, 14.0), (14.0, 30.0)]


def test_speech_to_the_very_end_is_buffer_and_silence_gives_nothing():
    assert seconds(speech_spans(frames((1, 0.9)))) == [(0.0, 1.0)]
    assert list(speech_spans(frames((5, 0.2)))) == []
    assert list(speech_spans([])) == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 120), st.sampled_from([0.0, 0.3, 0.6, 1.0])), max_size=30),
    st.sampled_from([2.0, 5.0, 20.0]),
)
def test_spans_are_in_order_bounded_and_hold_all_speech(parts, longest):
    probs = [prob for count, prob in parts for _ in range(count)]
    spans = list(speech_spans(probs, longest))
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 < span.seconds <= longest for span in spans)
    assert not spans or edges[-1] <= len(probs) * SAMPLES_PER_FRAME
    inside = np.zeros(len(probs), bool)
    for span in spans:
        inside[span.start // SAMPLES_PER_FRAME : span.end // SAMPLES_PER_FRAME] = True
    runs, lost = np.array(probs) >= speech.SPEECH, 0
    lost = int((runs & ~inside).sum())
    clicks = sum(count for count, prob in parts if prob >= 0.5 and count < 2)
    assert lost <= clicks + 3 * len(spans), "only clicks are left out"


def test_samples_are_those_of_the_span_and_little_is_kept(monkeypatch):
    signal = np.random.default_rng(0).normal(size=100 * 16_000).astype(np.float32)
    loud = [(i // 100) % 3 == 1 for i in range(len(signal) // SAMPLES_PER_FRAME + 1)]

    def probs(stream):
        samples = np.concatenate(list(stream))
        for number, first in enumerate(
            range(0, len(samples) - SAMPLES_PER_FRAME + 1, SAMPLES_PER_FRAME)
        ):
            buffer_sizes.append(sum(map(len, parts._buffer)))
            yield float(loud[number]), samples[first : first + SAMPLES_PER_FRAME]

    buffer_sizes = []
    monkeypatch.setattr(speech, "speech_probs", probs)
    parts = SpokenParts(np.array_split(signal, 777))
    spans = list(parts)
    assert len(spans) == 8
    for span, samples in spans:
        np.testing.assert_array_equal(samples, signal[span.start : span.end])
    assert max(buffer_sizes) < 50 * 16_000


def test_chunks_of_any_length_are_judged_alike():
    rng = np.random.default_rng(1)
    signal = (0.1 * rng.normal(size=5000)).astype(np.float32)
    one = list(speech_probs([signal]))
    many = list(speech_probs(np.array_split(signal, 37)))
    assert [p for p, _ in one] == [p for p, _ in many]
    assert len(one) == 8
    np.testing.assert_array_equal(np.concatenate([s for _, s in many])[:5000], signal)
    assert all(p < 0.5 for p, _ in one), "noise is no speech"


def test_the_same_speech_some_frames_later_is_judged_alike():
    """Where Silero's 512 samples began changed a part by 32 ms, and with it every tenth word."""
    speech = make_utterance(1, "test", "de", 0).waveform
    pause = np.zeros(3 * 16_000, np.float32)
    first = len(pause) + len(speech)
    for shift in (1, 2, 3, 7):
        late = np.zeros(shift * SAMPLES_PER_FRAME, np.float32)
        stream = np.concatenate([pause, speech, pause, late, speech, pause])
        one, two = SpokenParts([stream])
        assert one[0].seconds > 1
        assert two[0].start - one[0].start == first + len(late)
        np.testing.assert_array_equal(one[1], two[1])


def test_a_span_knows_its_length():
    assert Span(0, 8000).seconds == pytest.approx(0.5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize("before", ["os", "torch"])
def test_the_detector_works_in_the_callers_thread(before):
    """Threads of its own, more than there are cores, made it ten times slower.

    Where PyTorch had been imported ``before``, its OpenMP started them.
    """
    script = (
        f"import {before}, os, numpy as np\n"
        "from avsr.audio.speech import speech_probs\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "probs = list(speech_probs([np.zeros(6400, np.float32)]))\n"
        "print(len(probs), len(os.listdir('/proc/self/task')) - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["10", "0"], done.stderr
