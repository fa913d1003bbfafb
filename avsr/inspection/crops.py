"""Write the model's visual input for inspection: crops, landmarks and numbers for each frame.

The recording is read twice side by side: once to track the faces and, one part later, once more to
draw on its frames. So no frames pile up in memory, however long the recording is.

Faces have the same numbers as in a transcription. A recording that is transcribed part by part is
tracked in the same parts; between these parts faces are recognized but get no new numbers.
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
from avsr.audio import Span, is_silent
from avsr.errors import MediaError
from avsr.face import (
    FaceRegistry,
    FaceTracks,
    MouthTrack,
    choose_face,
    probe_faces,
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
from avsr.media.clock import each_once
from avsr.model.network import AVSRModel
from avsr.rates import FPS, MAX_SEGMENT_SECONDS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.av_agreement import choose_speaker
from avsr.recognition.reading import check_face_number, describe_track
from avsr.recognition.spans import list_spans
from avsr.runtime.atomic_files import atomic_write

PART_FRAMES = round(MAX_SEGMENT_SECONDS * FPS)  # tracked at a time between transcribed parts
MOUTH_CRF = 12  # nearly lossless: visible blur is the crop's, not the encoder's

ENDINGS = (".mouth.mp4", ".overlay.mp4", ".sheet.png", ".json")
"""Endings of the four files of a video; the last one is written last."""


@dataclass(frozen=True, kw_only=True)
class CropReport:
    """Summary of the crops of one video.

    Attributes:
        file: Path of the video.
        num_frames: Frames at 25 fps.
        num_found: Frames in which the face was detected.
        num_tracks: Tracks of the face.
        problems: Number of frames with each problem of ``Diagnosis.problems``.
        num_doubtful: Frames with at least one problem.
        sheet: Path of the contact sheet.
    """

    file: str
    num_frames: int
    num_found: int
    num_tracks: int
    problems: Mapping[str, int]
    num_doubtful: int
    sheet: Path

    @property
    def found(self) -> float:
        """Share of the frames in which the face was detected."""
        return self.num_found / self.num_frames

    def __str__(self) -> str:
        tracks = "1 track" if self.num_tracks == 1 else f"{self.num_tracks} tracks"
        counts = ", ".join(f"{count} {name}" for name, count in self.problems.items() if count)
        return f"{self.num_frames} frames, face seen in {100 * self.found:.1f} %, {tracks}, " + (
            f"{self.num_doubtful} doubtful ({counts})" if counts else "none doubtful"
        )


def crop_video(
    path: str | os.PathLike[str],
    stem: Path,
    *,
    warn: media.Warn,
    progress: Callable[[float, float], None] = lambda done, total: None,
    choice: str = "auto",
    tracks: media.Tracks = media.ANY_TRACKS,
) -> CropReport:
    """Write the mouth video, overlay video, contact sheet and diagnostics of one video.

    The files appear at the end, when all are complete.

    Args:
        path: The video.
        stem: Path of the four files without their endings (``ENDINGS``).
        warn: Called with a line for everything that could not be read, or if no face was found.
        progress: Called with seconds done and seconds in all.
        choice: The face to show, as in ``TranscribeOptions.face``.
        tracks: The tracks that are asked for.

    Returns:
        A summary.

    Raises:
        MediaError: The video cannot be read, it has no video stream, no such face or no such track,
            or a file cannot be written.
    """
    path = Path(path)
    info = probe_faces(path, tracks)
    if not info.has_video:
        raise MediaError(f"{path}: has no video that can be read: {info.picture_problem}")
    for message in describe_track(info, "video", tracks):
        warn(message)
    try:
        return _write(path, info, stem, choice, each_once(warn), progress)
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
        # Closed in reverse order: if the diagnostics exist, so do the other files.
        rows = _Rows(files.enter_context(atomic_write(json_path)), files)
        sheet_part = files.enter_context(atomic_write(sheet_path))
        add_overlay = files.enter_context(media.open_video(overlay_path))
        add_mouth = files.enter_context(media.open_video(mouth_path, crf=MOUTH_CRF))
        sheet = ContactSheet()
        frames = media.read_frames(
            path, max_side=LONGER_SIDE, tracks=info.tracks, warn=lambda message: None
        )
        for part in _track_parts(path, info, choice, warn):
            rows.begin(path, part.size)
            diagnoses = diagnose(part.track)
            part_frames = islice(frames, len(diagnoses))
            for i, (frame, diagnosis) in enumerate(zip(part_frames, diagnoses, strict=True)):
                image, mouth = _draw_frame(frame, part, i, diagnosis), part.track.mouth[i]
                add_mouth(mouth)
                add_overlay(draw_overlay(image, mouth, diagnosis, rows.num_frames))
                sheet.add(image, mouth, diagnosis, rows.num_frames)
                rows.add(diagnosis, part.face_at(i), _faces_at(part.faces, i))
            progress(rows.num_frames / FPS, info.duration)
        report = rows.finish(path, sheet_path)
        if not report.num_found:
            warn("no face was found")
        sheet.save(sheet_part, path.name, str(report))
    return report


def _draw_frame(
    frame: NDArray[np.uint8], part: "_TrackedPart", i: int, diagnosis: Diagnosis
) -> NDArray[np.uint8]:
    """Draw landmarks, crop and faces into frame ``i`` of a part, which may be reduced."""
    width, _ = part.size
    landmarks, matrix = part.track.landmarks[i], part.track.matrices[i]
    ratio = frame.shape[1] / width
    image = draw_landmarks(frame, landmarks, matrix, ratio, colour_of(diagnosis))
    boxes = _faces_at(part.faces, i)
    if len(boxes) > 1:
        draw_faces(image, boxes, part.face_at(i), image.shape[1] / width)
    return image


def crop_paths(stem: Path) -> list[Path]:
    """Return the paths of the four files of a video, in the order of ``ENDINGS``."""
    return [stem.with_name(stem.name + ending) for ending in ENDINGS]


@dataclass(frozen=True, eq=False)
class _TrackedPart:
    """The faces of a part of the recording."""

    size: tuple[int, int]  # width and height of its frames, px
    track: MouthTrack
    numbers: NDArray[np.int_]  # (T,) number of the chosen face, 0 where none is
    faces: FaceTracks

    def face_at(self, index: int) -> int | None:
        """Return the number of the chosen face in a frame."""
        return int(self.numbers[index]) or None


@dataclass(frozen=True)
class _Part:
    """Frames that are tracked together, and the samples that belong to them."""

    num_frames: int | None  # None: all remaining ones
    samples: Span | None  # None: those of the frames
    transcribed: bool


def _split_parts(path: Path, info: media.MediaInfo) -> Iterator[_Part]:
    """Yield the parts that a transcription has and those between them; without end at the end."""
    if info.duration <= MAX_SEGMENT_SECONDS:
        yield _Part(None, None, True)
        return
    position = 0
    for span in list_spans(path, info, MAX_SEGMENT_SECONDS):
        first, last = (round(edge / SAMPLE_RATE * FPS) for edge in (span.start, span.end))
        while position < first:
            yield _Part(min(PART_FRAMES, first - position), None, False)
            position = min(position + PART_FRAMES, first)
        yield _Part(last - position, span, True)
        position = last
    while True:
        yield _Part(PART_FRAMES, None, False)


class _WaveformReader:
    """Reads spans of a stream of samples, in order."""

    def __init__(self, chunks: Iterator[np.ndarray]) -> None:
        self.chunks, self.buffer, self.first = chunks, np.zeros(0, np.float32), 0

    def take(self, start: int, end: int) -> np.ndarray | None:
        """Return the samples ``start`` to ``end`` (S,), fewer at the end of all; None: no more."""
        while (
            self.first + len(self.buffer) < end and (chunk := next(self.chunks, None)) is not None
        ):
            self.buffer = np.concatenate([self.buffer, chunk])
        samples = self.buffer[max(0, start - self.first) : max(0, end - self.first)]
        keep = min(start, self.first + len(self.buffer))
        self.buffer, self.first = self.buffer[max(0, keep - self.first) :], max(keep, self.first)
        return samples if len(samples) else None


@functools.cache
def _bundled() -> AVSRModel:
    return load_network()


def _track_parts(
    path: Path, info: media.MediaInfo, choice: str, warn: media.Warn
) -> Iterator[_TrackedPart]:
    """Track the faces of each part of the recording and choose one.

    Numbers of tracks go on from part to part. If nobody speaks the largest face is chosen.
    """
    frames = media.read_pictures(path, tracks=info.tracks, warn=warn)
    sound: Iterator[np.ndarray] = iter(())
    if info.has_audio:
        sound = media.stream_waveform(path, tracks=info.tracks, warn=warn)
    reader = _WaveformReader(sound)
    registry = FaceRegistry()
    last_face, last_track, position = -1, -1, 0  # at the end of the previous part
    for part in _split_parts(path, info):
        part_frames = islice(frames, part.num_frames)
        if (first := next(part_frames, None)) is None:
            break
        faces = track_faces(chain([first], part_frames))
        faces = registry.number(faces) if part.transcribed else registry.recall(faces)
        span = part.samples or Span(
            position * SAMPLES_PER_FRAME, (position + faces.num_frames) * SAMPLES_PER_FRAME
        )
        position += faces.num_frames
        waveform = reader.take(span.start, span.end)
        if waveform is not None and is_silent(waveform):
            waveform = None
        # As in a transcription; the bundled model is loaded only if the choice needs it.
        track = choose_speaker(_bundled, faces, choice, waveform)
        if choice == "auto" and not track.found.any():
            track = choose_face(faces, "largest", None)
        numbers = track.faces or (0,) * (int(track.tracks.max(initial=-1)) + 1)
        goes_on = track.tracks[0] >= 0 and last_face == numbers[0] > 0
        shift = last_track if goes_on else last_track + 1
        shifted = np.where(track.tracks >= 0, track.tracks + shift, -1)
        chosen_numbers = np.array([*numbers, 0])[track.tracks]
        size = first.width, first.height
        yield _TrackedPart(size, replace(track, tracks=shifted), chosen_numbers, faces)
        last_face = numbers[-1] if track.tracks[-1] >= 0 else -1
        last_track = max(last_track, int(shifted.max()))
    check_face_number(path, choice, registry)


def _faces_at(faces: FaceTracks, index: int) -> dict[int, NDArray[np.float32]]:
    """Return the boxes x, y, w, h (4,) of the faces detected in a frame, by face number."""
    return {
        track.number: track.boxes[index - track.start]
        for track in faces.tracks
        if track.number and track.start <= index < track.end and track.found[index - track.start]
    }


def _rounded(box: Iterable[float]) -> list[float]:
    return [round(float(value), 1) for value in box]


class _Rows:
    """Writes the diagnostics as JSON, one frame per line, and counts them for the summary."""

    def __init__(self, path: Path, files: ExitStack) -> None:
        # Names of files may hold bytes that are no text.
        opened = path.open("w", encoding="utf-8", errors="replace")
        self.file: IO[str] = files.enter_context(opened)
        self.has_head = False
        self.num_frames = self.num_found = self.num_doubtful = 0
        self.last_track = -1
        self.problems = dict.fromkeys(PROBLEMS, 0)

    def begin(self, path: Path, size: tuple[int, int]) -> None:
        """Write what comes before the frames; later calls do nothing."""
        if not self.has_head:
            head = {"file": os.fspath(path), "fps": FPS, "width": size[0], "height": size[1]}
            self.file.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"frames": [')
        self.has_head = True

    def add(self, d: Diagnosis, face: int | None, faces: Mapping[int, NDArray[np.float32]]) -> None:
        """Write the next frame, with the number of the chosen face and the boxes of all faces."""
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
        """Write what comes after the frames."""
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
