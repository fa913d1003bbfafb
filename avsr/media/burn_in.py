"""Write a copy of a video with captions drawn into its frames."""

import heapq
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from avsr.errors import MediaError
from avsr.media.captions import Caption, check_captions, draw_caption
from avsr.media.channels import ffmpeg_weights
from avsr.media.clock import each_once, timed_frames
from avsr.media.container import Source, open_source
from avsr.media.frame_size import Size, fit_size, largest_size
from avsr.media.messages import Warn, logger
from avsr.media.orientation import Orientation, orientation_of, read_pixel_aspect
from avsr.media.sound import aligned_audio
from avsr.media.tracks import ANY_TRACKS, NO_TRACK, Tracks
from avsr.rates import FPS
from avsr.runtime.atomic_files import atomic_write

# Options of x264: hardly distinguishable from the original; without mbtree it is deterministic.
QUALITY = {"crf": "20", "preset": "fast", "x264-params": "mbtree=0"}
BIT_RATE = 96_000  # bit/s of AAC per channel
BITS_PER_SAMPLE = 4  # at low rates less: AAC has no more than 6 bits for a sample
AAC_RATES = {8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200}
AAC_RATES |= {96_000}  # Hz
OTHER_RATE = 48_000  # Hz
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
MAX_DURATION = 0.1  # s; longer frames are repeated where a caption begins or ends
STAMP_ERROR = 0.001  # s
BLACK, WHITE, GREY = 16, 235, 128  # of 8-bit video


def burn_captions(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    captions: Sequence[Caption],
    *,
    tracks: Tracks = ANY_TRACKS,
    warn: Warn = logger.warning,
) -> None:
    """Write a copy of a video, H.264 and AAC in MP4, with captions drawn into its frames.

    Size, frame times, rotation, pixel shape and duration stay the same. An odd width or height
    grows by a pixel, as H.264 requires, and interlaced video is written as progressive. If frames
    change size, all get the largest one; those of another shape get black edges. Both files
    are streamed: memory does not grow with their length. ``target`` appears under its name only
    when it is complete.

    Args:
        source: The video.
        target: The file to write, in a folder that exists.
        captions: Captions that do not overlap; their times count from time zero, like those of
            words.
        tracks: The tracks to copy.
        warn: Called with a line if ``source`` is damaged or cut short.

    Raises:
        MediaError: ``source`` cannot be read or has no video, a caption cannot be drawn, or
            ``target`` cannot be written.
    """
    source, target = Path(source), Path(target)
    ordered = sorted(captions, key=lambda caption: caption.start)
    check_captions(ordered)
    if not target.parent.is_dir():
        raise MediaError(f"{target}: cannot be written, there is no folder {target.parent}")
    if target.exists() and source.exists() and target.samefile(source):
        raise MediaError(f"{target}: is the video itself; give another name")
    try:
        # Opened twice: video and audio may lie far apart in a file, and neither may pile up.
        with (
            open_source(source, tracks) as video,
            open_source(source, tracks) as audio,
            atomic_write(target) as part,
        ):
            if video.video is None:
                raise MediaError(f"{source}: has no picture to write subtitles into")
            with av.open(str(part), "w", "mp4", options={"movflags": "+faststart"}) as container:
                _write(container, video, audio, ordered, each_once(warn))
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{target}: cannot be written ({error.strerror or error})") from error


def _write(
    container: OutputContainer,
    video: Source,
    audio: Source,
    captions: Sequence[Caption],
    warn: Warn,
) -> None:
    """Write video and audio in order of time, so that the muxer holds back neither."""
    assert video.video is not None
    timed: Iterator[tuple[float, float, VideoFrame]] = timed_frames(video, video.video, warn)
    first = next(timed, None)
    if first is None:
        raise MediaError(f"{video.path}: none of its pictures can be decoded")
    size = largest_size(video.path, video.video) or (first[2].width, first[2].height)
    painter = _Painter(container, video.video, first[2], size, captions)
    chunks: Iterator[tuple[float, np.ndarray]] = iter(())
    stream, problem = None, audio.audio_choice.problem
    if audio.audio is not None:
        rate, layout = _aac_format(audio.audio)
        chunks = _timed_audio(audio, rate, layout, warn)
        try:
            first_chunk = next(chunks, None)
        except MediaError as error:
            problem = str(error).removeprefix(f"{audio.path}: ")
            first_chunk = None
        if first_chunk is not None:
            chunks = chain([first_chunk], chunks)
            stream = container.add_stream("aac", rate=rate, layout=layout)
            channels = stream.codec_context.layout.nb_channels
            stream.bit_rate = min(BIT_RATE, BITS_PER_SAMPLE * rate) * channels
    if problem and problem != NO_TRACK["audio"]:
        warn(f"{video.path}: the subtitled video is without sound: {problem}")
    both: list[Iterator[Any]] = [_split_at_edges(chain([first], timed), captions), chunks]
    for item in heapq.merge(*both, key=lambda item: item[0]):
        if len(item) == 3:
            container.mux(painter.paint(*item))
        else:
            assert stream is not None
            container.mux(stream.encode(_as_frame(item[1], item[0], stream)))
    container.mux(painter.stream.encode(None))
    if stream is not None:
        container.mux(stream.encode(None))


class _Painter:
    """Draws the caption of its time into each frame and encodes it."""

    def __init__(
        self,
        container: OutputContainer,
        source: VideoStream,
        first: VideoFrame,
        size: Size,
        captions: Sequence[Caption],
    ) -> None:
        self.captions = captions
        self.starts = [caption.start for caption in captions]
        self.orientation: Orientation = orientation_of(first, source)
        self.upright = self.orientation.displayed_size(size)
        self.time_base = source.time_base or Fraction(1, 90_000)
        self.reformatter = VideoReformatter()
        self.current: tuple[Caption, _Overlay] | None = None
        self.last = -1
        # The last frame lasts for one by this rate, which a broken time stamp makes endless.
        rate = max(source.average_rate or source.guessed_rate or Fraction(FPS), Fraction(1, 10))
        self.stream = container.add_stream("libx264", rate=rate, options=QUALITY)
        self.size = size[0] + size[0] % 2, size[1] + size[1] % 2
        self.stream.width, self.stream.height = self.size
        self.stream.pix_fmt = "yuv420p"
        context = self.stream.codec_context
        context.time_base = self.time_base
        context.color_range = ColorRange.MPEG
        self.colorspace = int(first.colorspace)
        if first.format.is_rgb:
            self.colorspace = int(Colorspace.ITU709)
        context.colorspace = self.colorspace
        context.color_primaries = first.color_primaries
        context.color_trc = first.color_trc
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = read_pixel_aspect(source)
        matrix: Any = first.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            self.stream.set_display_matrix(struct.unpack("=9i", bytes(matrix)[:36]))

    def paint(self, start: float, duration: float, frame: VideoFrame) -> list[av.Packet]:
        """Encode the next frame; it is dropped if it starts no later than the one before."""
        pts = round(Fraction(start) / self.time_base)
        if pts <= self.last:
            return []
        self.last = pts
        width, height = fit_size((frame.width, frame.height), self.size)
        picture = self.reformatter.reformat(
            frame,
            width=width + width % 2,
            height=height + height % 2,
            format="yuv420p",
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=self.colorspace if frame.format.is_rgb else None,
        )
        if (picture.width, picture.height) != self.size:
            picture = _with_edges(picture, self.size)
        overlay = self._overlay(start)
        if overlay is not None:
            # A copy: the decoder may still need its own frame.
            picture = VideoFrame.from_ndarray(overlay.over(picture.to_ndarray()), format="yuv420p")
        picture.pict_type = PictureType.NONE  # let the encoder choose its own key frames
        picture.pts, picture.time_base = pts, self.time_base
        picture.duration = round(Fraction(duration) / self.time_base)
        return self.stream.encode(picture)

    def _overlay(self, time: float) -> "_Overlay | None":
        index = bisect_right(self.starts, time + STAMP_ERROR) - 1
        if index < 0 or self.captions[index].end <= time + STAMP_ERROR:
            return None
        caption = self.captions[index]
        if self.current is None or self.current[0] is not caption:
            masks = draw_caption(caption, *self.upright)
            self.current = caption, _Overlay(*masks, self.orientation, self.size)
        return self.current[1]


class _Overlay:
    """A caption to lay over stored yuv420p frames: turned and scaled like them."""

    def __init__(
        self,
        cover: np.ndarray,
        white: np.ndarray,
        orientation: Orientation,
        size: tuple[int, int],
    ) -> None:
        cover, white = (
            np.asarray(Image.fromarray(orientation.revert(mask)).resize(size), np.float32) / 255
            for mask in (cover, white)
        )
        rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
        self.box = (slice(0, 0), slice(0, 0))
        if len(rows):  # chroma has half the size: even edges
            self.box = (
                slice(rows[0] // 2 * 2, rows[-1] // 2 * 2 + 2),
                slice(columns[0] // 2 * 2, columns[-1] // 2 * 2 + 2),
            )
        cover, white = cover[self.box], white[self.box]
        self.keep = 1 - cover
        self.add = BLACK * (cover - np.minimum(white, cover)) + WHITE * np.minimum(white, cover)
        halves = cover.reshape(cover.shape[0] // 2, 2, cover.shape[1] // 2, 2).mean((1, 3))
        self.keep_colour = 1 - halves
        self.add_colour = GREY * halves

    def over(self, planes: np.ndarray) -> np.ndarray:
        """Draw the text into the planes (3/2 height, width) of a frame; they may be changed."""
        planes = np.ascontiguousarray(planes)
        luma, *colour = _planes(planes)
        luma[self.box] = np.rint(luma[self.box] * self.keep + self.add)
        halves = tuple(slice(side.start // 2, side.stop // 2) for side in self.box)
        for plane in colour:
            plane[halves] = np.rint(plane[halves] * self.keep_colour + self.add_colour)
        return planes


def _with_edges(picture: VideoFrame, size: Size) -> VideoFrame:
    """Put a yuv420p frame into the middle of a black one of ``size``; all sides are even."""
    inner = _planes(picture.to_ndarray())
    whole = np.full((size[1] * 3 // 2, size[0]), GREY, np.uint8)
    whole[: size[1]] = BLACK
    for part, plane in zip(inner, _planes(whole), strict=True):
        rows, columns = part.shape
        top, left = (plane.shape[0] - rows) // 2, (plane.shape[1] - columns) // 2
        plane[top : top + rows, left : left + columns] = part
    return VideoFrame.from_ndarray(whole, format="yuv420p")


def _planes(stacked: np.ndarray) -> list[np.ndarray]:
    """Split stacked yuv420p planes (3/2 H, W) into luma (H, W) and two colours (H / 2, W / 2)."""
    height, width = stacked.shape[0] * 2 // 3, stacked.shape[1]
    return [stacked[:height], *stacked[height:].reshape(2, height // 2, width // 2)]


def _split_at_edges(
    timed: Iterator[tuple[float, float, VideoFrame]], captions: Sequence[Caption]
) -> Iterator[tuple[float, float, VideoFrame]]:
    """Repeat frames of a long duration at the times at which a caption begins or ends."""
    edges = sorted({time for caption in captions for time in (caption.start, caption.end)})
    for (start, duration, frame), next_start in _with_next(timed):
        end = start + duration if next_start is None else next_start
        if end - start <= MAX_DURATION:
            yield start, duration, frame
            continue
        inside = edges[bisect_right(edges, start + STAMP_ERROR) :]
        inside = inside[: bisect_right(inside, end - STAMP_ERROR)]
        for first, last in pairwise([start, *inside, end]):
            yield first, last - first, frame


def _with_next(
    timed: Iterator[tuple[float, float, VideoFrame]],
) -> Iterator[tuple[tuple[float, float, VideoFrame], float | None]]:
    """Yield each item with the start of the next one; None for the last."""
    previous = next(timed, None)
    for item in timed:
        assert previous is not None
        yield previous, item[0]
        previous = item
    if previous is not None:
        yield previous, None


def _aac_format(stream: AudioStream) -> tuple[int, str]:
    """Return sample rate (Hz) and layout for AAC: those of the stream if AAC has them."""
    rate = stream.rate if stream.rate in AAC_RATES else OTHER_RATE
    layout = stream.codec_context.layout
    other = "mono" if ffmpeg_weights(layout.name, layout.nb_channels) is None else "stereo"
    return rate, LAYOUTS.get(layout.nb_channels, other)


def _timed_audio(
    source: Source, rate: int, layout: str, warn: Warn
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (start in s, chunk (channels, n) float32) from time zero on, without gaps."""
    written = 0
    for chunk in aligned_audio(source, warn, rate=rate, layout=layout, sample_format="fltp"):
        if chunk.shape[1]:
            yield written / rate, chunk
            written += chunk.shape[1]


def _as_frame(chunk: np.ndarray, start: float, stream: AudioStream) -> av.AudioFrame:
    rate = stream.codec_context.sample_rate
    layout = stream.codec_context.layout.name
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout=layout)
    frame.sample_rate = rate
    frame.pts, frame.time_base = round(start * rate), Fraction(1, rate)
    return frame
