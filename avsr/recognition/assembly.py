"""From transcribed segments to one transcript: language, text, words and warnings of the whole."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from avsr.face import MouthTrack
from avsr.language import MIN_CONFIDENCE, UNKNOWN
from avsr.recognition.options import TranscribeOptions
from avsr.transcript import Modality, Segment, Transcript


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
    modality: Modality = "audio",
    advice: str = "",
) -> Transcript:
    """Join the segments of a recording.

    Args:
        file: The recording as the caller named it.
        segments: In order of time. None: nobody speaks.
        is_whole: Whether the recording is one segment, which is then not listed.
        duration: Seconds of the recording.
        warnings: What went otherwise than asked for, in reading.
        sync_warnings: What was done to lips that ran before or behind the sound.
        options: Whether the language was detected.
        mouth: The mouth crops that were read, if they are kept.
        modality: What was listened to or looked at where nobody speaks.
        advice: What the model's makers advise if the recording is not reliable.

    Returns:
        The transcript; no word or segment ends after ``duration``. Its language is the likeliest of
        the whole; where it was detected and its probability is below ``MIN_CONFIDENCE``, or the
        recording is not reliable, it is ``unknown``; so it is where nobody speaks.
    """
    warnings = [warning.removeprefix(f"{file}: ") for warning in warnings]
    if not segments:
        return Transcript(
            file=file,
            language=UNKNOWN,
            language_probs={},
            text="",
            modality=modality,
            warnings=tuple(dict.fromkeys(warnings)),
            duration=duration,
            mouth=mouth,
        )
    segments = [_end_by(segment, duration) for segment in segments]
    doubt, reasons = _join_reliability(segments)
    reliable = None if doubt is None else doubt <= 0
    marked = mark_uncertain_segments(segments) if options.detects else list(segments)
    probs = _mean_probs(segments)
    language = segments[0].language
    if options.detects and probs:
        language = max(probs, key=lambda code: probs[code])
        if reliable is False or probs[language] < MIN_CONFIDENCE:
            language = UNKNOWN
    notes = list(warnings)
    if options.detects and not probs and language == UNKNOWN:
        notes.append("this model does not tell languages apart, so the language is unknown")
    elif not is_whole and any(
        part.language == UNKNOWN and part.reliable is not False for part in marked
    ):
        notes.append("in parts the language is not sure; see the segments")
    elif not is_whole and language == UNKNOWN and reliable is not False:
        notes.append("no single language fills half of the recording; see the segments")
    notes += sync_warnings
    if is_whole and language == UNKNOWN != segments[0].language and reliable is not False:
        notes.append(f"the language is not sure; the words are in '{segments[0].language}'")
    modalities = {segment.modality for segment in segments}
    notes += name_left_out(segments, is_whole=is_whole)
    if len({segment.modality for segment in segments if not segment.modality_reason}) > 1:
        notes.append("parts were transcribed from sound or lips alone; see the segments")
    return Transcript(
        file=file,
        language=language,
        language_probs=probs,
        text=" ".join(segment.text for segment in segments if segment.text),
        modality="av" if "av" in modalities else segments[0].modality,
        modality_reason=segments[0].modality_reason if is_whole else "",
        words=tuple(word for segment in segments for word in segment.words),
        warnings=tuple(dict.fromkeys(notes)),
        duration=duration,
        segments=() if is_whole else tuple(marked),
        faces=segments[0].faces if is_whole else (),
        mouth=mouth,
        reliable=reliable,
        reliability_reasons=reasons,
        advice=advice if any(segment.reliable is False for segment in segments) else "",
        doubt=doubt,
        evidence=segments[0].evidence if is_whole else {},
    )


def name_left_out(segments: Sequence[Segment | Transcript], *, is_whole: bool) -> list[str]:
    """A warning that counts the segments in which sound or lips were there and not read.

    None if there are no such segments. ``is_whole``: the only segment is the whole recording.
    """
    reasons = Counter(segment.modality_reason for segment in segments if segment.modality_reason)
    if not reasons:
        return []
    listing = ", ".join(
        reason if len(reasons) == 1 else f"{reason} ({count})"
        for reason, count in reasons.most_common()
    )
    if is_whole:
        sense = "sound" if segments[0].modality == "audio" else "lips"
        return [f"transcribed from the {sense} alone: {listing}"]
    return [
        f"{reasons.total()} of {len(segments)} parts were transcribed from one of sound and lips: "
        f"{listing}"
    ]


def _end_by(segment: Segment, duration: float) -> Segment:
    """A segment that ends with its recording: its last frame may be longer than the sound."""
    if segment.end <= duration:
        return segment
    words = tuple(
        replace(word, start=min(word.start, duration), end=min(word.end, duration))
        for word in segment.words
    )
    return replace(segment, end=duration, words=words)


def mark_uncertain_segments(segments: Sequence[Segment]) -> list[Segment]:
    """Call the language unknown where nothing vouches for it.

    That is in segments that are not reliable, and in a run of segments of one language whose mean
    probability, weighted by their length, is below ``MIN_CONFIDENCE``. Segments that are not
    reliable do not count in that mean.
    """
    marked: list[Segment] = []
    for code, group in groupby(segments, lambda segment: segment.language):
        run = list(group)
        voices = [segment for segment in run if segment.reliable is not False]
        is_sure = not voices or _mean_probs(voices).get(code, 1.0) >= MIN_CONFIDENCE
        marked += [
            seg if is_sure and seg.reliable is not False else replace(seg, language=UNKNOWN)
            for seg in run
        ]
    return marked


def _join_reliability(segments: Sequence[Segment]) -> tuple[float | None, tuple[str, ...]]:
    """The doubt about a recording, and the reasons of its segments that are not reliable.

    The doubt is the median of its segments, weighted by their length: above 0 if half of the
    seconds or more are in segments that are not reliable.
    """
    judged = [(segment.doubt, segment) for segment in segments if segment.doubt is not None]
    half = _seconds([segment for _, segment in judged]) / 2
    seconds = 0.0
    for doubt, segment in sorted(judged, key=lambda entry: -entry[0]):
        seconds += segment.end - segment.start
        if seconds >= half:
            bad = (segment for _, segment in judged if not segment.reliable) if doubt > 0 else ()
            reasons = (reason for segment in bad for reason in segment.reliability_reasons)
            return doubt, tuple(dict.fromkeys(reasons))
    return None, ()


def _mean_probs(segments: Sequence[Segment]) -> dict[str, float]:
    """Probability of each language, the segments weighted by their length."""
    if len(segments) == 1:
        return segments[0].language_probs
    total = _seconds(segments)
    return {
        code: sum(s.language_probs[code] * (s.end - s.start) for s in segments) / total
        for code in segments[0].language_probs
    }


def _seconds(segments: Sequence[Segment]) -> float:
    return sum(segment.end - segment.start for segment in segments)
