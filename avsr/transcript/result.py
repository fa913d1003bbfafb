"""What a transcription hands back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from avsr.face import MouthTrack

Modality = Literal["av", "audio", "video"]
"""What is read: sound and lips, sound only, lips only."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True)
class Word:
    """A word and when it is spoken."""

    text: str
    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds, not before ``start``."""
    confidence: float
    """0 to 1."""


@dataclass(frozen=True, kw_only=True)
class FaceSpan:
    """When which face was looked at, and how often it was seen. Times are the recording's."""

    face: int
    """Number of the face, from 1 on."""
    start: float
    """Seconds."""
    end: float
    num_frames: int
    """At 25 a second."""
    num_found: int
    """Frames in which the face was seen and not turned away."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        times = {"start": round(float(self.start), 3), "end": round(float(self.end), 3)}
        return {"face": self.face, **times, "frames": self.num_frames, "found": self.num_found}


def main_face(faces: Sequence[FaceSpan], modality: Modality) -> int | None:
    """The face whose lips were read the longest; None where no lips were read."""
    frames: dict[int, int] = {}
    for span in faces if modality != "audio" else ():
        frames[span.face] = frames.get(span.face, 0) + span.num_found
    return max(frames, key=lambda face: frames[face], default=None)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a long recording that was transcribed by itself. Times are the recording's."""

    start: float
    """Seconds."""
    end: float
    language: str
    """Code of the language that the text was decoded in."""
    language_probs: dict[str, float]
    """What this part alone says of the language, code -> probability."""
    text: str
    modality: Modality
    """What was really used."""
    words: tuple[Word, ...] = ()
    faces: tuple[FaceSpan, ...] = ()
    """The faces that were taken for the speaker's, in order; of no use where the modality is
    ``audio``."""
    speaker: str = ""
    """What to call who speaks, where every face has segments of its own; else empty."""

    @property
    def face(self) -> int | None:
        """Number of the face whose lips were read the longest; None where none were."""
        return main_face(self.faces, self.modality)

    @property
    def spoken_text(self) -> str:
        """The text with the speaker's name before it, where there is one."""
        return f"{self.speaker}: {self.text}" if self.speaker and self.text else self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "start": round(float(self.start), 3),
            "end": round(float(self.end), 3),
            "language": self.language,
            "language_probs": {k: round(float(p), 4) for k, p in self.language_probs.items()},
            "text": self.text,
            "modality": self.modality,
            "face": self.face,
            "faces": [span.to_dict() for span in self.faces],
            "speaker": self.speaker,
        }


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What is said in a recording and in which language. ``str()`` is the text."""

    file: str
    """The recording as the caller named it."""
    language: str
    """ISO 639-1 code of the language that the text was decoded in, or ``und`` if a model of several
    languages does not tell them apart."""
    language_probs: dict[str, float]
    """Code -> probability, the most likely first."""
    text: str
    modality: Modality
    """What was really used, whatever was asked for."""
    words: tuple[Word, ...] = ()
    """May be empty where no times are known."""
    warnings: tuple[str, ...] = ()
    """What went otherwise than asked for, one sentence each."""
    duration: float = 0.0
    """Seconds."""
    segments: tuple[Segment, ...] = ()
    """The parts of a long recording, in order; empty where it was transcribed whole."""
    faces: tuple[FaceSpan, ...] = ()
    """Of a recording that was transcribed whole: as in Segment."""
    mouth: "MouthTrack | None" = field(default=None, repr=False, compare=False)
    """The mouth crops that the model saw; not part of ``to_dict``."""

    def __post_init__(self) -> None:
        ordered = sorted(self.language_probs.items(), key=lambda item: -item[1])
        object.__setattr__(self, "language_probs", dict(ordered))

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times to a millisecond, probabilities to four decimals."""
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
            "warnings": list(self.warnings),
            "duration": round(float(self.duration), 3),
            "face": main_face(self.faces, self.modality),
            "faces": [span.to_dict() for span in self.faces],
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def to_json(self) -> str:
        """``to_dict`` as one line of JSON, text as it is written in its language."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C within a long recording; ``transcript`` has the parts that were finished."""

    def __init__(self, transcript: "Transcript") -> None:
        super().__init__("stopped")
        self.transcript = transcript
