"""What a file holds, by its header, its packets and its first frames."""

from dataclasses import dataclass
from pathlib import Path

from avsr.errors import MediaError
from avsr.media.clock import Clock
from avsr.media.container import open_source
from avsr.media.frame_size import largest_size
from avsr.media.orientation import UPRIGHT, orientation_of
from avsr.media.safe_open import read_packets
from avsr.media.tracks import ANY_TRACKS, Tracks, first_frames, list_tracks

CONFIRMED = 0.2  # s; the header's duration is true if the packets end no further away from it


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """Properties of a media file.

    Attributes:
        path: The file.
        duration: Seconds from time zero to the end of the longer stream. The header's, if the
            packets confirm it.
        has_video: Whether at least one video frame can be decoded.
        has_audio: Whether any audio can be decoded.
        fps: Average frames per second as stored, before the conversion to 25; None without video.
        width: Width of the upright video in square pixels; None without video. Of a video whose
            frames change size it is the largest one.
        height: Its height.
        rotation: Degrees, counter-clockwise, by which stored frames are turned: 0, 90, 180 or 270.
        tracks: The numbers of the tracks that are read.
        sound_tracks: Number of sound tracks, also of those that cannot be decoded.
        video_tracks: Number of video tracks, likewise.
        silent_track: Number of the default sound track if it is silent and another is read.
        picture_problem: Why there is no video, such as "there is no picture"; empty if there is.
        sound_problem: Why there is no audio, such as "the sound is encrypted".
        video_duration: Seconds from time zero to the end of the video by its packets; 0 without.
        audio_duration: The same of the audio.
    """

    path: Path
    duration: float
    has_video: bool
    has_audio: bool
    fps: float | None
    width: int | None
    height: int | None
    rotation: int
    sound_tracks: int
    video_tracks: int = 0
    tracks: Tracks = ANY_TRACKS
    silent_track: int | None = None
    picture_problem: str = ""
    sound_problem: str = ""
    video_duration: float = 0.0
    audio_duration: float = 0.0


def probe(path: str | Path, tracks: Tracks = ANY_TRACKS) -> MediaInfo:
    """Read the properties of a file from its header, its packets and its first frames.

    Only the first frame of each stream is decoded, so that it is quick for long files too.

    Args:
        path: A video or audio file.
        tracks: The tracks to read.

    Returns:
        Its properties. A stream of which nothing can be decoded does not count.

    Raises:
        MediaError: The file cannot be opened, a track that is asked for is not there, or neither
            video nor audio can be decoded.
    """
    with open_source(path, tracks) as source:
        clock = Clock(source)
        packets = clock.mend(read_packets(source.container, source.streams))
        frame, picture_problem, sound_problem = first_frames(
            packets, source.video_choice, source.audio_choice
        )
        if frame is None and sound_problem:
            raise MediaError(
                f"{path}: none of its picture or sound can be decoded: "
                f"{picture_problem}; {sound_problem}"
            )
        orientation = UPRIGHT if frame is None else orientation_of(frame, source.video)
        width = height = None
        if frame is not None and source.video is not None:
            size = largest_size(source.path, source.video) or (frame.width, frame.height)
            width, height = orientation.displayed_size(size)
        sound_tracks = len(list_tracks(source.container, "audio"))
        video_tracks = len(list_tracks(source.container, "video"))
        rate = source.video.average_rate if source.video is not None and frame else None
        video_end = clock.seconds(source.video) if frame is not None else 0.0
        audio_end = 0.0 if sound_problem else clock.seconds(source.audio)
        duration = max(video_end, audio_end)
        promised = source.duration
        if promised is not None and (abs(promised - duration) <= CONFIRMED or duration == 0.0):
            duration = promised
    return MediaInfo(
        path=Path(path),
        duration=max(0.0, duration),
        has_video=frame is not None,
        has_audio=not sound_problem,
        fps=float(rate) if rate else None,
        width=width,
        height=height,
        rotation=orientation.rotation,
        sound_tracks=sound_tracks,
        video_tracks=video_tracks,
        tracks=source.tracks,
        silent_track=source.audio_choice.silent,
        picture_problem=picture_problem,
        sound_problem=sound_problem,
        video_duration=video_end,
        audio_duration=audio_end,
    )
