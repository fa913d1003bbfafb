"""From transcribed segments to one transcript: language, text, words and warnings of the whole."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from avsr.face import MouthTrack
from avsr.language import MIN_CONFIDENCE, UNKNOWN
from avsr.recognition.options import TranscribeOptions
from avsr.transcript import Segment, Transcript


def assemble_transcript(
    file: str,
    segments: Sequence[Segment],
    *,
    is_whole: bool,
    duration: float,
    warnings: Iterable[str],
    sync_warnings: Iterable[str],
    options: TranscribeOptions,
    mouth: MouthTrack | None,
) -> Transcript:
    """Join the segments of a recording.

    Args:
        file: The recording as the caller named it.
        segments: In order of time, one at least.
        is_whole: Whether the recording is one segment, which is then not listed.
        duration: Seconds of the recording.
        warnings: What went otherwise than asked for, in reading.
        sync_warnings: What was done to lips that ran before or behind the sound.
        options: Whether the language was detected.
        mouth: The mouth crops that were read, if they are kept.

    Returns:
        The transcript. Its language is the one that is spoken longest; where the language was
        detected and no probability reaches ``MIN_CONFIDENCE``, it is ``unknown``.
    """
    notes = list(warnings)
    uncertain = mark_uncertain_segments(segments) if options.detects else list(segments)
    is_uncertain = options.detects and any(part.language == UNKNOWN for part in uncertain)
    if is_uncertain and not is_whole:
        notes.append("in parts the language is not sure; see the segments")
    notes += sync_warnings
    if is_whole and uncertain[0].language != segments[0].language:
        notes.append(f"the language is not sure; the words are in '{segments[0].language}'")
    modalities = {segment.modality for segment in segments}
    if len(modalities) > 1:
        notes.append("parts were transcribed from sound or lips alone; see the segments")
    seconds: dict[str, float] = {}
    for segment in uncertain:
        length = segment.end - segment.start
        seconds[segment.language] = seconds.get(segment.language, 0.0) + length
    return Transcript(
        file=file,
        language=max(seconds, key=lambda code: seconds[code]),
        language_probs=_mean_probs(segments),
        text=" ".join(segment.text for segment in segments if segment.text),
        modality="av" if "av" in modalities else segments[0].modality,
        words=tuple(word for segment in segments for word in segment.words),
        warnings=tuple(dict.fromkeys(notes)),
        duration=duration,
        segments=() if is_whole else tuple(uncertain),
        faces=segments[0].faces if is_whole else (),
        mouth=mouth,
    )


def mark_uncertain_segments(segments: Sequence[Segment]) -> list[Segment]:
    """Call the language unknown in a run of segments of one language, none of which is sure of it.

    Sure is a probability of at least ``MIN_CONFIDENCE``.
    """
    marked: list[Segment] = []
    for code, group in groupby(segments, lambda segment: segment.language):
        run = list(group)
        is_sure = any(seg.language_probs.get(code, 1.0) >= MIN_CONFIDENCE for seg in run)
        marked += run if is_sure else [replace(seg, language=UNKNOWN) for seg in run]
    return marked


def _mean_probs(segments: Sequence[Segment]) -> dict[str, float]:
    """Probability of each language, the segments weighted by their length."""
    if len(segments) == 1:
        return segments[0].language_probs
    total = sum(segment.end - segment.start for segment in segments)
    return {
        code: sum(s.language_probs[code] * (s.end - s.start) for s in segments) / total
        for code in segments[0].language_probs
    }
