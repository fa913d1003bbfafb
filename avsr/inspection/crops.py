"""What the model sees of a video, for a person to judge: crops, landmarks, numbers per frame.

The recording is read twice side by side, once to track the face and once, a part later, to draw
upon: no frame waits in memory, however long the recording is.

Faces have the numbers that they have in a transcription: a recording that is transcribed part by
part is tracked in the same parts, and between them faces are known again but get no new numbers.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avsr import media
from avsr.audio import Span, rms, speech_probs, speech_spans
from avsr.errors import MediaError
from avsr.face import (
    FaceRegistry,
    FaceTracks,
    MouthTrack,
    choose_face,
    track_faces,
)
from avsr.hub import load_network
from avsr.inspection.overlay import (
    LONGER_SIDE,
    ContactSheet,
    colour_of,
    draw_faces,
    draw_landmarks,
    draw_overlay,
)
from avsr.inspection.quality import PROBLEMS, Diagnosis, diagnose
from avsr.model.network import AVSRModel
from avsr.rates import FPS, MAX_SEGMENT_SECONDS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.av_agreement import choose_speaker
from avsr.recognition.reading import check_face_number
from avsr.recognition.recording import SILENCE_RMS
from avsr.recognition.segmentation import even_spans
from avsr.runtime.atomic_files import atomic_write

PART_FRAMES = round(
    MAX_SEGMENT_SECONDS * FPS
)  # tracked at a time; transcription takes no longer parts
MOUTH_CRF = 12  # nearly lossless: the blur to be judged is the crop's, not the encoder's

ENDINGS = (".mouth.mp4", ".overlay.mp4", ".sheet.png", ".json")
"""Of the four files of a video; the last one is written last."""


@dataclass(frozen=True, kw_only=True)
class CropReport:
    """What came out for one video."""

    file: str
    num_frames: int
    """At 25 a second."""
    num_found: int
    """Frames in which the face was seen."""
    num_tracks: int
    problems: Mapping[str, int]
    """Frames that have each problem of ``Diagnosis.problems``."""
    num_doubtful: int
    """Frames that have any problem."""
    sheet: Path

    @property
    def found(self) -> float:
        """Share of the frames in which the face was seen."""
        return self.num_found / self.num_frames

    def __str__(self) -> str:
        tracks = "1 track" if self.num_tracks == 1 else f"{self.num_tracks} tracks"
        named = ", ".join(f"{count} {name}" for name, count in self.problems.items() if count)
        return f"{self.num_frames} frames, face seen in {100 * self.found:.1f} %, {tracks}, " + (
            f"{self.num_doubtful} doubtful ({named})" if named else "none doubtful"
        )


def crop_video(
    path: str | os.PathLike[str],
    stem: Path,
    *,
    warn: media.Warn,
    progress: Callable[[float, float], None] = lambda done, total: None,
    choice: str = "auto",
) -> CropReport:
    """Write the mouth video, overlay video, contact sheet and diagnostics of one video.

    ``stem`` is the path of the four files without their endings (``ENDINGS``). ``progress`` gets
    seconds done and in all; ``choice`` is the face, as in ``TranscribeOptions.face``. The files
    appear at the end, when all are complete. Raises MediaError if the video cannot be read, has no
    picture, or no such face, or a file cannot be written.
    """
    path = Path(path)
    info = media.probe(path)
    if not info.has_video:
        raise MediaError(f"{path}: has no video")
    try:
        return _write(path, info, stem, choice, warn, progress)
    except OSError as error:
        name = error.filename2 or error.filename or stem
        raise MediaError(f"{name}: cannot be written ({error.strerror})") from error


def _write(
    path: Path,
    info: media.MediaInfo,
    stem: Path,
    choice: str,
    warn: media.Warn,
    progress: Callable[[float, float], None],
) -> CropReport:
    mouth_path, overlay_path, sheet_path, json_path = crop_paths(stem)
    with ExitStack() as files:
        # Closed in reverse: where the diagnostics are, the rest is.
        rows = _Rows(files.enter_context(atomic_write(json_path)), files)
        sheet_part = files.enter_context(atomic_write(sheet_path))
        add_overlay = files.enter_context(media.open_video(overlay_path))
        add_mouth = files.enter_context(media.open_video(mouth_path, crf=MOUTH_CRF))
        sheet = ContactSheet()
        shown = media.read_frames(path, max_side=LONGER_SIDE, warn=lambda message: None)
        for part in _tracked(path, info, choice, warn):
            track = part.track
            rows.begin(path, part.size)
            found = diagnose(track)
            frames = islice(shown, len(found))
            for i, (frame, diagnosis) in enumerate(zip(frames, found, strict=True)):
                ratio = frame.shape[1] / part.size[0]
                place = track.landmarks[i], track.matrices[i]
                picture = draw_landmarks(frame, *place, ratio, colour_of(diagnosis))
                there = _faces_at(part.faces, i)
                number = int(part.named[i]) or None
                if len(there) > 1:
                    draw_faces(picture, there, number, picture.shape[1] / part.size[0])
                add_mouth(track.mouth[i])
                add_overlay(draw_overlay(picture, track.mouth[i], diagnosis, rows.num_frames))
                sheet.add(picture, track.mouth[i], diagnosis, rows.num_frames)
                rows.add(diagnosis, number, there)
            progress(rows.num_frames / FPS, info.duration)
        report = rows.finish(path, sheet_path)
        if not report.num_found:
            warn("no face was found")
        sheet.save(sheet_part, path.name, str(report))
    return report


def crop_paths(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + ending) for ending in ENDINGS]


@dataclass(frozen=True, eq=False)
class _Part:
    """What is known of a part of the recording."""

    size: tuple[int, int]  # width and height of its frames, px
    track: MouthTrack
    named: NDArray[np.int_]  # (T,) number of the chosen face, 0 where none is
    faces: FaceTracks


@dataclass(frozen=True)
class _Stretch:
    """Frames that are tracked together, and the samples that belong to them."""

    num_frames: int | None  # None: all that are left
    samples: Span | None  # None: as many as the frames last
    transcribed: bool


def _stretches(path: Path, info: media.MediaInfo) -> Iterator[_Stretch]:
    """The parts that a transcription takes, those between them, and at the end without end."""
    if info.duration <= MAX_SEGMENT_SECONDS:
        yield _Stretch(None, None, True)
        return
    spans: list[Span] = []
    if info.has_audio:
        sound = media.stream_waveform(path, warn=lambda message: None)
        spans = list(speech_spans(prob for prob, _ in speech_probs(sound)))
    at = 0
    for span in spans or even_spans(info.duration):
        first, last = (round(edge / SAMPLE_RATE * FPS) for edge in (span.start, span.end))
        while at < first:
            yield _Stretch(min(PART_FRAMES, first - at), None, False)
            at = min(at + PART_FRAMES, first)
        yield _Stretch(last - at, span, True)
        at = last
    while True:
        yield _Stretch(PART_FRAMES, None, False)


class _Sound:
    """Reads a sound track from the first to the last sample."""

    def __init__(self, chunks: Iterator[np.ndarray]) -> None:
        self.chunks, self.kept, self.first = chunks, np.zeros(0, np.float32), 0

    def take(self, start: int, end: int) -> np.ndarray | None:
        """The samples ``start`` to ``end`` (S,), as far as they are there; None: none are."""
        while self.first + len(self.kept) < end and (chunk := next(self.chunks, None)) is not None:
            self.kept = np.concatenate([self.kept, chunk])
        taken = self.kept[max(0, start - self.first) : max(0, end - self.first)]
        keep = min(start, self.first + len(self.kept))
        self.kept, self.first = self.kept[max(0, keep - self.first) :], max(keep, self.first)
        return taken if len(taken) else None


@functools.cache
def _bundled() -> AVSRModel:
    return load_network()


def _tracked(path: Path, info: media.MediaInfo, choice: str, warn: media.Warn) -> Iterator[_Part]:
    """The faces of each part of the recording.

    Tracks are numbered on through all of them. Where nobody speaks the largest face is shown.
    """
    frames = media.read_pictures(path, warn=warn)
    sound = _Sound(media.stream_waveform(path, warn=warn) if info.has_audio else iter(()))
    cast = FaceRegistry()
    before, last, position = -1, -1, 0  # the face at the end of the part before, and its track
    for part in _stretches(path, info):
        own = islice(frames, part.num_frames)
        if (first := next(own, None)) is None:
            break
        faces = track_faces(chain([first], own))
        faces = cast.number(faces) if part.transcribed else cast.recall(faces)
        span = part.samples or Span(
            position * SAMPLES_PER_FRAME, (position + faces.num_frames) * SAMPLES_PER_FRAME
        )
        position += faces.num_frames
        waveform = sound.take(span.start, span.end)
        if waveform is not None and rms(waveform) < SILENCE_RMS:
            waveform = None
        # As in a transcription; the bundled model is loaded only if it is asked.
        track = choose_speaker(_bundled, faces, choice, waveform)
        if choice == "auto" and not track.found.any():
            track = choose_face(faces, "largest", None)
        numbers = track.faces or (0,) * (int(track.tracks.max(initial=-1)) + 1)
        goes_on = track.tracks[0] >= 0 and before == numbers[0] > 0
        shift = last if goes_on else last + 1
        numbered = np.where(track.tracks >= 0, track.tracks + shift, -1)
        named = np.array([*numbers, 0])[track.tracks]
        size = first.width, first.height
        yield _Part(size, replace(track, tracks=numbered), named, faces)
        before = numbers[-1] if track.tracks[-1] >= 0 else -1
        last = max(last, int(numbered.max()))
    check_face_number(path, choice, cast)


def _faces_at(faces: FaceTracks, index: int) -> dict[int, NDArray[np.float32]]:
    """The boxes x, y, w, h (4,) of the faces that are seen in a frame, by number."""
    return {
        track.number: track.boxes[index - track.start]
        for track in faces.tracks
        if track.number and track.start <= index < track.end and track.found[index - track.start]
    }


def _rounded(box: Iterable[float]) -> list[float]:
    return [round(float(value), 1) for value in box]


class _Rows:
    """The diagnostics as JSON, one frame a line, written and counted as they come."""

    def __init__(self, path: Path, files: ExitStack) -> None:
        self.file: IO[str] = files.enter_context(path.open("w", encoding="utf-8"))
        self.begun = False
        self.num_frames = self.num_found = self.num_doubtful = 0
        self.last_track = -1
        self.problems = dict.fromkeys(PROBLEMS, 0)

    def begin(self, path: Path, size: tuple[int, int]) -> None:
        """What comes before the frames; later calls do nothing."""
        if not self.begun:
            head = {"file": os.fspath(path), "fps": FPS, "width": size[0], "height": size[1]}
            self.file.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"frames": [')
        self.begun = True

    def add(self, d: Diagnosis, face: int | None, faces: Mapping[int, NDArray[np.float32]]) -> None:
        """The next frame: the number of the face that was chosen, and the boxes of all faces."""
        index = self.num_frames
        row = {
            "frame": index,
            "time": index / FPS,
            "found": d.found,
            "track": d.track,
            "box": None if d.box is None else _rounded(d.box),
            "scale": None if d.scale is None else round(d.scale, 4),
            "angle": None if d.angle is None else round(d.angle, 2),
            "blur": None if d.blur is None else round(d.blur, 3),
            "turn": None if d.turn is None else round(d.turn, 3),
            "problems": d.problems,
            "face": face,
            "others": {n: _rounded(box) for n, box in faces.items() if n != face},
        }
        self.file.write((",\n" if index else "\n") + json.dumps(row))
        self.num_frames += 1
        self.num_found += d.found
        self.num_doubtful += bool(d.problems)
        self.last_track = max(self.last_track, -1 if d.track is None else d.track)
        for problem in d.problems:
            self.problems[problem] += 1

    def finish(self, path: Path, sheet: Path) -> CropReport:
        """What comes after the frames."""
        report = CropReport(
            file=os.fspath(path),
            num_frames=self.num_frames,
            num_found=self.num_found,
            num_tracks=self.last_track + 1,
            problems=self.problems,
            num_doubtful=self.num_doubtful,
            sheet=sheet,
        )
        summary = {
            "num_frames": report.num_frames,
            "found": round(report.found, 4),
            "num_tracks": report.num_tracks,
            "num_doubtful": report.num_doubtful,
            "problems": report.problems,
        }
        self.file.write('\n],\n"summary": ' + json.dumps(summary) + "}\n")
        return report
