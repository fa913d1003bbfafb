"""One part of a long recording: its sound, and the face and mouth that the model reads."""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from avsr import AvsrError
from avsr.audio import vowel_level
from avsr.face import FaceRegistry, MouthTrack, choose_face, probe_faces, track_faces
from avsr.media import MediaInfo, Tracks, read_pictures, stream_waveform
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.runtime.progress import report_frames
from demo.player import ResultView, face_boxes, mouth_video, segment_span

MAX_SECONDS = 8.0  # length of one closeup


@dataclass(frozen=True, eq=False)
class Closeup:
    """One part of a recording."""

    info: MediaInfo
    """About the whole recording."""
    start: float
    """Seconds from the beginning of the recording."""
    waveform: np.ndarray | None
    """(S,) float32 of the part; None without sound."""
    track: MouthTrack
    """The mouth that is read in the part."""


@lru_cache(maxsize=4)
def read_closeup(path: str, start: float, face: str, seconds: float = MAX_SECONDS) -> Closeup:
    """Read one part of a recording. Frames before it are not decoded.

    Args:
        path: The recording.
        start: Where the part begins, in seconds.
        face: Whose mouth to read, as for ``TranscribeOptions``. A number counts faces from the
            beginning of the recording, so in a later part the face that speaks is read instead.
        seconds: Length of the part; less if the recording ends earlier.

    Raises:
        AvsrError: The recording has no picture.
    """
    info = probe_faces(path)
    if not info.has_video:
        raise AvsrError("the recording has no picture")
    length = min(seconds, info.duration - start)
    frames = islice(read_pictures(path, start=start, tracks=info.tracks), round(length * FPS))
    faces = FaceRegistry().number(track_faces(report_frames(frames, length)))
    waveform = level = None
    if info.has_audio:
        waveform = _read_sound(path, info.tracks, start, faces.num_frames)
    if waveform is not None:
        level = vowel_level(waveform)
    if start and face.isdecimal():
        face = "auto"
    return Closeup(info, start, waveform, choose_face(faces, face, level))


def _read_sound(path: str, tracks: Tracks, start: float, num_frames: int) -> np.ndarray | None:
    """The sound (S,) of ``num_frames`` frames from ``start`` (s) on; less if it ends earlier.

    None if there is none.
    """
    first = round(start * SAMPLE_RATE)
    last = first + num_frames * SAMPLES_PER_FRAME
    chunks, position = [], 0
    for chunk in stream_waveform(path, tracks=tracks):
        chunks.append(chunk[max(0, first - position) : max(0, last - position)])
        position += len(chunk)
        if position >= last:
            break
    sound = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return sound if len(sound) else None


def add_closeup(view: ResultView, time: float, folder: Path) -> ResultView:
    """Return a view of a long recording with the face and mouth of one segment.

    Args:
        view: The view of the recording.
        time: A time in the segment, in seconds.
        folder: Where to write the mouth video.

    Raises:
        AvsrError: No face speaks in the segment.
    """
    start, end = segment_span(view.transcript, time)
    closeup = read_closeup(view.video, start, view.face, min(MAX_SECONDS, end - start))
    if not closeup.track.found.any():
        raise AvsrError("no face that speaks was found in this part: try another one")
    return replace(
        view,
        start=start,
        end=start + len(closeup.track.mouth) / FPS,
        mouth=mouth_video(closeup.track, folder),
        boxes=face_boxes(closeup.track, closeup.info),
    )
