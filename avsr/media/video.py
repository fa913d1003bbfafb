"""Read the video of a file at exactly 25 fps, upright, deinterlaced and in SDR, as a generator."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.media.clock import timed_frames
from avsr.media.container import Source, open_source
from avsr.media.frame_size import Size, fit_size, largest_size
from avsr.media.messages import Warn, logger
from avsr.media.orientation import Orientation, orientation_of
from avsr.media.picture import PLANES, Picture, StoredPicture
from avsr.media.tracks import ANY_TRACKS, Tracks
from avsr.rates import FPS

FROZEN = 3 * FPS  # frames; a picture that stays longer shows nobody who speaks: it is a gap
STAMP_ERROR = 0.002  # s; containers round time stamps to 1 ms, some writers twice
HDR_CURVES = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}
_SDR = {
    "dst_color_trc": ColorTrc.BT709,
    "dst_color_primaries": ColorPrimaries.BT709,
    "dst_colorspace": Colorspace.ITU709,
}

_Counted = Iterator[tuple[VideoFrame, int]]
"""Decoded frames, each with the number of 25 fps frames that show it."""
Image = TypeVar("Image", np.ndarray, Picture)


def read_frames(
    path: str | Path,
    *,
    start: float = 0.0,
    max_side: int | None = None,
    tracks: Tracks = ANY_TRACKS,
    warn: Warn = logger.warning,
) -> Iterator[np.ndarray]:
    """Read the video of a file as RGB frames at 25 fps.

    Frame k is what is on screen at k/25 s. All frames have one size, upright and in square pixels:
    the largest one of the file. Smaller frames are enlarged, with black edges if their shape is
    another one. Interlaced video is deinterlaced (FFmpeg's bwdif), HDR (PQ, HLG) is mapped
    to SDR.

    Args:
        path: A video file.
        start: Seconds to skip. In formats with an index they are not decoded, except from the last
            key frame on.
        max_side: Scale frames down so that the longer side is at most so many px. Default: full
            size.
        tracks: The video track to read.
        warn: Called with a line if the file is damaged or cut short; what can be decoded is
            returned.

    Yields:
        Frames (H, W, 3) uint8 RGB. A frame that stays on screen is the same array again: do not
        write to it.

    Raises:
        MediaError: The file cannot be opened or has no video (at the call), or no frame can be
            decoded (at the first frame).
        ValueError: ``max_side`` is less than 1.
    """
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side must be at least 1 px, got {max_side}")
    source, stream = _open(path, tracks)
    largest = largest_size(source.path, stream)

    def convert(counted: _Counted) -> Iterator[tuple[np.ndarray, int]]:
        return _upright(counted, stream, largest, max_side)

    return _read(source, stream, convert, warn, start)


def read_pictures(
    path: str | Path,
    *,
    start: float = 0.0,
    tracks: Tracks = ANY_TRACKS,
    warn: Warn = logger.warning,
) -> Iterator[Picture]:
    """Read the frames of ``read_frames`` in full size, converted to RGB only where it is needed.

    Args:
        path: A video file.
        start: As in ``read_frames``.
        tracks: As in ``read_frames``.
        warn: As in ``read_frames``.

    Yields:
        The frames at 25 fps as pictures. One that stays on screen is the same object again, and
        after ``FROZEN`` frames another one that says so.

    Raises:
        MediaError: As in ``read_frames``.
    """
    source, stream = _open(path, tracks)
    largest = largest_size(source.path, stream)

    def convert(counted: _Counted) -> Iterator[tuple[Picture, int]]:
        return _frozen(_pictures(counted, stream, largest))

    return _read(source, stream, convert, warn, start)


def _open(path: str | Path, tracks: Tracks) -> tuple[Source, VideoStream]:
    source = open_source(path, tracks)
    if source.video is None:
        source.container.close()
        raise MediaError(f"{path}: has no video that can be read: {source.video_choice.problem}")
    return source, source.video


def _read(
    source: Source,
    stream: VideoStream,
    convert: Callable[[_Counted], Iterator[tuple[Image, int]]],
    warn: Warn,
    start: float,
) -> Iterator[Image]:
    with source:
        after_seek = start > 0 and source.seek(stream, start)
        skip = round(start * FPS)
        empty = True
        timed = _deinterlaced(timed_frames(source, stream, warn, after_seek))
        for image, count in convert(_at_25_fps(timed)):
            empty = False
            for _ in range(max(0, count - skip)):
                yield image
            skip = max(0, skip - count)
    if empty:
        raise MediaError(f"{source.path}: none of its pictures can be decoded")


def _deinterlaced(timed: Iterator[tuple[float, float, Any]]) -> Iterator[tuple[float, float, Any]]:
    """Replace frames that interlace two moments by whole frames of the first moment."""
    graph, shape = None, None
    times: deque[tuple[float, float]] = deque()  # of frames inside the filter: one out for one in
    for start, duration, frame in timed:
        this_shape = (frame.width, frame.height, frame.format.name)
        if graph is not None and this_shape != shape:
            yield from _drained(graph, times)
            graph = None
        if graph is None and not frame.interlaced_frame:
            yield start, duration, frame
            continue
        if graph is None:
            graph, shape = _deinterlacer(frame), this_shape
        times.append((start, duration))
        graph.vpush(frame)
        yield from _pulled(graph, times)
    if graph is not None:
        yield from _drained(graph, times)


def _deinterlacer(frame: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, FPS),
    )
    # In a mixed stream only frames that are marked as interlaced are changed.
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _drained(
    graph: av.filter.Graph, times: deque[tuple[float, float]]
) -> Iterator[tuple[float, float, Any]]:
    graph.vpush(None)
    yield from _pulled(graph, times)
    times.clear()


def _pulled(
    graph: av.filter.Graph, times: deque[tuple[float, float]]
) -> Iterator[tuple[float, float, Any]]:
    while times:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield *times.popleft(), frame


def _at_25_fps(timed: Iterator[tuple[float, float, Any]]) -> _Counted:
    """Turn (start, duration, frame) into (frame, number of 25 fps frames that show it) > 0.

    The first frame is also shown before its start.
    """
    current: VideoFrame | None = None
    emitted, end = 0, 0.0
    for start, duration, frame in timed:
        due = math.ceil((start - STAMP_ERROR) * FPS)  # output frames that come before `start`
        if current is not None and due > emitted:
            yield current, due - emitted
            emitted = due
        current, end = frame, start + duration
    due = math.ceil((end - STAMP_ERROR) * FPS)
    if current is not None and (due > emitted or not emitted):
        yield current, max(1, due - emitted)


def _pictures(
    counted: _Counted, stream: VideoStream, largest: Size | None
) -> Iterator[tuple[Picture, int]]:
    """Use the stored planes of frames whose size and format allow it; convert others to RGB."""
    orientation, size = None, (0, 0)
    for frame, count in counted:
        if orientation is None:
            orientation = orientation_of(frame, stream)
            size = orientation.square_size(largest or (frame.width, frame.height))
            converter = _Converter(orientation, size)
        unchanged = (frame.width, frame.height) == size and frame.color_trc not in HDR_CURVES
        if unchanged and frame.format.name in PLANES:
            yield StoredPicture(frame, orientation), count
        else:
            yield Picture(converter.convert(frame)), count


def _frozen(counted: Iterator[tuple[Picture, int]]) -> Iterator[tuple[Picture, int]]:
    """Mark pictures as frozen from the frame on in which they have been shown for long."""
    for picture, count in counted:
        yield picture, min(count, FROZEN)
        if count > FROZEN:
            yield picture.freeze(), count - FROZEN


def _upright(
    counted: _Counted, stream: VideoStream, largest: Size | None, max_side: int | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Convert frames to RGB of one size; the orientation is that of the first one."""
    converter = None
    for frame, count in counted:
        if converter is None:
            orientation = orientation_of(frame, stream)
            size = largest or (frame.width, frame.height)
            converter = _Converter(orientation, orientation.square_size(size, max_side))
        yield converter.convert(frame), count


class _Converter:
    """Converts frames to upright RGB of one size, (width, height) before they are turned."""

    def __init__(self, orientation: Orientation, size: tuple[int, int]) -> None:
        self._orientation = orientation
        self._width, self._height = size
        self._reformatter = VideoReformatter()

    def convert(self, frame: VideoFrame) -> np.ndarray:
        colors = _SDR if frame.color_trc in HDR_CURVES else {}
        width, height = fit_size(
            self._orientation.square_size((frame.width, frame.height)), (self._width, self._height)
        )
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", **colors
        ).to_ndarray()
        if (width, height) != (self._width, self._height):
            left, top = (self._width - width) // 2, (self._height - height) // 2
            whole = np.zeros((self._height, self._width, 3), np.uint8)
            whole[top : top + height, left : left + width] = rgb
            rgb = whole
        return self._orientation.apply(rgb)
