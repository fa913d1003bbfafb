"""Of several video tracks, such as a shared screen and a camera, take the one with a face."""

import functools
from dataclasses import replace
from itertools import islice
from pathlib import Path

from avsr.errors import MediaError
from avsr.face.tracking import default_detector
from avsr.media import ANY_TRACKS, MediaInfo, Tracks, probe, read_frames
from avsr.rates import FPS

SEARCHED_FRAMES = 30 * FPS  # from the start
FRAME_STEP = 2 * FPS  # one frame in so many is searched
MAX_SIDE = 1280  # px, longer side of these frames


def probe_faces(path: str | Path, tracks: Tracks = ANY_TRACKS) -> MediaInfo:
    """As ``media.probe``; of several video tracks one with a face is taken before one without.

    The pictures of a file with one video track are not looked at.

    Raises:
        MediaError: As in ``media.probe``.
    """
    info = probe(path, tracks)
    if tracks.video is not None or info.video_tracks < 2 or info.tracks.video is None:
        return info
    status = Path(path).stat()
    key = status.st_ino, status.st_size, status.st_mtime_ns
    number = _find_face(Path(path), key, info.tracks.video, info.video_tracks)
    if number == info.tracks.video:
        return info
    return probe(path, replace(tracks, video=number))


@functools.lru_cache(maxsize=64)
def _find_face(path: Path, key: tuple[int, ...], best: int, count: int) -> int:
    """Number of the first track with a face, ``best`` before all others, or ``best``.

    ``key`` tells whether the file has changed.
    """
    with default_detector() as detector:
        for number in sorted(range(1, count + 1), key=lambda number: number != best):
            try:
                frames = read_frames(
                    path,
                    tracks=Tracks(video=number),
                    max_side=MAX_SIDE,
                    warn=lambda message: None,
                )
                for frame in islice(frames, 0, SEARCHED_FRAMES, FRAME_STEP):
                    if detector.find(frame):
                        return number
            except MediaError:  # this track cannot be decoded
                continue
    return best
