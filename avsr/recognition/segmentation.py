"""Cutting a recording into segments: sound and lips of every stretch that is spoken.

A short recording is one segment. A longer one is read once as a stream and cut at pauses, or evenly
where there is no speech to cut at, so that memory does not grow with its length.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from avsr import face, media
from avsr.audio import Span, SpokenParts, vowel_level
from avsr.errors import MediaError
from avsr.model.network import AVSRModel
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.av_agreement import choose_speaker, lips_agreement
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import (
    MIN_FACE_SHARE,
    PREFETCHED_FRAMES,
    asked_tracks,
    check_face_number,
    check_lips,
    read_recording,
    usable_modality,
)
from avsr.recognition.recording import Recording, is_spoken, missing_frames
from avsr.recognition.spans import cut_evenly, even_spans, spans_of_both
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import report_frames
from avsr.transcript.result import NO_SPEECH

SLACK_SECONDS = 0.5  # s by which a recording of one segment may be longer than one
EVEN_WARNING = "no speech was found in the sound, so it is cut into even parts"


@dataclass(frozen=True)
class MediaSegment:
    """A stretch of a recording before it is transcribed. Times are seconds of the recording."""

    start: float
    end: float
    recording: Recording
    speaker: str = ""
    """Label of the speaker, where every face has segments of its own."""
    whole: bool = False
    """Whether the recording is this one segment."""


def is_one_segment(model: AVSRModel, info: media.MediaInfo, options: TranscribeOptions) -> bool:
    """Whether a recording is short enough to be transcribed in one piece."""
    return options.face != "all" and info.duration <= model.config.segment_seconds


def whole_segment(recording: Recording, info: media.MediaInfo) -> MediaSegment:
    """The one segment of a short recording; it lasts as long as the longer track of its file."""
    end = max(recording.duration, info.audio_duration, info.video_duration)
    return MediaSegment(0.0, end, recording, whole=True)


def read_segments(
    model: AVSRModel,
    path: Path,
    info: media.MediaInfo,
    options: TranscribeOptions,
    warnings: list[str],
) -> Generator[MediaSegment, None, None]:
    """Read the segments of a media file, in order of time.

    Args:
        model: Its ``segment_seconds`` bound the segments; it tells who speaks in doubt.
        path: Media file.
        info: What ``media.probe`` says of it.
        options: Modality and face are used here.
        warnings: What went otherwise than asked for is appended.

    Yields:
        The segments in which somebody may speak. A recording of one segment is yielded in any case,
        of a long one in which nobody speaks there is none.

    Raises:
        MediaError: The file cannot be read, lacks the face that is asked for by its number, or has
            neither a sound track nor lips.
    """
    if is_one_segment(model, info, options):
        recording = read_recording(
            path,
            options.modality,
            options.face,
            model,
            info=info,
            mouth=options.mouth,
            tracks=asked_tracks(options),
        )
        longest = model.config.segment_seconds
        if recording.duration <= longest + SLACK_SECONDS:
            yield whole_segment(recording, info)
            return
        # More than its packets told. What is in memory is not read again.
        segments, notes = cut_segments(recording, longest, only_spoken=True)
        warnings += [*recording.warnings, *notes]
        yield from segments
        return
    problems: list[str] = []  # why parts are left out
    is_empty = True
    for segment in _read_stream(model, path, info, options, warnings, False, problems):
        is_empty = False
        yield segment
    if is_empty and problems:
        reasons = "; ".join(dict.fromkeys(problems))
        raise MediaError(f"{path}: nothing to transcribe: {reasons}")
    if is_empty and info.has_audio:
        for segment in _read_stream(model, path, info, options, warnings, True, problems):
            if is_empty:
                warnings.append(EVEN_WARNING)
            is_empty = False
            yield segment
    if is_empty:
        warnings += [*dict.fromkeys(problems), NO_SPEECH]


def _read_stream(
    model: AVSRModel,
    path: Path,
    info: media.MediaInfo,
    options: TranscribeOptions,
    warnings: list[str],
    evenly: bool,
    problems: list[str],
) -> Iterator[MediaSegment]:
    """Sound and lips of every stretch that is spoken, or of even parts of the whole.

    Sound and picture are decoded side by side. Of parts that are left out, having neither, the
    reason is appended to ``problems``.
    """
    modality = usable_modality(
        info, options.modality, warnings, mouth=options.mouth, tracks=asked_tracks(options)
    )
    longest = model.config.segment_seconds
    use_sound = info.has_audio and modality != "video"
    use_lips = info.has_video and modality != "audio"
    faces = _FaceStream(model, path, info, options, warnings) if use_lips else None
    spans: Iterable[tuple[Span, np.ndarray | None]]
    if not info.has_audio:
        spans = ((span, None) for span in even_spans(info.duration, longest))
    else:
        chunks = media.stream_waveform(path, tracks=info.tracks, warn=warnings.append)
        if evenly:
            spans = cut_evenly(chunks, info.duration, longest)
        else:
            picture_end = info.video_duration if use_lips else 0.0
            spans = spans_of_both(SpokenParts(chunks, longest), picture_end)
    for span, waveform in spans:
        start, end = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
        sound = waveform if use_sound else None
        if faces is None:
            segments = [MediaSegment(start, end, Recording(name="", waveform=sound, mouth=None))]
        else:
            segments = faces.read_segments(start, end, waveform, sound)
        for segment in segments:
            if segment.recording.waveform is not None or segment.recording.mouth is not None:
                if is_spoken(segment.recording):
                    yield segment
            elif faces is not None:
                problems.append(faces.problem)
                if options.modality == "video" and info.has_audio:
                    warnings.append(f"parts without lips are left out: {faces.problem}")
    if faces is not None and not options.mouth:
        check_face_number(path, options.face, faces.registry)


def cut_segments(
    recording: Recording,
    longest: float,
    *,
    heard: np.ndarray | None = None,
    readable: np.ndarray | None = None,
    only_spoken: bool = False,
) -> tuple[list[MediaSegment], list[str]]:
    """Cut a recording in memory, as ``read_segments`` cuts a file.

    Args:
        recording: Its sound tells where somebody speaks.
        longest: Seconds of the longest segment.
        heard: (S,) sound that tells it instead, of a recording with lips alone.
        readable: (T,) bool, in which frames the lips can be read; None: in all of them.
        only_spoken: Whether parts are left out in which nobody speaks by ``is_spoken``. Not for
            speech in so much noise that it is heard no longer, as an evaluation makes it.

    Returns:
        The segments in order of time, and warnings.
    """
    sound = recording.waveform if heard is None else heard
    warnings: list[str] = []
    spans: list[tuple[Span, np.ndarray | None]]
    picture_end = 0.0 if recording.mouth is None else len(recording.mouth) / FPS
    if sound is None:
        spans = [(span, None) for span in even_spans(recording.duration, longest)]
    else:
        spans = [*spans_of_both(SpokenParts([sound], longest), picture_end)]
    segments = _cut_spans(recording, spans, readable, only_spoken=only_spoken)
    if not segments and sound is not None:
        duration = max(len(sound) / SAMPLE_RATE, picture_end)
        spans = [*cut_evenly([sound], duration, longest)]
        segments = _cut_spans(recording, spans, readable, only_spoken=only_spoken)
        warnings = [EVEN_WARNING]
    return segments, warnings if segments else [NO_SPEECH]


def _cut_spans(
    recording: Recording,
    spans: Iterable[tuple[Span, np.ndarray | None]],
    readable: np.ndarray | None,
    *,
    only_spoken: bool,
) -> list[MediaSegment]:
    """The segments of some spans of a recording; none where it has neither sound nor lips."""
    segments = []
    for span, samples in spans:
        start, end = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
        waveform = None if recording.waveform is None else samples
        mouth = _cut_mouth(recording, round(start * FPS), round(end * FPS), readable, waveform)
        part = Recording(name=recording.name, waveform=waveform, mouth=mouth)
        is_empty = waveform is None and mouth is None
        if not is_empty and (not only_spoken or is_spoken(part)):
            segments.append(MediaSegment(start, end, part))
    return segments


def _cut_mouth(
    recording: Recording,
    first: int,
    last: int,
    readable: np.ndarray | None,
    waveform: np.ndarray | None,
) -> np.ndarray | None:
    """The lips of a segment; None where ``check_lips`` would forbid them."""
    if recording.mouth is None:
        return None
    mouth = recording.mouth[first:last]
    if not len(mouth):
        return None
    lost = missing_frames(last - first, len(mouth))
    seen = np.ones(len(mouth), np.bool_) if readable is None else readable[first:last]
    if seen.sum() / (len(mouth) + lost) < MIN_FACE_SHARE:
        return None
    if waveform is not None and face.is_covered(mouth):
        return None
    return np.pad(mouth, ((0, last - first - len(mouth)), (0, 0), (0, 0)), mode="edge")


class _FaceStream:
    """The frames of a file, decoded once from the first to the last, and the faces in them.

    ``problem`` is why the lips of the last segment that lacks them are not read.
    """

    def __init__(
        self,
        model: AVSRModel,
        path: Path,
        info: media.MediaInfo,
        options: TranscribeOptions,
        warnings: list[str],
    ) -> None:
        self.model, self.choice, self.warnings = model, options.face, warnings
        self.path, self.is_mouth = path, options.mouth
        if self.is_mouth:
            face.check_mouth_size(path, info.width, info.height)
        pictures = prefetch(
            media.read_pictures(path, tracks=info.tracks, warn=warnings.append), PREFETCHED_FRAMES
        )
        self.frames = report_frames(pictures, info.duration)
        self.position = 0
        self.registry = face.FaceRegistry()
        self.problem = ""

    def read_segments(
        self, start: float, end: float, waveform: np.ndarray | None, sound: np.ndarray | None
    ) -> list[MediaSegment]:
        """One segment with the lips of who speaks or, for ``--all-faces``, one per turn of a face.

        ``waveform`` tells who speaks, ``sound`` is what is to be transcribed.
        """
        first, last = round(start * FPS), round(end * FPS)
        for _ in islice(self.frames, max(0, first - self.position)):
            self.position += 1
        frames = islice(self.frames, max(0, last - self.position))
        if self.is_mouth:
            track = face.track_mouth_video(self.path, frames)
            self.position += len(track.mouth)
            recording = self._recording(None, track, sound, last - first, self.warnings)
            return [MediaSegment(start, end, recording)]
        faces = self.registry.number(face.track_faces(frames))
        self.position += faces.num_frames
        turns = self._find_turns(faces, waveform) if self.choice == "all" else []
        if not turns:
            track = choose_speaker(self.model, faces, self.choice, waveform)
            recording = self._recording(faces, track, sound, last - first, self.warnings)
            return [MediaSegment(start, end, recording)]
        segments = []
        for turn in turns:
            until = last - first if turn.last == faces.num_frames else turn.last
            turn_sound = sound if turn.heard else None
            if turn_sound is not None:
                samples = slice(turn.first * SAMPLES_PER_FRAME, until * SAMPLES_PER_FRAME)
                turn_sound = turn_sound[samples]
            recording = self._recording(faces, turn.mouth, turn_sound, until - turn.first, [])
            turn_start, turn_end = start + turn.first / FPS, min(end, start + until / FPS)
            speaker = f"Face {turn.mouth.faces[0]}"
            segments.append(MediaSegment(turn_start, turn_end, recording, speaker))
        return segments

    def _find_turns(self, faces: face.FaceTracks, waveform: np.ndarray | None) -> list[face.Turn]:
        level = None if waveform is None else vowel_level(waveform)
        return face.find_turns(faces, level, lips_agreement(self.model, waveform))

    def _recording(
        self,
        faces: face.FaceTracks | None,
        track: face.MouthTrack,
        sound: np.ndarray | None,
        num_frames: int,
        warnings: list[str],
    ) -> Recording:
        """Sound and lips of a segment; no lips where the rules of ``check_lips`` forbid them."""
        mouth = None
        usable, problem = check_lips(
            track,
            faces,
            self.choice,
            has_sound=sound is not None,
            num_frames=num_frames,
            whole=False,
        )
        if usable:
            missing = max(0, num_frames - len(track.mouth))
            mouth = np.pad(track.mouth, ((0, missing), (0, 0), (0, 0)), mode="edge")
            if problem is not None:
                warnings.append(f"in parts {problem}")
        else:
            self.problem = problem or ""
            if sound is not None:
                warnings.append(f"parts are without lips: {self.problem}")
        return Recording(name="", waveform=sound, mouth=mouth, track=track)
