"""Encode and decode the audio (FLAC) and the mouth crops (H.264) of the utterances in shards."""

import io
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange

from avsr.errors import CorpusError, MediaError
from avsr.media.safe_open import open_container, read_packets
from avsr.rates import FPS, MOUTH_SIZE, SAMPLE_RATE
from avsr.runtime.interrupts import defer_sigint

MOUTH_CRF = 18  # H.264 quality of mouth crops
NEUTRAL = 128  # chroma of grey
BLOCK = 60 * SAMPLE_RATE  # samples of a FLAC that are decoded at a time
# H.264 stores brightness as 16 to 235, unless the file is marked as full range.
TO_LIMITED = np.round(16 + np.arange(256) * 219 / 255).astype(np.uint8)
FROM_LIMITED = np.round((np.arange(256) - 16) * 255 / 219).clip(0, 255).astype(np.uint8)


def encode_mouth(mouth: np.ndarray) -> bytes:
    """Encode mouth crops as an H.264 mp4; the same crops always give the same bytes.

    Args:
        mouth: Mouth crops (T, H, W) uint8 at 25 Hz; H and W are even.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: ``mouth`` has another shape or type, or no frames.
    """
    if mouth.ndim != 3 or mouth.dtype != np.uint8 or len(mouth) == 0:
        raise ValueError(f"mouth must be (T, H, W) uint8, got {mouth.shape} {mouth.dtype}")
    _, height, width = mouth.shape
    image = np.full((height * 3 // 2, width), NEUTRAL, np.uint8)  # planar: grey, then chroma
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        # x264's macroblock tree reads uninitialized memory in images this small: bytes would vary
        stream.options = {"crf": str(MOUTH_CRF), "preset": "veryfast", "mbtree": "0"}
        for i, crop in enumerate(mouth):
            image[:height] = TO_LIMITED[crop]
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_mouth(encoded: bytes) -> np.ndarray:
    """Decode mouth crops, the reverse of ``encode_mouth``.

    Shards are made by others, so the bytes are opened as carefully as any user's file.

    Args:
        encoded: Bytes of a video file.

    Returns:
        Mouth crops (T, 96, 96) uint8.

    Raises:
        CorpusError: It is not a video, or not one of this size.
    """
    try:
        with open_container(Path("a mouth video"), encoded) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise CorpusError("a mouth video cannot be decoded (it has no pictures)")
            stream.codec_context.thread_count = 1
            crops = []
            decoded = (packet.decode() for packet in read_packets(container, stream))
            for frame in chain.from_iterable(decoded):
                if (frame.width, frame.height) != (MOUTH_SIZE, MOUTH_SIZE):
                    raise CorpusError(
                        f"a mouth video cannot be used (it is {frame.width}x{frame.height}, not "
                        f"{MOUTH_SIZE}x{MOUTH_SIZE})"
                    )
                crops.append(_brightness(frame))
    except MediaError as error:
        reason = str(error).removeprefix("a mouth video: ")
        raise CorpusError(f"a mouth video cannot be decoded ({reason})") from error
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"a mouth video cannot be decoded ({reason})") from error
    if not crops:
        raise CorpusError("a mouth video cannot be decoded (none of its pictures can)")
    return np.stack(crops)


def _brightness(frame: av.VideoFrame) -> np.ndarray:
    """Return the grey image (H, W) of a frame: its first plane, 6 times faster than converting."""
    if frame.format.name not in ("yuv420p", "yuvj420p", "gray"):
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    grey = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
    full = frame.format.name != "yuv420p" or frame.color_range == ColorRange.JPEG
    return grey[:, : plane.width].copy() if full else FROM_LIMITED[grey[:, : plane.width]]


def encode_audio(waveform: np.ndarray) -> bytes:
    """Encode a waveform (S,), float in [-1, 1] or int16, as 16-bit FLAC."""
    import soundfile  # an extra

    buffer = io.BytesIO()
    with defer_sigint():
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_audio(encoded: bytes) -> np.ndarray:
    """Decode a FLAC.

    Args:
        encoded: Bytes of a FLAC file, mono at 16 kHz.

    Returns:
        Waveform (S,) int16.

    Raises:
        CorpusError: It is not a FLAC, or not mono at 16 kHz.
    """
    import soundfile  # an extra

    try:
        with defer_sigint(), soundfile.SoundFile(io.BytesIO(encoded)) as file:
            rate, channels = file.samplerate, file.channels
            if (rate, channels) != (SAMPLE_RATE, 1):
                raise CorpusError(
                    f"a FLAC must be mono at {SAMPLE_RATE} Hz, this one has {rate} Hz and "
                    f"{channels} channels"
                )
            # In blocks: the header may promise more samples than any memory holds.
            blocks = [file.read(BLOCK, dtype="int16")]
            while len(blocks[-1]) == BLOCK:
                blocks.append(file.read(BLOCK, dtype="int16"))
    except soundfile.SoundFileError as error:
        raise CorpusError(f"a FLAC cannot be decoded ({error})") from error
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
