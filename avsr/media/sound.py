"""Read the audio of a file as a 16 kHz mono waveform, its samples aligned by their time stamps."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

from avsr.errors import MediaError
from avsr.media.clock import timed_frames
from avsr.media.container import Source, Warn, logger, open_source
from avsr.rates import FPS, SAMPLE_RATE

# Time stamps jitter by a few ms in many files. To follow each one would tear the audio, so it is
# moved only when it is off by a whole video frame.
DRIFT = 1 / FPS  # s
FULL_SCALE = 32768  # of 16-bit samples


def read_waveform(path: str | Path, *, warn: Warn = logger.warning) -> np.ndarray:
    """Read the audio of a file as a waveform.

    Args:
        path: A video or audio file.
        warn: Called with a line if the file is damaged or cut short; what can be decoded is
            returned.

    Returns:
        Waveform (S,) float32 in [-1, 1], 16 kHz mono, from time zero on. Before audio that starts
        late, and in gaps of its time stamps, it is zero.

    Raises:
        MediaError: The file cannot be opened, or none of its audio can be decoded.
    """
    chunks = list(_chunks(path, warn))
    samples = np.concatenate(chunks)
    del chunks
    waveform = samples.astype(np.float32)
    waveform /= FULL_SCALE
    return waveform


def stream_waveform(path: str | Path, *, warn: Warn = logger.warning) -> Iterator[np.ndarray]:
    """Read the waveform of ``read_waveform`` in chunks, in bounded memory.

    Args:
        path: A video or audio file.
        warn: As in ``read_waveform``.

    Yields:
        Chunks (n,) float32 of different lengths.

    Raises:
        MediaError: As in ``read_waveform``, with the first chunk.
    """
    for chunk in _chunks(path, warn):
        yield chunk.astype(np.float32) / np.float32(FULL_SCALE)


def _chunks(path: str | Path, warn: Warn) -> Iterator[np.ndarray]:
    """Yield chunks (n,) int16 at 16 kHz mono from time zero on."""
    empty = True
    with open_source(path) as source:
        if source.audio is None:
            raise MediaError(f"{path}: has no sound")
        for chunk in aligned_audio(source, warn):
            empty = False
            yield chunk[0]
    if empty:
        raise MediaError(f"{path}: none of its sound can be decoded")


def aligned_audio(
    source: Source,
    warn: Warn,
    *,
    rate: int = SAMPLE_RATE,
    layout: str = "mono",
    sample_format: str = "s16",
) -> Iterator[np.ndarray]:
    """Decode the audio from time zero on; gaps are filled with zeros.

    Args:
        source: An open file with an audio stream.
        warn: As in ``timed_frames``.
        rate: Sample rate of the chunks, Hz.
        layout: Channel layout of the chunks, as FFmpeg names it.
        sample_format: Sample format, as FFmpeg names it; planar if there are several channels.

    Yields:
        Chunks (channels, n).
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
            new = chunk[:, max(0, written - position) :]
            position += chunk.shape[1]
            written += new.shape[1]
            yield new


def _runs(source: Source, warn: Warn) -> Iterator[tuple[float, AudioFrame]]:
    """Yield (start of its run in s after time zero, frame); a run has no gap and one format."""
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
    """Yield resampled chunks (channels, n). Mixing down to 16 bit scales, so that nothing clips."""
    for frame in frames:
        frame.pts = None  # runs have no gaps: the resampler need only count samples
        for out in resampler.resample(frame):
            yield out.to_ndarray()
    for out in resampler.resample(None):
        yield out.to_ndarray()
