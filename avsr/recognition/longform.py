"""Recordings of any length: read once as a stream, cut at pauses, transcribed part by part."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, islice, pairwise
from pathlib import Path

import numpy as np

from avsr import face, media
from avsr.audio import MAX_SECONDS, Span, SpokenParts, rms, vowel_level
from avsr.errors import MediaError
from avsr.language import SURE, UNKNOWN, smooth_languages
from avsr.model.network import AVSRModel
from avsr.rates import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.recognition.av_agreement import lips_agreement
from avsr.recognition.language_change import language_change, split_recording
from avsr.recognition.lip_sync import Synchronizer
from avsr.recognition.pipeline import TranscribeOptions, encode, recognize_encoded
from avsr.recognition.recording import (
    COVERED,
    DECODED_AHEAD,
    SILENCE_RMS,
    Recording,
    check_seen,
    usable_modality,
    why_no_lips,
)
from avsr.runtime.interrupts import Stopped
from avsr.runtime.prefetch import ahead
from avsr.runtime.progress import WRITING, counted, report
from avsr.transcript import Segment, Transcript, Word

SHOWN_SECONDS = 20.0  # a recording of no more has the mouth that was read in its transcript
PARTS_AHEAD = 4  # that wait for the model
BATCH_SEGMENTS = 4  # of one modality that the model takes at a time
EVEN_SECONDS = 10.0  # length of the parts of a file in which no pauses are known
FEW_FACES = 0.5  # share of a part's frames with a face below which its lips are not read


@dataclass(frozen=True)
class Part:
    """A stretch of a file before it is transcribed."""

    start: float
    end: float
    recording: Recording
    speaker: str = ""


def transcribe_long(
    model: AVSRModel,
    path: str | os.PathLike[str],
    options: TranscribeOptions,
) -> Transcript:
    """Transcribe a media file part by part; memory does not grow with its length.

    Raises MediaError if it cannot be read or holds neither speech nor a face, and Stopped, with
    the transcript of the finished parts, at Ctrl-C after the first of them.
    """
    path = Path(path)
    info = media.probe(path)
    notes: list[str] = []
    segments: list[Segment] = []
    history: list[dict[str, float]] = []
    synchronizer = Synchronizer(model) if options.sync else None
    mouths: list[tuple[int, face.MouthTrack]] = []
    shown = info.duration <= SHOWN_SECONDS and options.face != "every"
    stopped = False
    try:
        for even in (False, True):
            if even and info.has_audio:
                notes.append("no speech was found in the sound, so it is cut into even parts")
            # While the model works on a part the next ones are read.
            read = ahead(read_parts(model, path, info, options, notes, even), PARTS_AHEAD)
            with closing(read):
                for batch in _batches(_aligned(synchronizer, read)):
                    report(batch[-1].end, info.duration, WRITING)
                    if shown:
                        mouths += _mouths(batch)
                    segments += _transcribe_batch(model, batch, options, history)
            if segments or not info.has_audio:
                break
    except KeyboardInterrupt:
        if not segments:
            raise
        stopped = True
        end = segments[-1].end
        notes.append(f"stopped at {end:.1f} of {info.duration:.1f} s; the rest is not transcribed")
    if not segments:
        raise MediaError(f"{path}: nothing to transcribe: no speech and no face was found")
    if options.detects:
        segments = _admit_doubts(segments)
        if any(segment.language == UNKNOWN for segment in segments):
            notes.append("in parts the language is not sure; see the segments")
    seconds: dict[str, float] = {}
    for segment in segments:
        length = segment.end - segment.start
        seconds[segment.language] = seconds.get(segment.language, 0.0) + length
    total = sum(seconds.values())
    if synchronizer is not None:
        notes += synchronizer.notes
    used = {segment.modality for segment in segments}
    if len(used) > 1:
        notes.append("parts were transcribed from sound or lips alone; see the segments")
    transcript = Transcript(
        file=os.fspath(path),
        language=max(seconds, key=lambda code: seconds[code]),
        language_probs={
            code: sum(s.language_probs[code] * (s.end - s.start) for s in segments) / total
            for code in segments[0].language_probs
        },
        text=" ".join(s.text for s in segments if s.text),
        modality="av" if "av" in used else segments[0].modality,
        words=tuple(word for s in segments for word in s.words),
        warnings=tuple(dict.fromkeys(notes)),
        duration=info.duration,
        segments=tuple(segments),
        mouth=face.join_parts(mouths, math.ceil(info.duration * FPS)) if mouths else None,
    )
    if stopped:
        raise Stopped(transcript)
    return transcript


def _mouths(batch: Sequence[Part]) -> list[tuple[int, face.MouthTrack]]:
    """First frame and mouth of the parts whose lips are read."""
    return [
        (round(part.start * FPS), part.recording.track)
        for part in batch
        if part.recording.mouth is not None and part.recording.track is not None
    ]


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
        self, model: AVSRModel, path: Path, duration: float, wish: str, notes: list[str]
    ) -> None:
        self.model, self.wish, self.notes = model, wish, notes
        pictures = ahead(media.read_pictures(path, warn=notes.append), DECODED_AHEAD)
        self.frames = counted(pictures, duration)
        self.position = 0
        self.cast = face.Cast()

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
        turns = face.find_turns(faces, level, agree) if self.wish == "every" else []
        if not turns:
            track = face.choose_face(faces, self.wish, level, agree)
            recording = self._recording(track, sound, last - first)
            if recording.mouth is None and sound is not None:
                why = COVERED if face.is_covered(track.mouth) else why_no_lips(faces, self.wish)
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


def _aligned(synchronizer: Synchronizer | None, parts: Iterator[Part]) -> Iterator[Part]:
    """Each part, as soon as it comes, with its lips where the sound is."""
    for part in parts:
        if synchronizer is None:
            yield part
        else:
            yield replace(part, recording=synchronizer.align(part.recording))


def _batches(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Neighbours of one modality together."""
    batch: list[Part] = []
    for part in parts:
        if batch and batch[0].recording.modality != part.recording.modality:
            yield batch
            batch = []
        batch.append(part)
        if len(batch) == BATCH_SEGMENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _transcribe_batch(
    model: AVSRModel,
    batch: Sequence[Part],
    options: TranscribeOptions,
    history: list[dict[str, float]],
) -> list[Segment]:
    """Segments of a batch; ``history`` has the language probabilities of all parts before it."""
    if options.detects:
        batch = _divided(model, batch)
    recordings = [part.recording for part in batch]
    encoded = encode(model, recordings, options.language)
    codes = model.config.languages
    rows = [dict(zip(codes, row, strict=True)) for row in encoded.language_probs.tolist()]
    history += rows
    if options.detects:
        languages = smooth_languages(history)[-len(batch) :]
    else:
        languages = [options.language] * len(batch)
    found = recognize_encoded(model, recordings, encoded, languages, options)
    return [
        Segment(
            start=part.start,
            end=part.end,
            language=transcript.language,
            language_probs=transcript.language_probs,
            text=transcript.text,
            modality=transcript.modality,
            words=tuple(_moved(word, part.start) for word in transcript.words),
            faces=part.recording.faces(part.start),
            speaker=part.speaker,
        )
        for part, (transcript, _) in zip(batch, found, strict=True)
    ]


def _divided(model: AVSRModel, batch: Sequence[Part]) -> list[Part]:
    """The parts, those in which the language changes in two."""
    found = []
    for part in batch:
        frame = language_change(model, part.recording)
        if frame is None:
            found.append(part)
            continue
        change = part.start + frame / FPS
        before, after = split_recording(part.recording, frame)
        found += [
            replace(part, end=change, recording=before),
            replace(part, start=change, recording=after),
        ]
    return found


def _admit_doubts(segments: Sequence[Segment]) -> list[Segment]:
    """Call the language unknown in neighbours of one language, none of which is likely enough."""
    found: list[Segment] = []
    for code, group in groupby(segments, lambda segment: segment.language):
        run = list(group)
        sure = any(segment.language_probs.get(code, 1.0) >= SURE for segment in run)
        found += run if sure else [replace(segment, language=UNKNOWN) for segment in run]
    return found


def _moved(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)
