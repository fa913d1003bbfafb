"""Reading a whole recording: the sound of a media file, and the lips of the face that speaks."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from avsr import audio, face, media
from avsr.errors import MediaError
from avsr.rates import SAMPLE_RATE
from avsr.recognition.av_agreement import choose_speaker
from avsr.recognition.recording import (
    COVERED,
    Recording,
    count_frames,
    extend_lips,
    is_spoken,
    missing_frames,
)
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import report_frames
from avsr.transcript import Modality
from avsr.transcript.result import NO_SPEECH

if TYPE_CHECKING:
    from avsr.face import FaceRegistry, FaceTracks, MouthTrack
    from avsr.model.network import AVSRModel
    from avsr.recognition.options import TranscribeOptions

PREFETCHED_FRAMES = 4  # decoded while the frames before them are searched for faces
MIN_FACE_SHARE = 0.5  # share of a segment's frames with readable lips; below it none are read
WARN_FACE_SHARE = 0.8  # share below which the transcript warns
NAMED_SECONDS = 0.5  # s by which the lips go on after the sound; more is said
TURNED = "the face is turned away"
PICTURE_ENDS = "the picture ends before the sound"


def read_recording(
    path: str | os.PathLike[str],
    modality: Modality = "av",
    choice: str = "auto",
    model: "AVSRModel | None" = None,
    *,
    info: media.MediaInfo | None = None,
    mouth: bool = False,
    tracks: media.Tracks = media.ANY_TRACKS,
) -> Recording:
    """Read sound and lips of a media file, falling back to the one that it has.

    Args:
        path: Media file.
        modality: What to read; the transcript warns of what the file lacks.
        choice: Whose lips, as ``TranscribeOptions.face``.
        model: Tells who speaks where several mouths move with the sound.
        info: What ``media.probe`` says of the file and these tracks, if it was asked already.
        mouth: Whether the video is a ready-made mouth video, as ``TranscribeOptions.mouth``.
        tracks: The tracks that are asked for.

    Returns:
        The recording. It is not ``spoken`` if there is no speech in its sound and no lips move.

    Raises:
        MediaError: The file cannot be read, has neither a sound track nor lips, lacks the face or
            the track that is asked for by its number, or is no mouth video.
    """
    path = Path(path)
    info = face.probe_faces(path, tracks) if info is None else info
    warnings: list[str] = []
    waveform = track = None
    modality = usable_modality(info, modality, warnings, mouth=mouth, tracks=tracks)
    if modality != "video":
        waveform = _read_sound(path, info, warnings)
    has_sound = waveform is not None and not audio.is_silent(waveform)
    if modality != "audio" or (not has_sound and info.has_video):
        usable = waveform if has_sound else None
        if mouth:
            track = _read_mouth(path, info, usable, warnings)
        else:
            track = _read_lips(path, info, usable, choice, warnings, model)
        if track is None and waveform is None and info.has_audio:
            waveform = _read_sound(path, info, warnings)
            has_sound = waveform is not None and not audio.is_silent(waveform)
    if waveform is None and track is None:
        reasons = dict.fromkeys(warning.partition(", so ")[0] for warning in warnings)
        raise MediaError(f"{path}: nothing to transcribe: {'; '.join(reasons)}")
    recording = extend_lips(
        Recording(
            name=os.fspath(path),
            waveform=waveform if has_sound or track is None else None,
            mouth=None if track is None else track.mouth,
            track=track,
        )
    )
    spoken = is_spoken(recording)
    if not spoken:
        warnings.append(NO_SPEECH)
    elif not has_sound and modality != "video":
        warnings.append("the lips are read without sound")
    elif track is None and modality != "audio":
        warnings.append("the sound is transcribed without lips")
    elif recording.modality == "av":
        warnings += _name_end_of_sound(recording)
    return replace(recording, spoken=spoken, warnings=tuple(dict.fromkeys(warnings)))


def usable_modality(
    info: media.MediaInfo,
    modality: Modality,
    warnings: list[str],
    *,
    mouth: bool = False,
    tracks: media.Tracks = media.ANY_TRACKS,
) -> Modality:
    """Return ``modality``, or the one that the file has instead, with a warning.

    One rule for short and long recordings. A video of the size of a mouth video that is not read as
    one (``mouth``) is named, since a face may be found in it that is none. Of several tracks the
    one that is read is named, unless it is asked for (``tracks``).
    """
    if not mouth and modality != "audio" and face.is_mouth_size(info.width, info.height):
        warnings.append("the video may be a ready-made mouth video; --mouth reads it as one")
    if modality != "audio" and not info.has_video:
        warnings.append(f"{info.picture_problem}, so the sound is transcribed")
        modality = "audio"
    elif modality != "video" and not info.has_audio:
        warnings.append(f"{info.sound_problem}, so the lips are read")
        modality = "video"
    if modality != "video":
        warnings += describe_track(info, "sound", tracks)
    if modality != "audio":
        warnings += describe_track(info, "video", tracks)
    return modality


def describe_track(
    info: media.MediaInfo, kind: Literal["sound", "video"], asked: media.Tracks
) -> list[str]:
    """Which of several tracks of a kind is read; nothing if it was asked for."""
    count, number, silent = info.video_tracks, info.tracks.video, ""
    is_asked, option = asked.video is not None, "--video-track"
    if kind == "sound":
        count, number = info.sound_tracks, info.tracks.audio
        is_asked, option = asked.audio is not None, "--audio-track"
        silent = f", as {info.silent_track} is silent" if info.silent_track else ""
    if is_asked or count < 2:
        return []
    return [f"of {count} {kind} tracks, {number} is read{silent}; {option} chooses another"]


def asked_tracks(options: "TranscribeOptions") -> media.Tracks:
    """The tracks that the options ask for."""
    return media.Tracks(audio=options.audio_track, video=options.video_track)


def probe_recording(path: Path, options: "TranscribeOptions") -> media.MediaInfo:
    """Describe a file and the tracks of it that are read.

    Raises:
        MediaError: The file cannot be read, or lacks a track that is asked for.
    """
    if options.modality == "audio" or options.mouth:
        return media.probe(path, asked_tracks(options))
    return face.probe_faces(path, asked_tracks(options))


def _read_sound(path: Path, info: media.MediaInfo, warnings: list[str]) -> np.ndarray | None:
    """The sound track, (S,); with a warning if nothing can be heard in it. None without one."""
    if not info.has_audio:
        warnings.append(info.sound_problem)
        return None
    try:
        waveform = media.read_waveform(path, tracks=info.tracks, warn=warnings.append)
    except MediaError as error:  # the lips can still be read
        warnings.append(str(error).removeprefix(f"{path}: "))
        return None
    if audio.is_short(waveform):
        seconds = len(waveform) / SAMPLE_RATE
        limit = audio.MIN_SOUND_SECONDS
        warnings.append(f"the sound of {seconds:.2g} s is too short: at least {limit} s are needed")
    elif audio.is_silent(waveform):
        warnings.append("the sound track is silent")
    return waveform


def _name_end_of_sound(recording: Recording) -> list[str]:
    """A warning where the sound ends long before the lips."""
    assert recording.waveform is not None
    seconds = len(recording.waveform) / SAMPLE_RATE
    if recording.duration - seconds < NAMED_SECONDS:
        return []
    end = f"{seconds:.1f} of {recording.duration:.1f} s"
    return [f"the sound ends at {end}; the lips are read on without it"]


def _read_mouth(
    path: Path, info: media.MediaInfo, waveform: np.ndarray | None, warnings: list[str]
) -> "MouthTrack | None":
    """Read a mouth video; None, with a warning, where its lips cannot be read."""
    num_frames = 0 if waveform is None else count_frames(waveform)
    face.check_mouth_size(path, info.width, info.height)
    frames = prefetch(
        media.read_pictures(path, tracks=info.tracks, warn=warnings.append), PREFETCHED_FRAMES
    )
    with closing(frames):
        track = face.track_mouth_video(path, report_frames(frames, info.duration))
    usable, problem = check_lips(
        track, None, "auto", has_sound=waveform is not None, num_frames=num_frames, whole=True
    )
    if problem is not None:
        warnings.append(problem)
    return track if usable else None


def _read_lips(
    path: Path,
    info: media.MediaInfo,
    waveform: np.ndarray | None,
    choice: str,
    warnings: list[str],
    model: "AVSRModel | None",
) -> "MouthTrack | None":
    registry = face.FaceRegistry()
    frames = prefetch(
        media.read_pictures(path, tracks=info.tracks, warn=warnings.append), PREFETCHED_FRAMES
    )
    with closing(frames):
        faces = registry.number(face.track_faces(report_frames(frames, info.duration)))
    check_face_number(path, choice, registry)
    has_sound = waveform is not None
    num_frames = 0 if waveform is None else count_frames(waveform)
    if waveform is None and info.has_audio and len(faces.tracks) > 1:
        waveform = _read_sound(path, info, [])  # not transcribed, but tells who speaks
        waveform = None if waveform is None or audio.is_silent(waveform) else waveform
    track = choose_speaker(model, faces, choice, waveform)
    usable, problem = check_lips(
        track, faces, choice, has_sound=has_sound, num_frames=num_frames, whole=True
    )
    if problem is not None:
        warnings.append(problem)
    if not usable:
        return None
    count = len({face_track.number for face_track in faces.tracks})
    if count > 1 and choice == "auto":
        numbers = sorted(set(track.faces))
        listing = " and ".join(map(str, numbers))
        hint = "are read in turn; --face chooses one"
        if len(numbers) == 1:
            hint = "is read; --face chooses another"
        warnings.append(f"of {count} faces, {listing} {hint}")
    return track


def check_lips(
    track: "MouthTrack",
    faces: "FaceTracks | None",
    choice: str,
    *,
    has_sound: bool,
    num_frames: int = 0,
    whole: bool,
) -> tuple[bool, str | None]:
    """Whether the lips of a segment are read, and the reason against it or a warning.

    The rules for every segment, of short and long recordings: readable lips in at least half of
    the frames, with a warning below 80 %; a mouth that stays the same is read only where there is
    no sound. Of a ``whole`` recording the share is named; segments share one wording, so that it
    is said once. A mouth video has no ``faces``. In the frames up to ``num_frames``, those of the
    sound, that the picture does not have there are no lips.
    """
    readable = face.is_readable(track)
    missing = missing_frames(num_frames, len(readable))
    if missing and not len(readable):
        return False, PICTURE_ENDS
    share = float(readable.sum() / (len(readable) + missing)) if len(readable) else 0.0
    if share == 0.0 and not track.found.any():
        return False, "no frame can be read" if faces is None else why_no_lips(faces, choice)
    if has_sound and face.is_covered(track.mouth):
        return False, COVERED
    if share >= WARN_FACE_SHARE:
        return True, None
    usable = share >= MIN_FACE_SHARE
    if readable.mean() >= WARN_FACE_SHARE:
        return usable, PICTURE_ENDS
    amount = (
        f"{share:.0%}"
        if whole
        else f"less than {WARN_FACE_SHARE if usable else MIN_FACE_SHARE:.0%}"
    )
    reason = face.why_unreadable(track)
    if reason == "lost":
        return usable, f"a face was found in {amount} of the frames only"
    cause = {"turned": TURNED, "covered": COVERED}[reason]
    return usable, cause if share == 0.0 else f"{cause}: {amount} of the frames can be read"


def why_no_lips(faces: "FaceTracks", choice: str) -> str:
    """Why no face of a recording was chosen."""
    if not faces.tracks:
        return "no face was found in any frame"
    if choice.isdecimal():
        return f"face {choice} is not in the picture"
    if all(face.is_small(track) for track in faces.tracks):
        return f"the face is too small to read its lips (under {face.MIN_HEIGHT:.0f} px tall)"
    if any(face.find_covered(track.mouth).mean() > MIN_FACE_SHARE for track in faces.tracks):
        return COVERED
    return "no mouth moves: the face is a still picture, or it does not speak"


def check_face_number(path: Path, choice: str, registry: "FaceRegistry") -> None:
    """Raise MediaError if the face that is asked for by its number never came."""
    count = registry.count
    if choice.isdecimal() and int(choice) > count:
        known = {0: "no face was found", 1: "the only face is 1"}
        listing = known.get(count, f"they are 1 to {count}")
        raise MediaError(f"{path}: there is no face {choice}: {listing}")
