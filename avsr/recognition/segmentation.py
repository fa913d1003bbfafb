"""Cutting a media file into segments: where speech is, with the lips that go with it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from avsr import face, media
from avsr.audio import MAX_SECONDS, Span, SpokenParts, rms, vowel_level
from avsr.model.network import AVSRModel
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.av_agreement import lips_agreement
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import DECODED_AHEAD, check_seen, usable_modality, why_no_lips
from avsr.recognition.recording import COVERED, SILENCE_RMS, Recording
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import report_frames

EVEN_SECONDS = 10.0  # length of the parts of a file in which no pauses are known
FEW_FACES = 0.5  # share of a part's frames with a face below which its lips are not read


@dataclass(frozen=True)
class Part:
    """A stretch of a file before it is transcribed."""

    start: float
    end: float
    recording: Recording
    speaker: str = ""


def read_parts(
    model: AVSRModel,
    path: Path,
    info: media.MediaInfo,
    options: TranscribeOptions,
    notes: list[str],
    even: bool,
) -> Iterator[Part]:
    """Sound and lips of every stretch that is spoken, or of ``even`` parts of the whole.

    Sound and picture are read side by side.
    """
    modality = usable_modality(info, options.modality, notes)
    longest = model.config.segment_seconds
    hear = info.has_audio and modality != "video"
    see = info.has_video and modality != "audio"
    frames = _Frames(model, path, info.duration, options.face, notes) if see else None
    spans: Iterable[tuple[Span, np.ndarray | None]]
    if not info.has_audio:
        spans = ((span, None) for span in even_spans(info.duration, longest))
    elif even:
        chunks = media.stream_waveform(path, warn=notes.append)
        spans = _even_parts(chunks, even_spans(info.duration, longest))
    else:
        spans = SpokenParts(media.stream_waveform(path, warn=notes.append), longest)
    for span, waveform in spans:
        start, end = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
        sound = waveform if hear else None
        if frames is None:
            found = [Part(start, end, Recording(name="", waveform=sound, mouth=None))]
        else:
            found = frames.parts(start, end, waveform, sound)
        for part in found:
            if part.recording.waveform is not None or part.recording.mouth is not None:
                yield part
            elif frames is not None and options.modality == "video" and info.has_audio:
                notes.append("in parts no lips can be read; they are left out")
    if frames is not None:
        check_seen(path, options.face, frames.cast)


def _even_parts(
    chunks: Iterable[np.ndarray], spans: Iterator[Span]
) -> Iterator[tuple[Span, np.ndarray | None]]:
    """Even parts of a stream of sound; None for the samples of a silent one."""
    span = next(spans)
    kept, first = np.zeros(0, np.float32), 0
    for chunk in chunks:
        kept = np.concatenate([kept, chunk])
        while len(kept) >= span.end - first:
            samples = kept[span.start - first : span.end - first]
            yield span, samples if rms(samples) >= SILENCE_RMS else None
            kept, first = kept[span.end - first :], span.end
            following = next(spans, None)
            if following is None:
                return
            span = following
    yield span, kept if rms(kept) >= SILENCE_RMS else None


def even_spans(duration: float, longest: float = MAX_SECONDS) -> Iterator[Span]:
    """A file in even parts of about 10 s, none of more than ``longest``."""
    count = max(1, round(duration / EVEN_SECONDS), math.ceil(duration / longest))
    edges = [round(duration * SAMPLE_RATE * i / count) for i in range(count + 1)]
    for start, end in pairwise(edges):
        yield Span(start, end)


class _Frames:
    """The frames of a file, read once from the first to the last, and the faces in them."""

    def __init__(
        self, model: AVSRModel, path: Path, duration: float, choice: str, notes: list[str]
    ) -> None:
        self.model, self.choice, self.notes = model, choice, notes
        pictures = prefetch(media.read_pictures(path, warn=notes.append), DECODED_AHEAD)
        self.frames = report_frames(pictures, duration)
        self.position = 0
        self.cast = face.FaceRegistry()

    def parts(
        self, start: float, end: float, waveform: np.ndarray | None, sound: np.ndarray | None
    ) -> list[Part]:
        """The stretch with its speaker, or, where every face counts, what each of them says in it.

        ``waveform`` tells who speaks, ``sound`` is to be transcribed.
        """
        first, last = round(start * FPS), round(end * FPS)
        for _ in islice(self.frames, max(0, first - self.position)):
            self.position += 1
        faces = self.cast.number(
            face.track_faces(islice(self.frames, max(0, last - self.position)))
        )
        self.position += faces.num_frames
        level = None if waveform is None else vowel_level(waveform)
        agree = lips_agreement(self.model, waveform)
        turns = face.find_turns(faces, level, agree) if self.choice == "all" else []
        if not turns:
            track = face.choose_face(faces, self.choice, level, agree)
            recording = self._recording(track, sound, last - first)
            if recording.mouth is None and sound is not None:
                why = COVERED if face.is_covered(track.mouth) else why_no_lips(faces, self.choice)
                self.notes.append(f"parts are without lips: {why}")
            return [Part(start, end, recording)]
        found = []
        for turn in turns:
            until = last - first if turn.last == faces.num_frames else turn.last
            own = sound if turn.heard else None
            if own is not None:
                own = own[turn.first * SAMPLES_PER_FRAME : until * SAMPLES_PER_FRAME]
            recording = self._recording(turn.mouth, own, until - turn.first)
            begin, stop = start + turn.first / FPS, min(end, start + until / FPS)
            found.append(Part(begin, stop, recording, f"Face {turn.mouth.faces[0]}"))
        return found

    def _recording(
        self, track: face.MouthTrack, sound: np.ndarray | None, num_frames: int
    ) -> Recording:
        """Sound and lips; without these where they cannot be read in most frames."""
        mouth = None
        hidden = sound is not None and face.is_covered(track.mouth)
        if len(track.found) and face.is_readable(track).mean() >= FEW_FACES and not hidden:
            missing = max(0, num_frames - len(track.mouth))
            mouth = np.pad(track.mouth, ((0, missing), (0, 0), (0, 0)), mode="edge")
        return Recording(name="", waveform=sound, mouth=mouth, track=track)
