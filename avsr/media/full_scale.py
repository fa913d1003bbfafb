"""Bring floating-point samples that are far above full scale back to 1."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

import av
import numpy as np
from av.audio.frame import AudioFrame

from avsr.media.channels import from_planes, to_planes
from avsr.media.container import Source, open_source
from avsr.media.messages import Note, Warn

FLOAT_CODECS = ("pcm_f", "wavpack")  # beginnings of names; other codecs keep to full scale
LOUDEST = 4.0  # of samples that are only loud, as of a mix without a limiter; FFmpeg clips them
COMMON = 0.9  # share of the frames within LOUDEST of a sound with a few broken samples
LEAST_INTEGER = 128.0  # a peak above it is one of integers, not of loud floats
INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)
LARGE_OFFSET = 0.1
SEARCHED_SECONDS = 600.0  # from the start, in which the samples are looked at beforehand


@dataclass(frozen=True)
class _Levels:
    """Lowest, highest and mean sample of a sound, the peak of most frames, and whether all are
    finite numbers."""

    low: float
    high: float
    mean: float
    common_peak: float
    is_finite: bool


def scale_floats(
    source: Source, timed: Iterable[tuple[float, AudioFrame]], warn: Warn
) -> Iterator[tuple[float, AudioFrame]]:
    """Scale stored floating-point samples that are far above 1, and take off what would clip.

    Args:
        source: The open file.
        timed: Its frames, each with a time.
        warn: Called if samples are scaled, or are no numbers.

    Yields:
        The items of ``timed``; frames stay as they are where there is nothing to do.
    """
    assert source.audio is not None
    context = source.audio.codec_context
    if not context.name.startswith(FLOAT_CODECS) or context.format.name[:3] not in ("flt", "dbl"):
        yield from timed
        return
    levels = _measure(source)
    scale, offset = 1.0, 0.0
    peak = max(-levels.low, levels.high)
    if levels.common_peak > LOUDEST:
        scale = peak
        if peak > LEAST_INTEGER:
            scale = next((scale for scale in INTEGER_SCALES if peak <= scale), peak)
        warn(
            Note(
                f"{source.path}: the samples of the sound are up to {peak:.0f} times full scale; "
                f"they are divided by {scale:.0f}"
            )
        )
    elif peak > 1 and abs(levels.mean) > LARGE_OFFSET:
        offset = levels.mean
    if not levels.is_finite:
        warn(f"{source.path}: samples of the sound that are no numbers are read as silence")
    if scale == 1.0 and not offset and levels.is_finite:
        yield from timed
        return
    for time, frame in timed:
        planes = np.nan_to_num(to_planes(frame), nan=0.0, posinf=0.0, neginf=0.0)
        yield time, from_planes((planes - offset) / scale, frame.sample_rate, frame.layout.name)


def _measure(source: Source) -> _Levels:
    """Read the samples of the first minutes."""
    low = high = total = 0.0
    count, is_finite = 0, True
    peaks = [0.0]
    with open_source(source.path, source.tracks) as again:
        assert again.audio is not None
        try:
            for frame in takewhile(_is_early, again.container.decode(again.audio)):
                if frame.samples == 0:
                    continue
                planes = to_planes(frame)
                finite = np.isfinite(planes)
                if not finite.all():
                    is_finite = False
                    planes = np.where(finite, planes, 0.0)
                lowest, highest = float(planes.min()), float(planes.max())
                low, high = min(low, lowest), max(high, highest)
                peaks.append(max(-lowest, highest))
                total += float(planes.mean(dtype=np.float64)) * frame.samples
                count += frame.samples
        except av.FFmpegError:
            pass  # as far as it can be read
    common_peak = float(np.quantile(peaks, COMMON))
    return _Levels(low, high, total / max(1, count), common_peak, is_finite)


def _is_early(frame: AudioFrame) -> bool:
    return frame.time is None or frame.time < SEARCHED_SECONDS
