"""Recordings of any length: read once as a stream, cut at pauses, transcribed part by part."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from avsr import face, media
from avsr.audio import Span, SpokenParts, rms
from avsr.errors import MediaError
from avsr.language import smooth_languages
from avsr.model import AVSRModel
from avsr.pipeline import (
    SILENCE_RMS,
    Recording,
    TranscribeOptions,
    encode,
    recognize_encoded,
    usable_modality,
)
from avsr.progress import WRITING, counted, report
from avsr.rates import FPS, SAMPLE_RATE
from avsr.sync import Synchronizer
from avsr.transcript import Segment, Transcript, Word

BATCH_SEGMENTS = 4  # segments of one modality that the model takes at a time
EVEN_SECONDS = 10.0  # length of the parts of a file in which no pauses are known
FEW_FACES = 0.5  # share of a part's frames with a face below which its lips are not read


@dataclass(frozen=True)
class _Part:
    """A stretch of a file before it is transcribed."""

    start: float
    end: float
    recording: Recording


def transcribe_long(
    model: AVSRModel,
    path: str | os.PathLike[str],
    options: TranscribeOptions,
) -> Transcript:
    """Transcribe a media file part by part; memory does not grow with its length.

    Raises MediaError if it cannot be read or holds neither speech nor a face.
    """
    path = Path(path)
    info = media.probe(path)
    notes: list[str] = []
    segments: list[Segment] = []
    history: list[dict[str, float]] = []
    synchronizer = Synchronizer(model) if options.sync else None
    for even in (False, True):
        if even and info.has_audio:
            notes.append("no speech was found in the sound, so it is cut into even parts")
        for batch in _batches(_parts(path, info, options, notes, even)):
            report(batch[-1].end, info.duration, WRITING)
            if synchronizer is not None:
                batch = [
                    replace(part, recording=synchronizer.align(part.recording)) for part in batch
                ]
            segments += _transcribe_batch(model, batch, options, history)
        if segments or not info.has_audio:
            break
    if not segments:
        raise MediaError(f"{path}: nothing to transcribe: no speech and no face was found")
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
    return Transcript(
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
    )


def _parts(
    path: Path, info: media.MediaInfo, options: TranscribeOptions, notes: list[str], even: bool
) -> Iterator[_Part]:
    """Sound and lips of every stretch that is spoken, or of ``even`` parts of the whole.

    Sound and picture are read side by side.
    """
    modality = usable_modality(info, options.modality, notes)
    hear = info.has_audio and modality != "video"
    see = info.has_video and modality != "audio"
    frames = _Frames(path, info.duration, notes) if see else None
    spans: Iterable[tuple[Span, np.ndarray | None]]
    if not info.has_audio:
        spans = ((span, None) for span in _even_spans(info.duration))
    elif even:
        spans = _even_parts(media.stream_waveform(path, warn=notes.append), info.duration)
    else:
        spans = SpokenParts(media.stream_waveform(path, warn=notes.append))
    for span, waveform in spans:
        start, end = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
        mouth = None if frames is None else frames.mouth(start, end)
        if mouth is None and (not hear or waveform is None):
            if frames is not None and options.modality == "video" and info.has_audio:
                notes.append("in parts no face was found; they are left out")
            continue
        recording = Recording(name="", waveform=waveform if hear else None, mouth=mouth)
        yield _Part(start, end, recording)


def _even_parts(
    chunks: Iterable[np.ndarray], duration: float
) -> Iterator[tuple[Span, np.ndarray | None]]:
    """Even parts of a stream of sound; None for the samples of a silent one."""
    spans = iter(_even_spans(duration))
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


def _even_spans(duration: float) -> Iterator[Span]:
    """A file in even parts."""
    count = max(1, round(duration / EVEN_SECONDS))
    edges = [round(duration * SAMPLE_RATE * i / count) for i in range(count + 1)]
    for start, end in pairwise(edges):
        yield Span(start, end)


class _Frames:
    """The frames of a file, read once from the first to the last."""

    def __init__(self, path: Path, duration: float, notes: list[str]) -> None:
        self.frames = counted(media.read_frames(path, warn=notes.append), duration)
        self.position = 0

    def mouth(self, start: float, end: float) -> np.ndarray | None:
        """Crops (T, 96, 96) of a stretch; None where no face is seen in most of its frames."""
        first, last = round(start * FPS), round(end * FPS)
        for _ in islice(self.frames, max(0, first - self.position)):
            self.position += 1
        track = face.track_mouth(islice(self.frames, max(0, last - self.position)))
        self.position += len(track.mouth)
        if len(track.found) == 0 or track.found.mean() < FEW_FACES:
            return None
        missing = (last - first) - len(track.mouth)
        return np.pad(track.mouth, ((0, max(0, missing)), (0, 0), (0, 0)), mode="edge")


def _batches(parts: Iterator[_Part]) -> Iterator[list[_Part]]:
    """Neighbours of one modality together."""
    batch: list[_Part] = []
    for part in parts:
        other = batch and batch[0].recording.modality != part.recording.modality
        if other or len(batch) == BATCH_SEGMENTS:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _transcribe_batch(
    model: AVSRModel,
    batch: Sequence[_Part],
    options: TranscribeOptions,
    history: list[dict[str, float]],
) -> list[Segment]:
    """Segments of a batch; ``history`` has the language probabilities of all parts before it."""
    recordings = [part.recording for part in batch]
    encoded = encode(model, recordings)
    codes = model.config.languages
    rows = [dict(zip(codes, row, strict=True)) for row in encoded.language_probs.tolist()]
    history += rows
    if options.language == "auto":
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
        )
        for part, (transcript, _) in zip(batch, found, strict=True)
    ]


def _moved(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)
