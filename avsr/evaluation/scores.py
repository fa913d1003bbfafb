"""Word and character error rates, language accuracy."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rapidfuzz.distance import Levenshtein

from avsr.evaluation.text import normalize_text


@dataclass(frozen=True)
class EditCounts:
    """Edits that turn references into hypotheses."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0
    """Words (or characters) of the references."""

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors over reference length: WER or CER. Without references 0 or infinite."""
        if self.length == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.length

    def __add__(self, other: Self) -> "EditCounts":
        """Counts of both together."""
        return EditCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.length + other.length,
        )


def _count(reference: Sequence[str], hypothesis: Sequence[str]) -> EditCounts:
    edits = [edit.tag for edit in Levenshtein.editops(reference, hypothesis)]
    return EditCounts(
        edits.count("replace"), edits.count("delete"), edits.count("insert"), len(reference)
    )


def word_errors(reference: str, hypothesis: str) -> EditCounts:
    """Edits between the words of two normalised texts (Levenshtein distance)."""
    return _count(reference.split(), hypothesis.split())


def char_errors(reference: str, hypothesis: str) -> EditCounts:
    """Edits between the characters of two normalised texts, spaces included."""
    return _count(reference, hypothesis)


def wer(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float:
    """Word error rate over all words of raw texts in one language; 0.25 is 25 %."""
    return score(_outcomes(references, hypotheses, language))[language].words.rate


def cer(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float:
    """Character error rate over all characters of raw texts in one language."""
    return score(_outcomes(references, hypotheses, language))[language].characters.rate


@dataclass(frozen=True, kw_only=True)
class UtteranceResult:
    """One utterance and what was made of it."""

    utterance_id: str
    language: str
    """The language that is spoken."""
    reference: str
    """What is said, as in the manifest."""
    hypothesis: str
    """What was understood; empty if nothing could be transcribed."""
    detected: str | None = None
    """The language that the sound or the lips seem to be in; None if nothing was transcribed."""
    language_probs: Mapping[str, float] = field(default_factory=dict)
    """Probability of each language, rounded to six digits."""
    seconds: float = 0.0
    """Length of the clip."""
    boundary_errors: tuple[float, ...] = ()
    """Milliseconds by which starts and ends of words are off, where true times are known."""
    noise: tuple[Mapping[str, Any], ...] = ()
    """Pieces of noise that were mixed in: file and second."""
    modality: str | None = None
    """What was really used; None if nothing could be transcribed."""
    failure: str | None = None
    """Why nothing was transcribed."""


def _outcomes(
    references: Sequence[str], hypotheses: Sequence[str], language: str
) -> list[UtteranceResult]:
    if not references:
        raise ValueError("an error rate needs at least one reference")
    return [
        UtteranceResult(
            utterance_id=str(i), language=language, reference=said, hypothesis=understood
        )
        for i, (said, understood) in enumerate(zip(references, hypotheses, strict=True))
    ]


@dataclass(frozen=True, kw_only=True)
class LanguageScore:
    """Scores of the utterances of one language."""

    utterances: int
    words: EditCounts
    characters: EditCounts
    recognised: int
    """Utterances whose language was recognised rightly."""

    def to_dict(self, *, detected: bool) -> dict[str, Any]:
        """Plain values for JSON; ``detected`` says whether languages were recognised at all."""
        return {
            "utterances": self.utterances,
            "wer": _plain(self.words.rate),
            "cer": _plain(self.characters.rate),
            "language_accuracy": self.recognised / self.utterances if detected else None,
            "words": self.words.length,
            "substitutions": self.words.substitutions,
            "deletions": self.words.deletions,
            "insertions": self.words.insertions,
            "characters": self.characters.length,
            "character_errors": self.characters.errors,
        }


def score(outcomes: Iterable[UtteranceResult]) -> dict[str, LanguageScore]:
    """Scores by language, in alphabetical order; each over all words of its language."""
    by_language: dict[str, list[UtteranceResult]] = {}
    for outcome in outcomes:
        by_language.setdefault(outcome.language, []).append(outcome)
    return {code: _score(code, by_language[code]) for code in sorted(by_language)}


def _score(language: str, outcomes: Sequence[UtteranceResult]) -> LanguageScore:
    words = characters = EditCounts()
    for outcome in outcomes:
        said = normalize_text(outcome.reference, language)
        understood = normalize_text(outcome.hypothesis, language)
        words += word_errors(said, understood)
        characters += char_errors(said, understood)
    return LanguageScore(
        utterances=len(outcomes),
        words=words,
        characters=characters,
        recognised=sum(outcome.detected == language for outcome in outcomes),
    )


def macro_average(scores: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """Mean over languages, each counting the same, of ``LanguageScore.to_dict`` results."""
    rows = list(scores)
    means: dict[str, float | None] = {}
    for name in ("wer", "cer", "language_accuracy"):
        values = [row[name] for row in rows]
        means[name] = None if None in values or not rows else sum(values) / len(values)
    return means


def _plain(rate: float) -> float | None:
    """JSON has no infinity."""
    return rate if math.isfinite(rate) else None
