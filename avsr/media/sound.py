"""Sound of a file as one 16 kHz mono waveform, its samples where the time stamps put them."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

from avsr.errors import MediaError
from avsr.media.container import Source, Warn, logger, open_source, timed_frames
from avsr.rates import FPS, SAMPLE_RATE

# Time stamps jitter by a few ms in many files; following each one would tear the sound, so it
# stays in one piece until it is off by a whole video frame.
DRIFT = 1 / FPS  # s
FULL_SCALE = 32768  # of 16-bit samples


def read_waveform(path: str | Path, *, warn: Warn = logger.warning) -> np.ndarray:
    """Read the sound as a waveform (S,) float32 in [-1, 1], 16 kHz mono, from time zero on.

    Sound that starts late, and gaps in its time stamps, are zeros. A file that is damaged or cut
    short gives what can be decoded, and `warn` is told. Raises MediaError when the file cannot be
    opened or no sound can be decoded.
    """
    chunks = list(_chunks(path, warn))
    samples = np.concatenate(chunks)
    del chunks
    waveform = samples.astype(np.float32)
    waveform /= FULL_SCALE
    return waveform


def stream_waveform(path: str | Path, *, warn: Warn = logger.warning) -> Iterator[np.ndarray]:
    """The samples of ``read_waveform`` as a stream of chunks (n,), for files of any length."""
    for chunk in _chunks(path, warn):
        yield chunk.astype(np.float32) / np.float32(FULL_SCALE)


def _chunks(path: str | Path, warn: Warn) -> Iterator[np.ndarray]:
    """(n,) int16 at 16 kHz mono from time zero on."""
    empty = True
    with open_source(path) as source:
        if source.audio is None:
            raise MediaError(f"{path}: has no sound")
        for chunk in placed_sound(source, warn):
            empty = False
            yield chunk[0]
    if empty:
        raise MediaError(f"{path}: none of its sound can be decoded")


def placed_sound(
    source: Source,
    warn: Warn,
    *,
    rate: int = SAMPLE_RATE,
    layout: str = "mono",
    sample_format: str = "s16",
) -> Iterator[np.ndarray]:
    """Chunks (channels, n) of the sound from time zero on, without gaps: what is not there is zero.

    ``rate`` in Hz; ``sample_format`` as FFmpeg names it, planar if there are several channels.
    """
    written = 0
    for start, frames in groupby(_runs(source, warn), key=itemgetter(0)):
        position = round(start * rate)
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate)
        for chunk in _resample((frame for _, frame in frames), resampler):
            while position > written:  # a second at a time: a gap may be long
                gap = min(rate, position - written)
                yield np.zeros((len(chunk), gap), chunk.dtype)
                written += gap
            fresh = chunk[:, max(0, written - position) :]
            position += chunk.shape[1]
            written += fresh.shape[1]
            yield fresh


def _runs(source: Source, warn: Warn) -> Iterator[tuple[float, AudioFrame]]:
    """(start of its run, frame): a run is gapless, in one format; start in s after time zero."""
    start, samples, shape = 0.0, 0, None
    timed: Iterator[tuple[float, float, Any]] = timed_frames(source, source.audio, warn)  # type: ignore[arg-type]
    for time, _, frame in timed:
        if frame.samples == 0:
            continue
        this_shape = (frame.sample_rate, frame.format.name, frame.layout.name)
        if this_shape != shape or abs(start + samples / frame.sample_rate - time) > DRIFT:
            start, samples, shape = time, 0, this_shape
        samples += frame.samples
        yield start, frame


def _resample(frames: Iterator[AudioFrame], resampler: av.AudioResampler) -> Iterator[np.ndarray]:
    """Chunks (channels, n). Mixing down to 16 bit scales so that nothing clips."""
    for frame in frames:
        frame.pts = None  # runs are gapless; the resampler shall count samples, nothing else
        for out in resampler.resample(frame):
            yield out.to_ndarray()
    for out in resampler.resample(None):
        yield out.to_ndarray()
