"""Reading a recording: the sound of a media file, and the lips of the face that speaks."""

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr import audio, face, media
from avsr.audio import vowel_level
from avsr.errors import MediaError
from avsr.recognition.av_agreement import lips_agreement
from avsr.recognition.recording import COVERED, SILENCE_RMS, Recording
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import report_frames
from avsr.transcript import Modality

if TYPE_CHECKING:
    from avsr.face import FaceRegistry, FaceTracks, MouthTrack
    from avsr.model.network import AVSRModel

DECODED_AHEAD = 4  # pictures that wait while the ones before are searched for faces
FEW_FACES = 0.8  # share of frames with a face below which the transcript says so


def read_recording(
    path: str | os.PathLike[str],
    modality: Modality = "av",
    choice: str = "auto",
    model: "AVSRModel | None" = None,
) -> Recording:
    """Read sound and lips of a media file, falling back to the one that is there.

    ``choice`` says whose lips, as ``TranscribeOptions.face``; ``model`` is asked who speaks where
    several mouths move. Raises MediaError for a file that
    cannot be read, has neither, or not the face that is asked for by its number.
    """
    path = Path(path)
    info = media.probe(path)
    notes: list[str] = []
    waveform = track = None
    modality = usable_modality(info, modality, notes)
    if modality != "video":
        waveform = _read_sound(path, info.has_audio, notes)
    if modality != "audio" or (waveform is None and info.has_video):
        track = _read_lips(path, info, waveform, choice, notes, model)
        if track is None and waveform is None and modality == "video":
            waveform = _read_sound(path, info.has_audio, notes)
    if track is not None and waveform is not None and face.is_covered(track.mouth):
        notes.append(COVERED)
        track = None
    if waveform is None and track is None:
        raise MediaError(f"{path}: nothing to transcribe: {'; '.join(dict.fromkeys(notes))}")
    if waveform is None and modality != "video":
        notes.append("the lips are read without sound")
    if track is None and modality != "audio":
        notes.append("the sound is transcribed without lips")
    return Recording(
        name=os.fspath(path),
        waveform=waveform,
        mouth=None if track is None else track.mouth,
        track=track,
        warnings=tuple(dict.fromkeys(notes)),
    )


def usable_modality(info: media.MediaInfo, asked: Modality, notes: list[str]) -> Modality:
    """What is asked for, or the sense that the file has instead; ``notes`` are told why."""
    if asked == "video" and not info.has_video:
        notes.append("there is no picture, so the sound is transcribed")
        return "audio"
    if asked == "audio" and not info.has_audio:
        notes.append("there is no sound track, so the lips are read")
        return "video"
    if info.sound_tracks > 1 and asked != "video":
        notes.append(f"of {info.sound_tracks} sound tracks the default or first one is read")
    return asked


def _read_sound(path: Path, has_audio: bool, notes: list[str]) -> np.ndarray | None:
    if not has_audio:
        notes.append("there is no sound track")
        return None
    waveform = media.read_waveform(path, warn=notes.append)
    if audio.rms(waveform) < SILENCE_RMS:
        notes.append("the sound track is silent")
        return None
    return waveform


def _read_lips(
    path: Path,
    info: media.MediaInfo,
    waveform: np.ndarray | None,
    choice: str,
    notes: list[str],
    model: "AVSRModel | None",
) -> "MouthTrack | None":
    if not info.has_video:
        notes.append("there is no picture")
        return None
    cast = face.FaceRegistry()
    with closing(prefetch(media.read_pictures(path, warn=notes.append), DECODED_AHEAD)) as pictures:
        faces = cast.number(face.track_faces(report_frames(pictures, info.duration)))
    check_seen(path, choice, cast)
    if waveform is None and info.has_audio and len(faces.tracks) > 1:
        # What is not to be transcribed still tells who speaks.
        waveform = _read_sound(path, info.has_audio, [])
    level = None if waveform is None else vowel_level(waveform)
    agree = None if model is None else lips_agreement(model, waveform)
    track = face.choose_face(faces, choice, level, agree)
    share = float(face.is_readable(track).mean()) if faces.num_frames else 0.0
    if share == 0.0:
        notes.append(why_no_lips(faces, choice))
        return None
    if share < FEW_FACES:
        notes.append(f"a face was found in {share:.0%} of the frames only")
    count = len({one.number for one in faces.tracks})
    if count > 1 and choice == "auto":
        read = sorted(set(track.faces))
        listed = " and ".join(map(str, read))
        how = "are read in turn; --face chooses one"
        if len(read) == 1:
            how = "is read; --face chooses another"
        notes.append(f"of {count} faces, {listed} {how}")
    return track


def why_no_lips(faces: "FaceTracks", choice: str) -> str:
    """What to say of a recording in which there is no face to be read."""
    if not faces.tracks:
        return "no face was found in any frame"
    if choice.isdecimal():
        return f"face {choice} is not in the picture"
    if all(face.is_small(track) for track in faces.tracks):
        return f"the face is too small to read its lips (under {face.MIN_HEIGHT:.0f} px tall)"
    if any(face.is_still(track) for track in faces.tracks):
        return "no mouth moves: the face is a still picture, or it does not speak"
    return "the face is turned away"


def check_seen(path: Path, choice: str, cast: "FaceRegistry") -> None:
    """Raise MediaError if the face that is asked for by its number never came."""
    count = cast.count
    if choice.isdecimal() and int(choice) > count:
        there = {0: "no face was found", 1: "the only face is 1"}
        known = there.get(count, f"they are 1 to {count}")
        raise MediaError(f"{path}: there is no face {choice}: {known}")
