"""A recording in memory: its sound at 16 kHz, and the mouth of the face that speaks."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from avsr import audio, face
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.transcript import FaceSpan, Modality

if TYPE_CHECKING:
    from avsr.face import MouthTrack
    from avsr.recognition.senses import Senses

# Frames by which sound and picture of one length may differ: codecs fill up their last packet.
LOOSE_FRAMES = 4
COVERED = "something covers the mouth"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Sound and lips of a recording, or of a segment of one, ready for the network."""

    name: str
    """The recording as the caller named it."""
    waveform: np.ndarray | None
    """(S,) float32 in [-1, 1] at 16 kHz; None without usable sound."""
    mouth: np.ndarray | None
    """(T, 96, 96) uint8 at 25 Hz; None without usable lips."""
    visual: torch.Tensor | None = None
    """(T, C) outputs of the model's visual front end for ``mouth``, if computed."""
    senses: "Senses | None" = None
    """The model's encodings of its sound alone and of its lips alone, if computed."""
    reason: str = ""
    """Why it is read from less than it has; empty if it is not."""
    track: "MouthTrack | None" = None
    """Faces, boxes and landmarks that ``mouth`` was cut by."""
    warnings: tuple[str, ...] = ()
    """What went otherwise than asked for."""
    spoken: bool = True
    """Whether anybody may speak in it: there is speech in its sound, or its lips move. Otherwise it
    has no words."""

    @property
    def modality(self) -> Modality:
        """Which of sound and lips it has."""
        if self.waveform is None:
            return "video"
        return "audio" if self.mouth is None else "av"

    @property
    def num_frames(self) -> int:
        """Length in video frames: of the lips if it has them, else of the sound."""
        if self.mouth is not None:
            return len(self.mouth)
        assert self.waveform is not None
        return count_frames(self.waveform)

    @property
    def duration(self) -> float:
        """Length in seconds: of the longer one of sound and lips."""
        sound = 0 if self.waveform is None else len(self.waveform)
        frames = 0 if self.mouth is None else len(self.mouth)
        return max(sound / SAMPLE_RATE, frames / FPS)

    def faces(self, start: float = 0.0) -> tuple[FaceSpan, ...]:
        """Whose lips were read from when to when; ``start`` is its own start in seconds."""
        if self.track is None:
            return ()
        readable = face.is_readable(self.track)
        return tuple(
            FaceSpan(
                face=number,
                start=start + first / FPS,
                end=start + last / FPS,
                num_frames=last - first,
                num_found=int(readable[first:last].sum()),
            )
            for number, first, last in self.track.spans()
            if number
        )


def missing_frames(num_frames: int, num_found: int) -> int:
    """Frames that a picture of ``num_found`` frames lacks beside a sound of ``num_frames``.

    None where it may be the rest of the sound's last packet.
    """
    missing = num_frames - num_found
    return missing if missing > LOOSE_FRAMES else 0


def extend_lips(recording: Recording) -> Recording:
    """Let the last crop stand to the end of the sound, where that goes on after the picture.

    A sentence cut in two where its picture ends has many more wrong words (GRID: 37 %, not 1 %).
    """
    if recording.waveform is None or recording.mouth is None or not len(recording.mouth):
        return recording
    missing = missing_frames(count_frames(recording.waveform), len(recording.mouth))
    if not missing:
        return recording
    visual = recording.visual
    if visual is not None:
        visual = torch.cat([visual, visual[-1:].expand(missing, -1)])
    mouth = np.pad(recording.mouth, ((0, missing), (0, 0), (0, 0)), mode="edge")
    return replace(recording, mouth=mouth, visual=visual)


def is_spoken(recording: Recording) -> bool:
    """Whether anybody may speak in a recording: its lips move, or there is speech in its sound."""
    if recording.mouth is not None and face.lips_move(recording.mouth, recording.track):
        return True
    return recording.waveform is not None and audio.has_speech(recording.waveform)


def count_frames(waveform: np.ndarray) -> int:
    """Length of a waveform (S,) in video frames, the last one perhaps in part; one at least."""
    return max(1, -(-len(waveform) // SAMPLES_PER_FRAME))


def split_recording(recording: Recording, frame: int) -> tuple[Recording, Recording]:
    """Cut a recording in two before ``frame``."""
    return cut_recording(recording, 0, frame), cut_recording(recording, frame, recording.num_frames)


def cut_recording(recording: Recording, first: int, last: int) -> Recording:
    """Return the frames ``first`` to ``last`` (exclusive) of a recording, with their samples."""
    sound, mouth, visual = recording.waveform, recording.mouth, recording.visual
    if sound is not None:
        until = len(sound) if last == recording.num_frames else last * SAMPLES_PER_FRAME
        sound = sound[first * SAMPLES_PER_FRAME : until]
    return replace(
        recording,
        waveform=sound,
        mouth=None if mouth is None else mouth[first:last],
        visual=None if visual is None else visual[first:last],
        senses=None,
        track=None if recording.track is None else _cut_track(recording.track, first, last),
    )


def _cut_track(track: "MouthTrack", first: int, last: int) -> "MouthTrack":
    before = track.tracks[first:last]
    indices, numbers = np.unique(before[before >= 0], return_inverse=True)
    tracks = np.full_like(before, -1)
    tracks[before >= 0] = numbers
    return replace(
        track,
        mouth=track.mouth[first:last],
        found=track.found[first:last],
        boxes=track.boxes[first:last],
        tracks=tracks,
        landmarks=track.landmarks[first:last],
        matrices=track.matrices[first:last],
        faces=tuple(track.faces[number] for number in indices) if track.faces else (),
    )
