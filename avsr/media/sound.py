"""Read the audio of a file as a 16 kHz mono waveform, its samples aligned by their time stamps."""

from collections.abc import Iterator
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

from avsr.errors import MediaError
from avsr.media.channels import label_channels, mix_channels
from avsr.media.clock import timed_frames
from avsr.media.container import Source, open_source
from avsr.media.full_scale import scale_floats
from avsr.media.messages import Note, Warn, logger
from avsr.media.offset import remove_offset
from avsr.media.tracks import ANY_TRACKS, Tracks
from avsr.rates import FPS, SAMPLE_RATE

# Time stamps jitter by a few ms in many files. To follow each one would tear the audio, so it is
# moved only when it is off by a whole video frame.
DRIFT = 1 / FPS  # s
FULL_SCALE = 32768  # of 16-bit samples


def read_waveform(
    path: str | Path, *, tracks: Tracks = ANY_TRACKS, warn: Warn = logger.warning
) -> np.ndarray:
    """Read the audio of a file as a waveform.

    A constant offset is taken off. Channels are mixed; where the mix loses most of the sound, the
    loudest channel is taken.

    Args:
        path: A video or audio file.
        tracks: The sound track to read.
        warn: Called with a line if the file is damaged or cut short, of which what can be decoded
            is returned; and with a ``Note`` where a channel is taken for all.

    Returns:
        Waveform (S,) float32 in [-1, 1], 16 kHz mono, from time zero on. Before audio that starts
        late, and in gaps of its time stamps, it is zero.

    Raises:
        MediaError: The file cannot be opened, has no such track, or none of its audio can be
            decoded.
    """
    chunks = list(_chunks(path, tracks, warn))
    samples = np.concatenate(chunks)
    del chunks
    waveform = samples.astype(np.float32)
    waveform /= FULL_SCALE
    return waveform


def stream_waveform(
    path: str | Path, *, tracks: Tracks = ANY_TRACKS, warn: Warn = logger.warning
) -> Iterator[np.ndarray]:
    """Read the waveform of ``read_waveform`` in chunks, in bounded memory.

    Args:
        path: A video or audio file.
        tracks: As in ``read_waveform``.
        warn: As in ``read_waveform``.

    Yields:
        Chunks (n,) float32 of different lengths.

    Raises:
        MediaError: As in ``read_waveform``, with the first chunk.
    """
    for chunk in _chunks(path, tracks, warn):
        yield chunk.astype(np.float32) / np.float32(FULL_SCALE)


def _chunks(path: str | Path, tracks: Tracks, warn: Warn) -> Iterator[np.ndarray]:
    """Yield chunks (n,) int16 at 16 kHz mono from time zero on."""
    empty = True
    with open_source(path, tracks) as source:
        if source.audio is None:
            problem = source.audio_choice.problem
            raise MediaError(f"{path}: has no sound that can be read: {problem}")
        if silent := source.audio_choice.silent:
            number = source.audio_choice.number
            warn(Note(f"{path}: sound track {silent} is silent, so {number} is read"))
        for chunk in remove_offset(chunk[0] for chunk in aligned_audio(source, warn)):
            empty = False
            yield chunk
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

    Raises:
        MediaError: The sound is encrypted or cannot be converted.
    """
    written = 0
    timed = scale_floats(source, _runs(source, warn), warn)
    if layout == "mono":
        timed = mix_channels(timed, str(source.path), warn)
    else:
        timed = label_channels(timed, layout)
    for start, frames in groupby(timed, key=itemgetter(0)):
        position = round(start * rate)
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate)
        for chunk in _resample((frame for _, frame in frames), resampler, source.path):
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


def _resample(
    frames: Iterator[AudioFrame], resampler: av.AudioResampler, path: Path
) -> Iterator[np.ndarray]:
    """Yield resampled chunks (channels, n). Mixing down to 16 bit scales, so that nothing clips."""
    for frame in chain(frames, [None]):
        if frame is not None:
            frame.pts = None  # runs have no gaps: the resampler need only count samples
        try:
            converted = resampler.resample(frame)
        except (av.FFmpegError, MemoryError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"{path}: the sound cannot be converted ({reason})") from error
        for out in converted:
            yield out.to_ndarray()
