"""A part of a recording, looked at closely: its sound, and the face and mouth that a model sees."""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from avsr import AvsrError
from avsr.audio import vowel_level
from avsr.face import FaceRegistry, MouthTrack, choose_face, track_faces
from avsr.media import MediaInfo, probe, read_pictures, stream_waveform
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.runtime.progress import report_frames
from demo.player import ResultView, face_boxes, mouth_video, part_at

SECONDS = 8.0  # that are looked at in one go


@dataclass(frozen=True, eq=False)
class Closeup:
    """A part of a recording."""

    info: MediaInfo
    """Of the whole recording."""
    start: float
    """Seconds from its beginning."""
    waveform: np.ndarray | None
    """(S,) of the part; None without sound."""
    track: MouthTrack
    """The mouth that is read in the part."""


@lru_cache(maxsize=4)
def look_closely(path: str, start: float, choice: str, seconds: float = SECONDS) -> Closeup:
    """A recording from ``start`` (s) on for at most ``seconds``; ``choice`` says whose mouth.

    What comes before is not decoded. Faces are numbered from the recording's beginning, so that
    later on a face that was wished for by its number is the one that speaks. Raises AvsrError
    without a picture.
    """
    info = probe(path)
    if not info.has_video:
        raise AvsrError("there is no picture")
    length = min(seconds, info.duration - start)
    frames = islice(read_pictures(path, start=start), round(length * FPS))
    faces = FaceRegistry().number(track_faces(report_frames(frames, length)))
    waveform = level = None
    if info.has_audio:
        waveform = _hear(path, start, faces.num_frames)
        level = vowel_level(waveform)
    if start and choice.isdecimal():
        choice = "auto"
    return Closeup(info, start, waveform, choose_face(faces, choice, level))


def _hear(path: str, start: float, num_frames: int) -> np.ndarray:
    """The sound (S,) of so many frames from ``start`` (s) on, less where it ends before."""
    first = round(start * SAMPLE_RATE)
    last = first + num_frames * SAMPLES_PER_FRAME
    kept, position = [], 0
    for chunk in stream_waveform(path):
        kept.append(chunk[max(0, first - position) : max(0, last - position)])
        position += len(chunk)
        if position >= last:
            break
    return np.concatenate(kept)


def show_closely(shown: ResultView, time: float, folder: Path) -> ResultView:
    """A long result with face and mouth of the segment at ``time`` (s), or of its beginning.

    Raises AvsrError where no face speaks in it.
    """
    start, end = part_at(shown.transcript, time)
    part = look_closely(shown.video, start, shown.face, min(SECONDS, end - start))
    if not part.track.found.any():
        raise AvsrError("no face that speaks was found here: try another place")
    return replace(
        shown,
        since=start,
        until=start + len(part.track.mouth) / FPS,
        mouth=mouth_video(part.track, folder),
        boxes=face_boxes(part.track, part.info),
    )
