"""Pictures of a file at exactly 25 a second, upright, whole and in SDR, as a generator."""

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
from avsr.media.container import Source, Warn, logger, open_source, timed_frames
from avsr.media.orientation import Orientation, orientation_of
from avsr.media.picture import PLANES, Picture, StoredPicture
from avsr.rates import FPS

STAMP_ERROR = 0.002  # s; containers round time stamps to 1 ms, some writers twice
HDR_CURVES = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}
_SDR = {
    "dst_color_trc": ColorTrc.BT709,
    "dst_color_primaries": ColorPrimaries.BT709,
    "dst_colorspace": Colorspace.ITU709,
}

_Shown = Iterator[tuple[VideoFrame, int]]
Image = TypeVar("Image", np.ndarray, Picture)


def read_frames(
    path: str | Path,
    *,
    start: float = 0.0,
    max_side: int | None = None,
    warn: Warn = logger.warning,
) -> Iterator[np.ndarray]:
    """Yield frames (H, W, 3) uint8 RGB at 25 fps; frame k is the picture on screen at k/25 s.

    All frames have one size: that of the first, upright, in square pixels, scaled down so that
    the longer side is at most `max_side` px. Interlaced pictures are made whole (FFmpeg's bwdif),
    HDR (PQ, HLG) is brought to the range of SDR. A picture that stays on screen is the same array
    again: do not write into it. `start` (s) leaves out what comes before; in formats with an index
    that is not decoded, but for the pictures from the last key frame on. A file that is damaged or
    cut short gives what can be decoded, and `warn` is told. Raises MediaError when the file cannot
    be opened (at the call) or when no picture can be decoded (at the first frame).
    """
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side must be at least 1 px, got {max_side}")
    source, stream = _open(path)

    def convert(shown: _Shown) -> Iterator[tuple[np.ndarray, int]]:
        return _upright(shown, stream, max_side)

    return _read(source, stream, convert, warn, start)


def read_pictures(
    path: str | Path, *, start: float = 0.0, warn: Warn = logger.warning
) -> Iterator[Picture]:
    """Yield what ``read_frames`` yields, in full size, not made RGB before it is asked for."""
    source, stream = _open(path)

    def convert(shown: _Shown) -> Iterator[tuple[Picture, int]]:
        return _pictures(shown, stream)

    return _read(source, stream, convert, warn, start)


def _open(path: str | Path) -> tuple[Source, VideoStream]:
    source = open_source(path)
    if source.video is None:
        source.container.close()
        raise MediaError(f"{path}: has no video")
    return source, source.video


def _read(
    source: Source,
    stream: VideoStream,
    convert: Callable[["_Shown"], Iterator[tuple[Image, int]]],
    warn: Warn,
    start: float,
) -> Iterator[Image]:
    with source:
        sought = start > 0 and source.seek(stream, start)
        before = round(start * FPS)
        empty = True
        for image, count in convert(_on_screen(_whole(timed_frames(source, stream, warn, sought)))):
            empty = False
            for _ in range(max(0, count - before)):
                yield image
            before = max(0, before - count)
    if empty:
        raise MediaError(f"{source.path}: none of its pictures can be decoded")


def _whole(timed: Iterator[tuple[float, float, Any]]) -> Iterator[tuple[float, float, Any]]:
    """Pictures woven of two fields that show two moments become whole pictures of the first."""
    graph, shape = None, None
    times: deque[tuple[float, float]] = deque()  # of what the filter holds: one out for one in
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
    # Of a mixed stream only the pictures that say that they are interlaced are changed.
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


def _pictures(shown: _Shown, stream: VideoStream) -> Iterator[tuple[Picture, int]]:
    """Take the planes of the pictures that can stay as they are, make the others RGB."""
    orientation, size = None, (0, 0)
    for frame, count in shown:
        if orientation is None:
            orientation = orientation_of(frame, stream)
            size = orientation.stored_size(frame, None)
            others = _Converter(orientation, size)
        stays = (frame.width, frame.height) == size and frame.color_trc not in HDR_CURVES
        if stays and frame.format.name in PLANES:
            yield StoredPicture(frame, orientation), count
        else:
            yield Picture(others.convert(frame)), count


def _upright(
    shown: _Shown, stream: VideoStream, max_side: int | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Convert only the pictures that are shown; size and orientation are those of the first."""
    converter = None
    for frame, count in shown:
        if converter is None:
            orientation = orientation_of(frame, stream)
            converter = _Converter(orientation, orientation.stored_size(frame, max_side))
        yield converter.convert(frame), count


class _Converter:
    """Makes pictures upright RGB of one size, (width, height) before they are turned."""

    def __init__(self, orientation: Orientation, size: tuple[int, int]) -> None:
        self._orientation = orientation
        self._width, self._height = size
        self._reformatter = VideoReformatter()

    def convert(self, frame: VideoFrame) -> np.ndarray:
        colors = _SDR if frame.color_trc in HDR_CURVES else {}
        rgb = self._reformatter.reformat(
            frame, width=self._width, height=self._height, format="rgb24", **colors
        )
        return self._orientation.apply(rgb.to_ndarray())
