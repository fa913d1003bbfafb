"""Write frames and audio as an MP4 file that every browser plays."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.runtime.atomic_files import atomic_write


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    *,
    waveform: np.ndarray | None = None,
    crf: int = 23,
) -> None:
    """Write a video as H.264 (yuv420p) and AAC in MP4.

    An odd width or height is made even by repeating the last column or row. The file appears under
    its name only when it is complete.

    Args:
        path: The file to write, in a folder that exists.
        frames: Frames (H, W, 3) RGB or (H, W) grey, uint8, at 25 fps, all of one size.
        waveform: Audio (S,) float in [-1, 1] at 16 kHz. Default: no audio.
        crf: Quality of x264, 0 to 51; lower is better and larger.

    Raises:
        MediaError: The file cannot be written, or there are no frames.
        ValueError: A frame or the waveform has a wrong shape.
    """
    with open_video(path, waveform=waveform, crf=crf) as add:
        for image in frames:
            add(image)


@contextmanager
def open_video(
    path: str | Path, *, waveform: np.ndarray | None = None, crf: int = 23
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a video whose frames come one by one, as a context manager.

    Several videos can be written at the same time. No file is left if the block fails.

    Args:
        path: As in ``write_video``.
        waveform: As in ``write_video``.
        crf: As in ``write_video``.

    Yields:
        A function that takes the next frame.

    Raises:
        MediaError: As in ``write_video``.
        ValueError: As in ``write_video``.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise MediaError(f"{path}: cannot be written, the folder {path.parent} does not exist")
    if waveform is not None and waveform.ndim != 1:
        raise ValueError(f"waveform must be (S,), got shape {waveform.shape}")
    try:
        with atomic_write(path) as part:
            with av.open(
                str(part), "w", format="mp4", options={"movflags": "+faststart"}
            ) as container:
                writer = _Writer(container, waveform, crf)
                yield writer.add
                writer.finish()
            if writer.count == 0:
                raise MediaError(f"{path}: cannot be written, there are no frames")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error


class _Writer:
    """Encodes frames and audio side by side; ``count`` is the number of frames written."""

    def __init__(self, container: OutputContainer, waveform: np.ndarray | None, crf: int) -> None:
        self.container, self.waveform, self.crf = container, waveform, crf
        self.count = 0
        self.shape: tuple[int, ...] | None = None
        self.video: VideoStream
        self.audio: AudioStream | None = None

    def add(self, image: np.ndarray) -> None:
        """Encode the next frame and the samples of its time."""
        if self.shape is None:
            self._start(image)
        if image.shape != self.shape:
            raise ValueError(f"frame {self.count} is {image.shape}, the first one {self.shape}")
        _encode_frame(self.container, self.video, image, self.count)
        # Audio is written frame by frame: else the muxer would hold back all video.
        if self.audio is not None and self.waveform is not None:
            start = self.count * SAMPLES_PER_FRAME
            samples = self.waveform[start : start + SAMPLES_PER_FRAME]
            _encode_audio(self.container, self.audio, samples, start)
        self.count += 1

    def _start(self, first: np.ndarray) -> None:
        self.shape = first.shape
        height, width = first.shape[:2]
        # Without mbtree, whose decisions vary, the same frames give the same bytes.
        options = {"crf": str(self.crf), "x264-params": "mbtree=0"}
        self.video = self.container.add_stream("libx264", rate=FPS, options=options)
        self.video.width, self.video.height = width + width % 2, height + height % 2
        self.video.pix_fmt = "yuv420p"
        if self.waveform is not None:
            self.audio = self.container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")

    def finish(self) -> None:
        """Encode the remaining samples and flush the encoders."""
        if self.count == 0:
            return
        self.container.mux(self.video.encode(None))
        if self.audio is not None and self.waveform is not None:
            start = self.count * SAMPLES_PER_FRAME
            _encode_audio(self.container, self.audio, self.waveform[start:], start)
            self.container.mux(self.audio.encode(None))


def _encode_frame(
    container: OutputContainer, stream: VideoStream, image: np.ndarray, index: int
) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"a frame must be (H, W, 3) or (H, W) uint8, got {image.shape}")
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        edges = [(0, height % 2), (0, width % 2), (0, 0)][: image.ndim]
        image = np.pad(image, edges, mode="edge")
    pixel_format = "gray" if image.ndim == 2 else "rgb24"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=pixel_format)
    frame.pts = index
    container.mux(stream.encode(frame))


def _encode_audio(
    container: OutputContainer, stream: AudioStream, samples: np.ndarray, start: int
) -> None:
    if len(samples) == 0:
        return
    planar = np.clip(samples, -1, 1).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planar), format="fltp", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    frame.pts = start
    container.mux(stream.encode(frame))
