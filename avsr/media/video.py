"""Pictures of a file at exactly 25 a second, upright, as a generator."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.media.container import Source, Warn, logger, open_source, timed_frames
from avsr.media.orientation import orientation_of
from avsr.rates import FPS

STAMP_ERROR = 0.002  # s; containers round time stamps to 1 ms, some writers twice


def read_frames(
    path: str | Path, *, max_side: int | None = None, warn: Warn = logger.warning
) -> Iterator[np.ndarray]:
    """Yield frames (H, W, 3) uint8 RGB at 25 fps; frame k is the picture on screen at k/25 s.

    All frames have one size: that of the first, upright, in square pixels, scaled down so that
    the longer side is at most `max_side` px. A picture that stays on screen is the same array
    again: do not write into it. A file that is damaged or cut short gives what can be decoded,
    and `warn` is told. Raises MediaError when the file cannot be opened (at the call) or when no
    picture can be decoded (at the first frame).
    """
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side must be at least 1 px, got {max_side}")
    source = open_source(path)
    if source.video is None:
        source.container.close()
        raise MediaError(f"{path}: has no video")
    return _read(source, source.video, max_side, warn)


def _read(
    source: Source, stream: VideoStream, max_side: int | None, warn: Warn
) -> Iterator[np.ndarray]:
    with source:
        shown = _on_screen(timed_frames(source, stream, warn))
        empty = True
        for image, count in _upright(shown, stream, max_side):
            empty = False
            for _ in range(count):
                yield image
    if empty:
        raise MediaError(f"{source.path}: none of its pictures can be decoded")


def _on_screen(timed: Iterator[tuple[float, float, Any]]) -> Iterator[tuple[VideoFrame, int]]:
    """Turn (start, duration, frame) into (frame, number of 25 fps frames that show it) > 0.

    Before it starts, the first picture is held.
    """
    shown: VideoFrame | None = None
    emitted, end = 0, 0.0
    for start, duration, frame in timed:
        due = math.ceil((start - STAMP_ERROR) * FPS)  # output frames that come before `start`
        if shown is not None and due > emitted:
            yield shown, due - emitted
            emitted = due
        shown, end = frame, start + duration
    due = math.ceil((end - STAMP_ERROR) * FPS)
    if shown is not None and (due > emitted or not emitted):
        yield shown, max(1, due - emitted)


def _upright(
    shown: Iterator[tuple[VideoFrame, int]], stream: VideoStream, max_side: int | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Convert only the pictures that are shown; size and orientation are those of the first."""
    reformatter = VideoReformatter()
    orientation = None
    for frame, count in shown:
        if orientation is None:
            orientation = orientation_of(frame, stream)
            width, height = orientation.stored_size(frame, max_side)
        rgb = reformatter.reformat(frame, width=width, height=height, format="rgb24")
        yield orientation.apply(rgb.to_ndarray()), count
