"""What the model sees of a video, for a person to judge: crops, landmarks, numbers per frame.

The recording is read twice side by side, once to track the face and once, a part later, to draw
upon: no frame waits in memory, however long the recording is.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avsr import media
from avsr.delivery import check_target, is_done, name_files
from avsr.errors import MediaError
from avsr.face import Diagnosis, MouthTrack, diagnose, track_mouth
from avsr.face.diagnosis import PROBLEMS
from avsr.face.drawing import LONGER_SIDE, ContactSheet, colour_of, draw_landmarks, draw_overlay
from avsr.files import replacing
from avsr.pipeline import LONG_SECONDS
from avsr.rates import FPS

PART_FRAMES = round(LONG_SECONDS * FPS)  # tracked at a time; transcription takes no longer parts
SAME_PLACE = 0.5  # sizes of a face within which it goes on after the end of a part

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


def plan_crops(
    videos: Sequence[str], folder: str, places: Mapping[str, Path] | None = None
) -> dict[str, Path]:
    """The path of each video's files without their endings; makes the folders.

    ``places`` are those of ``avsr.inputs``. Raises ConfigError where two videos have one place or
    a file cannot be written.
    """
    named = name_files(videos, folder, ENDINGS[-1], places)
    stems = {
        video: path.with_name(path.name.removesuffix(ENDINGS[-1])) for video, path in named.items()
    }
    for stem in stems.values():
        for path in _paths(stem):
            check_target(path, videos)
    return stems


def is_cropped(video: str, stem: Path) -> bool:
    """Whether the files of ``crop_video`` were written after ``video``."""
    return all(is_done(video, path) for path in _paths(stem))


def crop_video(
    path: str | os.PathLike[str],
    stem: Path,
    *,
    warn: media.Warn,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> CropReport:
    """Write the mouth video, overlay video, contact sheet and diagnostics of one video.

    ``stem`` is the path of the four files without their endings (``ENDINGS``). ``progress`` gets
    seconds done and in all. The files appear at the end, when all are complete. Raises MediaError
    if the video cannot be read, has no picture, or a file cannot be written.
    """
    path = Path(path)
    info = media.probe(path)
    if not info.has_video:
        raise MediaError(f"{path}: has no video")
    try:
        return _write(path, info.duration, stem, warn, progress)
    except OSError as error:
        name = error.filename2 or error.filename or stem
        raise MediaError(f"{name}: cannot be written ({error.strerror})") from error


def _write(
    path: Path,
    duration: float,
    stem: Path,
    warn: media.Warn,
    progress: Callable[[float, float], None],
) -> CropReport:
    mouth_path, overlay_path, sheet_path, json_path = _paths(stem)
    with ExitStack() as files:
        # Closed in reverse: where the diagnostics are, the rest is.
        rows = _Rows(files.enter_context(replacing(json_path)), files)
        sheet_part = files.enter_context(replacing(sheet_path))
        add_overlay = files.enter_context(media.open_video(overlay_path))
        add_mouth = files.enter_context(media.open_video(mouth_path, crf=MOUTH_CRF))
        sheet = ContactSheet()
        shown = media.read_frames(path, max_side=LONGER_SIDE, warn=lambda message: None)
        for size, track in _tracked(path, duration, warn):
            rows.begin(path, size)
            found = diagnose(track)
            frames = islice(shown, len(found))
            for i, (frame, diagnosis) in enumerate(zip(frames, found, strict=True)):
                ratio = frame.shape[1] / size[0]
                place = track.landmarks[i], track.matrices[i]
                picture = draw_landmarks(frame, *place, ratio, colour_of(diagnosis))
                add_mouth(track.mouth[i])
                add_overlay(draw_overlay(picture, track.mouth[i], diagnosis, rows.num_frames))
                sheet.add(picture, track.mouth[i], diagnosis, rows.num_frames)
                rows.add(diagnosis)
            progress(rows.num_frames / FPS, duration)
        report = rows.finish(path, sheet_path)
        if not report.num_found:
            warn("no face was found")
        sheet.save(sheet_part, path.name, str(report))
    return report


def _paths(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + ending) for ending in ENDINGS]


def _tracked(
    path: Path, duration: float, warn: media.Warn
) -> Iterator[tuple[tuple[int, int], MouthTrack]]:
    """(width, height) of the frames and the track of each part of the recording.

    The parts are of even length; tracks are numbered on through all of them.
    """
    parts = max(1, math.ceil(duration * FPS / PART_FRAMES))
    length = math.ceil(duration * FPS / parts) + 1  # rounding shall not leave a part of one frame
    frames = media.read_frames(path, warn=warn)
    before: MouthTrack | None = None
    last = -1
    for first in frames:
        track = track_mouth(chain([first], islice(frames, length - 1)))
        if before is not None:
            track = replace(track, tracks=_number_on(before, track, last))
        yield (first.shape[1], first.shape[0]), track
        before, last = track, max(last, int(track.tracks.max()))


def _number_on(before: MouthTrack, track: MouthTrack, last: int) -> NDArray[np.int_]:
    """The ``tracks`` of a part, numbered on after ``last``; a face that stays keeps its number."""
    stays = False
    if before.tracks[-1] >= 0 and track.tracks[0] >= 0:
        old, new = before.landmarks[-1], track.landmarks[0]
        sizes = [np.ptp(points, axis=0).max() for points in (old, new)]
        distance = np.hypot(*(old.mean(axis=0) - new.mean(axis=0)))
        stays = bool(distance < SAME_PLACE * max(sizes))
    return np.where(track.tracks >= 0, track.tracks + last + (0 if stays else 1), -1)


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

    def add(self, d: Diagnosis) -> None:
        """The next frame."""
        index = self.num_frames
        row = {
            "frame": index,
            "time": index / FPS,
            "found": d.found,
            "track": d.track,
            "box": None if d.box is None else [round(value, 1) for value in d.box],
            "scale": None if d.scale is None else round(d.scale, 4),
            "angle": None if d.angle is None else round(d.angle, 2),
            "blur": None if d.blur is None else round(d.blur, 3),
            "problems": d.problems,
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
