"""Write a video again with captions in its pictures."""

import heapq
import os
import struct
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
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
from avsr.media.container import Source, Warn, logger, open_source, timed_frames
from avsr.media.orientation import Orientation, orientation_of
from avsr.media.sound import placed_sound
from avsr.rates import FPS

# Of x264: hardly told from the original. Without mbtree the same video gives the same bytes.
QUALITY = {"crf": "20", "preset": "fast", "x264-params": "mbtree=0"}
BIT_RATE = 96_000  # bit/s of AAC for each channel
BITS_PER_SAMPLE = 4  # at low rates less: AAC has no more than 6 bits for a sample
AAC_RATES = {8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200}
AAC_RATES |= {96_000}  # Hz
OTHER_RATE = 48_000  # Hz
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
STILL = 0.1  # s; a picture that stays longer is shown anew where a caption comes or goes
STAMP_ERROR = 0.001  # s
BLACK, WHITE, GREY = 16, 235, 128  # of 8-bit video


def burn_captions(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    captions: Sequence[Caption],
    *,
    warn: Warn = logger.warning,
) -> None:
    """Write ``source`` as ``target``, H.264 and AAC in MP4, with captions in its pictures.

    Times of captions count from time zero, as those of words do; they must not overlap. Size,
    frame times, rotation, pixel shape and length stay; an odd width or height grows by a pixel,
    as H.264 wants it, and interlaced pictures are written as whole frames. Both files are
    streamed: memory does not grow with their length. ``target`` appears under its name when it
    is complete. Raises MediaError for a file without pictures, text that cannot be drawn, or a
    target that cannot be written.
    """
    source, target = Path(source), Path(target)
    ordered = sorted(captions, key=lambda caption: caption.start)
    check_captions(ordered)
    if not target.parent.is_dir():
        raise MediaError(f"{target}: cannot be written, there is no folder {target.parent}")
    if target.exists() and source.exists() and target.samefile(source):
        raise MediaError(f"{target}: is the video itself; give another name")
    told: set[str] = set()

    def warn_once(message: str) -> None:  # the file is opened twice
        if message not in told:
            told.add(message)
            warn(message)

    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        # Opened twice: pictures and sound may lie far apart in a file, and neither must pile up.
        with open_source(source) as seen, open_source(source) as heard:
            if seen.video is None:
                raise MediaError(f"{source}: has no picture to write subtitles into")
            with av.open(str(part), "w", "mp4", options={"movflags": "+faststart"}) as container:
                _write(container, seen, heard, ordered, warn_once)
        part.replace(target)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)


def _write(
    container: OutputContainer,
    seen: Source,
    heard: Source,
    captions: Sequence[Caption],
    warn: Warn,
) -> None:
    """Pictures and sound in order of time, so that the muxer holds back neither."""
    assert seen.video is not None
    timed: Iterator[tuple[float, float, VideoFrame]] = timed_frames(seen, seen.video, warn)
    first = next(timed, None)
    if first is None:
        raise MediaError(f"{seen.path}: none of its pictures can be decoded")
    painter = _Painter(container, seen.video, first[2], captions)
    sound: Iterator[tuple[float, np.ndarray]] = iter(())
    audio = None
    if heard.audio is not None:
        rate, layout = _sound_of(heard.audio)
        sound = _timed_sound(heard, rate, layout, warn)
        beginning = next(sound, None)
        if beginning is not None:
            sound = chain([beginning], sound)
            audio = container.add_stream("aac", rate=rate, layout=layout)
            channels = audio.codec_context.layout.nb_channels
            audio.bit_rate = min(BIT_RATE, BITS_PER_SAMPLE * rate) * channels
    both: list[Iterator[Any]] = [_at_every_edge(chain([first], timed), captions), sound]
    for item in heapq.merge(*both, key=lambda item: item[0]):
        if len(item) == 3:
            container.mux(painter.paint(*item))
        else:
            assert audio is not None
            container.mux(audio.encode(_as_frame(item[1], item[0], audio)))
    container.mux(painter.stream.encode(None))
    if audio is not None:
        container.mux(audio.encode(None))


class _Painter:
    """Encodes pictures, each with the caption of its time."""

    def __init__(
        self,
        container: OutputContainer,
        source: VideoStream,
        first: VideoFrame,
        captions: Sequence[Caption],
    ) -> None:
        self.captions = captions
        self.starts = [caption.start for caption in captions]
        self.orientation: Orientation = orientation_of(first, source)
        self.upright = self.orientation.displayed_size(first)
        self.time_base = source.time_base or Fraction(1, 90_000)
        self.reformatter = VideoReformatter()
        self.shown: tuple[Caption, _Overlay] | None = None
        self.last = -1
        rate = source.average_rate or source.guessed_rate or Fraction(FPS)
        self.stream = container.add_stream("libx264", rate=rate, options=QUALITY)
        self.stream.width = first.width + first.width % 2
        self.stream.height = first.height + first.height % 2
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
            context.sample_aspect_ratio = source.sample_aspect_ratio
        matrix: Any = first.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            self.stream.set_display_matrix(struct.unpack("=9i", bytes(matrix)[:36]))

    def paint(self, start: float, duration: float, frame: VideoFrame) -> list[av.Packet]:
        """Packets of one more picture; none for one that comes no later than the one before."""
        pts = round(Fraction(start) / self.time_base)
        if pts <= self.last:
            return []
        self.last = pts
        picture = self.reformatter.reformat(
            frame,
            width=self.stream.width,
            height=self.stream.height,
            format="yuv420p",
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=self.colorspace if frame.format.is_rgb else None,
        )
        overlay = self._overlay(start)
        if overlay is not None:
            # A copy: the decoder may still need its own picture.
            picture = VideoFrame.from_ndarray(overlay.over(picture.to_ndarray()), format="yuv420p")
        picture.pict_type = PictureType.NONE  # the encoder shall choose its own key frames
        picture.pts, picture.time_base = pts, self.time_base
        picture.duration = round(Fraction(duration) / self.time_base)
        return self.stream.encode(picture)

    def _overlay(self, time: float) -> "_Overlay | None":
        index = bisect_right(self.starts, time + STAMP_ERROR) - 1
        if index < 0 or self.captions[index].end <= time + STAMP_ERROR:
            return None
        caption = self.captions[index]
        if self.shown is None or self.shown[0] is not caption:
            size = self.stream.width, self.stream.height
            masks = draw_caption(caption, *self.upright)
            self.shown = caption, _Overlay(*masks, self.orientation, size)
        return self.shown[1]


class _Overlay:
    """Text to lay over yuv420p pictures, as they are stored: turned and squeezed like them."""

    def __init__(
        self,
        cover: np.ndarray,
        white: np.ndarray,
        orientation: Orientation,
        size: tuple[int, int],
    ) -> None:
        self.width, self.height = size
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
        """The planes (3/2 height, width) of a picture with the text over it; they are changed."""
        flat = np.ascontiguousarray(planes).reshape(-1)
        area = self.width * self.height
        luma = flat[:area].reshape(self.height, self.width)
        colour = flat[area:].reshape(2, self.height // 2, self.width // 2)
        luma[self.box] = np.rint(luma[self.box] * self.keep + self.add)
        halves = tuple(slice(side.start // 2, side.stop // 2) for side in self.box)
        for plane in colour:
            plane[halves] = np.rint(plane[halves] * self.keep_colour + self.add_colour)
        return flat.reshape(planes.shape)


def _at_every_edge(
    timed: Iterator[tuple[float, float, VideoFrame]], captions: Sequence[Caption]
) -> Iterator[tuple[float, float, VideoFrame]]:
    """The pictures, and those that stay for long once more wherever a caption comes or goes."""
    edges = sorted({time for caption in captions for time in (caption.start, caption.end)})
    for (start, duration, frame), following in _with_next(timed):
        end = start + duration if following is None else following
        if end - start <= STILL:
            yield start, duration, frame
            continue
        inside = edges[bisect_right(edges, start + STAMP_ERROR) :]
        inside = inside[: bisect_right(inside, end - STAMP_ERROR)]
        times = [start, *inside]
        for here, there in zip(times, [*inside, end], strict=True):
            yield here, there - here, frame


def _with_next(
    timed: Iterator[tuple[float, float, VideoFrame]],
) -> Iterator[tuple[tuple[float, float, VideoFrame], float | None]]:
    """Each item with the start of the one behind it; None for the last."""
    held = next(timed, None)
    for item in timed:
        assert held is not None
        yield held, item[0]
        held = item
    if held is not None:
        yield held, None


def _sound_of(stream: AudioStream) -> tuple[int, str]:
    """Rate (Hz) and layout that AAC has, those of the stream if it can be."""
    rate = stream.rate if stream.rate in AAC_RATES else OTHER_RATE
    return rate, LAYOUTS.get(stream.codec_context.layout.nb_channels, "stereo")


def _timed_sound(
    source: Source, rate: int, layout: str, warn: Warn
) -> Iterator[tuple[float, np.ndarray]]:
    """(start in s, chunk (channels, n) float32) from time zero on, without gaps."""
    written = 0
    for chunk in placed_sound(source, warn, rate=rate, layout=layout, sample_format="fltp"):
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
