"""Which of a file's tracks are read, and why one cannot be."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame

from avsr.errors import MediaError
from avsr.media.channels import find_problem, to_planes
from avsr.media.safe_open import open_container, read_packets

Kind = Literal["video", "audio"]

NAMES: dict[str, str] = {"video": "picture", "audio": "sound"}
TRACKS: dict[str, str] = {"video": "video", "audio": "sound"}
NO_TRACK: dict[str, str] = {"video": "there is no picture", "audio": "there is no sound track"}
SILENT_RMS = 1e-4  # -80 dB of full scale; a track that never gets louder gives way to another
LEAST_RATE = 1000  # Hz; below it no speech can be understood
SEARCHED_SECONDS = 600.0  # from the start, in which a track may get louder
_NO_MOVING_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """The tracks of a file to read: 1, 2, ... among those of their kind, as the file lists them.

    Cover pictures do not count. None leaves the choice to the program.
    """

    audio: int | None = None
    """Sound track. None: the default one or else the first, or, where that is silent, the first
    that is not."""
    video: int | None = None
    """Video track. None: the one that FFmpeg takes for the best."""


ANY_TRACKS = Tracks()
"""The tracks that the program chooses."""


@dataclass(frozen=True)
class Chosen:
    """The track of one kind that is read."""

    stream: Any = None
    """The stream; None where there is none that can be decoded."""
    number: int | None = None
    """Its number."""
    problem: str = ""
    """Why there is no stream."""
    silent: int | None = None
    """Number of the silent track that gave way to it."""


NONE = Chosen()


def choose_track(path: Path, container: InputContainer, kind: Kind, number: int | None) -> Chosen:
    """Choose the track of a kind.

    Args:
        path: The file.
        container: The open file.
        kind: The kind of track.
        number: The track that is asked for, from 1 on; None for the one that fits best.

    Raises:
        MediaError: The track that is asked for is not there or cannot be decoded.
    """
    tracks = list_tracks(container, kind)
    if number is not None and not 1 <= number <= len(tracks):
        known = {0: "the file has none", 1: "the only one is 1"}
        listing = known.get(len(tracks), f"they are 1 to {len(tracks)}")
        raise MediaError(f"{path}: there is no {TRACKS[kind]} track {number}: {listing}")
    problems = [_find_problem(stream, kind) for stream in tracks]
    if number is not None:
        if problems[number - 1]:
            raise MediaError(f"{path}: {TRACKS[kind]} track {number} {problems[number - 1]}")
        return Chosen(tracks[number - 1], number)
    usable = [stream for stream, problem in zip(tracks, problems, strict=True) if not problem]
    if not usable:
        reason = f"the {NAMES[kind]} {problems[0]}" if problems else NO_TRACK[kind]
        return Chosen(problem=reason)
    best = _best(container, usable, kind)
    chosen = best
    if kind == "audio" and len(usable) > 1:
        status = path.stat()
        key = status.st_ino, status.st_size, status.st_mtime_ns
        ordered = (best.index, *(stream.index for stream in usable if stream is not best))
        index = _first_with_sound(path, key, ordered)
        chosen = next(stream for stream in usable if stream.index == index)
    silent = None if chosen is best else tracks.index(best) + 1
    return Chosen(chosen, tracks.index(chosen) + 1, silent=silent)


def list_tracks(container: InputContainer, kind: Kind) -> list[Any]:
    """List the streams of a kind as the file does, without cover pictures."""
    streams: list[Any] = list(container.streams)
    return [
        stream
        for stream in streams
        if stream.type == kind and not int(stream.disposition) & int(_NO_MOVING_PICTURE)
    ]


def is_encrypted(packet: av.Packet) -> bool:
    """Whether a packet is encrypted, so that decoding it gives noise or nothing."""
    return packet.has_sidedata("encryption_info")


def first_frames(
    packets: Iterable[Any], video: Chosen, audio: Chosen
) -> tuple[VideoFrame | None, str, str]:
    """Decode the beginning of the chosen streams.

    Args:
        packets: All packets of these streams, which are taken to the last one.
        video: The chosen video stream.
        audio: The chosen audio stream.

    Returns:
        The first video frame, and why there is no picture and why no sound (empty if there is).
    """
    streams = [choice.stream for choice in (video, audio) if choice.stream is not None]
    problems = {stream.index: f"the {NAMES[stream.type]} cannot be decoded" for stream in streams}
    missing = set(problems)
    first = None
    try:
        for packet in packets:
            index, name = packet.stream.index, NAMES[packet.stream.type]
            if index not in missing:
                continue
            if is_encrypted(packet):
                problems[index] = f"the {name} is encrypted"
                missing.remove(index)
                continue
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError:
                continue
            if frames:
                missing.remove(index)
                first = frames[0] if isinstance(frames[0], VideoFrame) else first
                problem = "" if isinstance(frames[0], VideoFrame) else find_problem(frames[0])
                problems[index] = problem and f"the {name} {problem}"
    except av.FFmpegError:
        pass  # reading the frames will warn; here only what came before counts
    picture_problem, sound_problem = (
        choice.problem if choice.stream is None else problems[choice.stream.index]
        for choice in (video, audio)
    )
    return first, picture_problem, sound_problem


def _find_problem(stream: Any, kind: Kind) -> str:
    """Why a stream cannot be decoded; empty if it can."""
    if "enc_key_id" in stream.metadata:  # of WebM
        return "is encrypted"
    if stream.codec_context is None:
        return "is in a codec that is not known here or protected against copying"
    if kind == "audio" and not stream.codec_context.sample_rate:
        return "track is empty or its header is damaged"
    if kind == "audio" and stream.codec_context.sample_rate < LEAST_RATE:
        return f"has {stream.codec_context.sample_rate} samples a second, too few for speech"
    return ""


def _best(container: InputContainer, usable: Sequence[Any], kind: Kind) -> Any:
    """FFmpeg's best of video, the default of audio, or else the first."""
    if kind == "video":
        best = container.streams.best(kind)
        return best if best in usable else usable[0]
    marked = (stream for stream in usable if int(stream.disposition) & int(Disposition.default))
    return next(marked, usable[0])


@functools.lru_cache(maxsize=64)
def _first_with_sound(path: Path, key: tuple[int, ...], indices: tuple[int, ...]) -> int:
    """The first of the audio streams that is not silent, or the first of all.

    ``key`` tells whether the file has changed. The tracks are decoded side by side until the first
    has sound, which is at once in most files.
    """
    heard: set[int] = set()
    with open_container(path) as container:
        streams = [container.streams[index] for index in indices]
        start = None
        try:
            for packet in read_packets(container, streams):
                index = packet.stream.index
                if packet.pts is not None and packet.time_base is not None:
                    time = float(packet.pts * packet.time_base)
                    start = time if start is None else start
                    if time - start > SEARCHED_SECONDS:
                        break
                if index in heard:
                    continue
                try:
                    frames: list[Any] = packet.decode()
                except av.FFmpegError:
                    continue
                if any(_is_loud(to_planes(frame)) for frame in frames if frame.samples):
                    heard.add(index)
                    if index == indices[0]:
                        break
        except av.FFmpegError:
            pass  # as far as it can be read
    return next((index for index in indices if index in heard), indices[0])


def _is_loud(samples: np.ndarray) -> bool:
    """Whether samples (C, n) of a frame are more than silence; an offset is silence."""
    return bool(samples.std(axis=1).max() >= SILENT_RMS)
