"""Write frames and sound as an MP4 that every browser plays."""

import uuid
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from avsr.errors import MediaError
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    *,
    waveform: np.ndarray | None = None,
    crf: int = 23,
) -> None:
    """Write frames (H, W, 3) RGB or (H, W) grey, uint8, 25 fps, as H.264 yuv420p in MP4.

    `waveform` (S,) float in [-1, 1] at 16 kHz becomes AAC. `crf` 0 to 51: lower is better and
    larger. An odd width or height is made even by repeating the last column or row. The file
    appears under its name only when it is complete.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise MediaError(f"{path}: cannot be written, the folder {path.parent} does not exist")
    if waveform is not None and waveform.ndim != 1:
        raise ValueError(f"waveform must be (S,), got shape {waveform.shape}")
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            count = _write(container, iter(frames), waveform, crf)
        if count == 0:
            raise MediaError(f"{path}: cannot be written, there are no frames")
        part.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


def _write(
    container: OutputContainer, frames: Iterator[np.ndarray], waveform: np.ndarray | None, crf: int
) -> int:
    """Encode everything in step; the number of frames written."""
    first = next(frames, None)
    if first is None:
        return 0
    height, width = first.shape[:2]
    # Without mbtree, whose decisions vary, the same frames give the same bytes.
    options = {"crf": str(crf), "x264-params": "mbtree=0"}
    video = container.add_stream("libx264", rate=FPS, options=options)
    video.width, video.height = width + width % 2, height + height % 2
    video.pix_fmt = "yuv420p"
    audio = None
    if waveform is not None:
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
    count = 0
    for image in chain([first], frames):
        if image.shape != first.shape:
            raise ValueError(f"frame {count} is {image.shape}, the first one {first.shape}")
        _encode_picture(container, video, image, count)
        # Sound goes along frame by frame: the muxer would hold back all pictures otherwise.
        if audio is not None and waveform is not None:
            here = count * SAMPLES_PER_FRAME
            _encode_sound(container, audio, waveform[here : here + SAMPLES_PER_FRAME], here)
        count += 1
    container.mux(video.encode(None))
    if audio is not None and waveform is not None:
        rest = count * SAMPLES_PER_FRAME
        _encode_sound(container, audio, waveform[rest:], rest)
        container.mux(audio.encode(None))
    return count


def _encode_picture(
    container: OutputContainer, stream: VideoStream, image: np.ndarray, index: int
) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"a frame must be (H, W, 3) or (H, W) uint8, got {image.shape}")
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        edges = [(0, height % 2), (0, width % 2), (0, 0)][: image.ndim]
        image = np.pad(image, edges, mode="edge")
    picture_format = "gray" if image.ndim == 2 else "rgb24"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=picture_format)
    frame.pts = index
    container.mux(stream.encode(frame))


def _encode_sound(
    container: OutputContainer, stream: AudioStream, samples: np.ndarray, start: int
) -> None:
    if len(samples) == 0:
        return
    planar = np.clip(samples, -1, 1).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planar), format="fltp", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    frame.pts = start
    container.mux(stream.encode(frame))
