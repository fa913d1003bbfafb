"""Results of a transcription: words, segments, faces and the transcript."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from avsr.face import MouthTrack

Modality = Literal["av", "audio", "video"]
"""What is read: sound and lips, sound only, lips only."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)
NO_SPEECH = "no speech was found, so there are no words"
"""The warning of a recording in which nobody speaks."""
SAME_SPAN = 1.0  # s between segments that are listed as one


@dataclass(frozen=True)
class Word:
    """A word with its time."""

    text: str
    start: float
    """Seconds from the start of the recording."""
    end: float
    """Seconds, not before ``start``."""
    confidence: float
    """Geometric mean of its tokens' probabilities, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class FaceSpan:
    """A time span of a recording in which the lips of one face are read."""

    face: int
    """Number of the face, from 1."""
    start: float
    """Seconds from the start of the recording."""
    end: float
    """Seconds."""
    num_frames: int
    """Frames of the span, 25 per second."""
    num_found: int
    """Frames in which the face was detected and not turned away."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        times = {"start": round(float(self.start), 3), "end": round(float(self.end), 3)}
        return {"face": self.face, **times, "frames": self.num_frames, "found": self.num_found}


def main_face(faces: Sequence[FaceSpan], modality: Modality) -> int | None:
    """Return the number of the face whose lips were read longest; None if no lips were read."""
    frames: dict[int, int] = {}
    for span in faces if modality != "audio" else ():
        frames[span.face] = frames.get(span.face, 0) + span.num_found
    return max(frames, key=lambda face: frames[face], default=None)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a long recording, transcribed separately."""

    start: float
    """Seconds from the start of the recording."""
    end: float
    """Seconds."""
    language: str
    """ISO 639-1 code of the language that the text was decoded in, or ``unknown``."""
    language_probs: dict[str, float]
    """Code -> probability, by this part of the recording alone."""
    text: str
    modality: Modality
    """What was used: the requested modality, or less if sound or face was missing or misleading."""
    modality_reason: str = ""
    """Why sound or lips were left out though both were there; empty if they were not."""
    words: tuple[Word, ...] = ()
    faces: tuple[FaceSpan, ...] = ()
    """Faces that were taken for the speaker's, in order of time; not used if the modality is
    ``audio``."""
    speaker: str = ""
    """Name of the speaker if every face has segments of its own; else empty."""
    reliable: bool | None = None
    """As in ``Transcript``, for this part alone."""
    reliability_reasons: tuple[str, ...] = ()
    """Why it is not reliable, one clause each."""
    doubt: float | None = field(default=None, repr=False, compare=False)
    """As in ``Transcript``."""
    evidence: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    """What the model was like here, see ``avsr.recognition.evidence``; not in ``to_dict``."""

    @property
    def face(self) -> int | None:
        """Number of the face whose lips were read longest; None if no lips were read."""
        return main_face(self.faces, self.modality)

    @property
    def spoken_text(self) -> str:
        """The text, after the speaker's name if there is one."""
        return f"{self.speaker}: {self.text}" if self.speaker and self.text else self.text

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "start": round(float(self.start), 3),
            "end": round(float(self.end), 3),
            "language": self.language,
            "language_probs": {k: round(float(p), 4) for k, p in self.language_probs.items()},
            "text": self.text,
            "modality": self.modality,
            "modality_reason": self.modality_reason,
            "face": self.face,
            "faces": [span.to_dict() for span in self.faces],
            "speaker": self.speaker,
            "reliable": self.reliable,
            "reasons": list(self.reliability_reasons),
        }


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """Text, words and language of a recording. ``str()`` gives the text.

    Examples:
        >>> import avsr
        >>> result = avsr.transcribe("demo/examples/de.mp4")
        >>> print(f"{result.words[0].start:.2f} s  {result.words[0].text}")
        0.16 s  seine
        >>> result.to_dict()["modality"]
        'av'
    """

    file: str
    """Name of the recording, as the caller wrote it."""
    language: str
    """ISO 639-1 code of the language that the text was decoded in, or ``unknown`` if it was to be
    detected and no language is likely enough."""
    language_probs: dict[str, float]
    """Code -> probability, the most likely language first."""
    text: str
    modality: Modality
    """What was used: the requested modality, or less if sound or face was missing or misleading."""
    modality_reason: str = ""
    """As in ``Segment``, of a recording that was transcribed as a whole."""
    words: tuple[Word, ...] = ()
    """Empty if the times are not known."""
    warnings: tuple[str, ...] = ()
    """Where the result is not what was requested, one sentence each."""
    duration: float = 0.0
    """Seconds."""
    segments: tuple[Segment, ...] = ()
    """The parts of a long recording, in order; empty if it was transcribed as a whole."""
    faces: tuple[FaceSpan, ...] = ()
    """As in ``Segment``, of a recording that was transcribed as a whole."""
    reliable: bool | None = None
    """Whether the recording is like the model's validation data. False: text and language are
    likely wrong, and ``reliability_reasons`` say why. None: the model is not calibrated."""
    reliability_reasons: tuple[str, ...] = ()
    """Why it is not reliable, one clause each; empty otherwise."""
    advice: str = ""
    """What the model's makers advise to do about it; empty if all of it is reliable."""
    doubt: float | None = field(default=None, repr=False, compare=False)
    """How far from the validation data it is: above 0 is not reliable. Not part of ``to_dict``."""
    evidence: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    """What ``doubt`` is computed from, see ``avsr.recognition.evidence``; empty for several
    segments. Not part of ``to_dict``."""
    mouth: "MouthTrack | None" = field(default=None, repr=False, compare=False)
    """The mouth crops that the model read; not part of ``to_dict``."""

    def __post_init__(self) -> None:
        ordered = sorted(self.language_probs.items(), key=lambda item: -item[1])
        object.__setattr__(self, "language_probs", dict(ordered))

    def __str__(self) -> str:
        return self.text

    @property
    def reliability_note(self) -> str:
        """One line that says what is not reliable, and what to do; empty if nothing is."""
        if self.reliable is False:
            text = f"not reliable: {', '.join(self.reliability_reasons)}"
            return f"{text}. {self.advice}" if self.advice else text
        spans: list[list[float]] = []
        for segment in self.segments:
            if segment.reliable is not False:
                continue
            if spans and segment.start - spans[-1][1] < SAME_SPAN:
                spans[-1][1] = segment.end
            else:
                spans.append([segment.start, segment.end])
        listing = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in spans)
        if not spans:
            return ""
        text = f"not reliable: {listing}"
        return f"{text}. {self.advice}" if self.advice else text

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON: times to 1 ms, probabilities to four decimals."""
        return {
            "file": self.file,
            "language": self.language,
            "language_probs": {k: round(float(p), 4) for k, p in self.language_probs.items()},
            "text": self.text,
            "words": [
                {
                    "text": word.text,
                    "start": round(float(word.start), 3),
                    "end": round(float(word.end), 3),
                    "confidence": round(float(word.confidence), 4),
                }
                for word in self.words
            ],
            "modality": self.modality,
            "modality_reason": self.modality_reason,
            "warnings": list(self.warnings),
            "reliable": self.reliable,
            "reasons": list(self.reliability_reasons),
            "advice": self.advice,
            "duration": round(float(self.duration), 3),
            "face": main_face(self.faces, self.modality),
            "faces": [span.to_dict() for span in self.faces],
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def to_json(self) -> str:
        """Convert to one line of JSON; letters of every script stay as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


class Interrupted(KeyboardInterrupt):
    """Raised for Ctrl-C within a long recording, once at least one segment is finished.

    Attributes:
        transcript: Transcript of the finished segments.
    """

    def __init__(self, transcript: "Transcript") -> None:
        super().__init__("stopped")
        self.transcript = transcript
