"""Where a recording is cut: at pauses, or evenly where there is no speech to cut at.

All of it is covered: what sound and picture have beyond what was expected, and the picture that
goes on after the sound has ended.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import chain, count, pairwise
from pathlib import Path

import numpy as np

from avsr import media
from avsr.audio import Span, SpokenParts, is_short, is_silent
from avsr.rates import MAX_SEGMENT_SECONDS, SAMPLE_RATE

EVEN_SECONDS = 10.0  # length of the segments of a recording without speech in its sound
MIN_REST_SECONDS = 0.5  # s of picture after the end of the sound; less is the end of a frame


def spans_of_both(
    parts: SpokenParts, picture_end: float
) -> Iterator[tuple[Span, np.ndarray | None]]:
    """The spans of speech, and even parts of the picture that goes on after the sound has ended."""
    yield from parts
    for span in _rest_spans(parts.position, picture_end, parts.max_seconds):
        yield span, None


def _rest_spans(sound_end: int, picture_end: float, longest: float) -> list[Span]:
    """Even parts of what a picture that lasts ``picture_end`` (s) has after ``sound_end`` (samples)

    None if that is less than half a second.
    """
    seconds = picture_end - sound_end / SAMPLE_RATE
    if seconds < MIN_REST_SECONDS:
        return []
    return [
        Span(sound_end + span.start, sound_end + span.end) for span in even_spans(seconds, longest)
    ]


def cut_evenly(
    chunks: Iterable[np.ndarray], duration: float, longest: float
) -> Iterator[tuple[Span, np.ndarray | None]]:
    """Even parts of ``duration`` (s), and of what a stream of sound has beyond that.

    None for the samples of a part that is silent.
    """
    chunks = iter(chunks)
    buffer = np.zeros(0, np.float32)
    for span in chain(even_spans(duration, longest), _further_spans(duration, longest)):
        size = span.end - span.start
        while len(buffer) < size and (chunk := next(chunks, None)) is not None:
            buffer = np.concatenate([buffer, chunk])
        samples, buffer = buffer[:size], buffer[size:]
        if span.start >= round(duration * SAMPLE_RATE):
            if is_short(samples):
                return
            span = Span(span.start, span.start + len(samples))
        yield span, None if is_silent(samples) else samples


def _further_spans(duration: float, longest: float) -> Iterator[Span]:
    """Spans of equal length from ``duration`` (s) on, without end."""
    size = round(min(EVEN_SECONDS, longest) * SAMPLE_RATE)
    for start in count(round(duration * SAMPLE_RATE), size):
        yield Span(start, start + size)


def list_spans(path: Path, info: media.MediaInfo, longest: float) -> list[Span]:
    """List the spans into which ``read_segments`` cuts a long file, without reading its lips.

    It warns of nothing: what is read afterwards does.
    """
    if info.has_audio:
        sound = media.stream_waveform(path, tracks=info.tracks, warn=lambda message: None)
        parts = SpokenParts(sound, longest)
        spans = [span for span, _ in spans_of_both(parts, info.video_duration)]
        if spans:
            return spans
    return list(even_spans(info.duration, longest))


def even_spans(duration: float, longest: float = MAX_SEGMENT_SECONDS) -> Iterator[Span]:
    """Cut ``duration`` (s) into even parts of about 10 s, none of more than ``longest`` (s)."""
    count = max(1, round(duration / EVEN_SECONDS), math.ceil(duration / longest))
    edges = [round(duration * SAMPLE_RATE * i / count) for i in range(count + 1)]
    for start, end in pairwise(edges):
        yield Span(start, end)
