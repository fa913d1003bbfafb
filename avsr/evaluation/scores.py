"""Word and character error rates, and language accuracy."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rapidfuzz.distance import Levenshtein

from avsr.corpus.normalization import normalize_text
from avsr.settings import LongText


@dataclass(frozen=True)
class EditCounts:
    """Numbers of edits that turn references into hypotheses."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0
    """Words (or characters) of the references."""

    @property
    def errors(self) -> int:
        """Number of all edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors over reference length: WER or CER. For an empty reference 0 or infinite."""
        if self.length == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.length

    def __add__(self, other: Self) -> "EditCounts":
        """Add the counts of two sets of texts."""
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
    """Count the edits between the words of two texts (Levenshtein distance).

    Args:
        reference: Normalised text of what was said.
        hypothesis: Normalised transcript.
    """
    return _count(reference.split(), hypothesis.split())


def char_errors(reference: str, hypothesis: str) -> EditCounts:
    """Count the edits between the characters of two texts, spaces included.

    Args:
        reference: Normalised text of what was said.
        hypothesis: Normalised transcript.
    """
    return _count(reference, hypothesis)


def wer(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float:
    """Compute the word error rate over all words of some texts.

    Args:
        references: What was said; normalised here with ``normalize_text``.
        hypotheses: Transcripts, one per reference.
        language: Code of the language of all texts.

    Returns:
        The rate; 0.25 is 25 %, and more than 1 is possible.

    Raises:
        ValueError: There are no references.
    """
    return _rate(word_errors, references, hypotheses, language)


def cer(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float:
    """Compute the character error rate over all characters of some texts.

    Args:
        references: What was said; normalised here with ``normalize_text``.
        hypotheses: Transcripts, one per reference.
        language: Code of the language of all texts.

    Returns:
        The rate; 0.25 is 25 %, and more than 1 is possible.

    Raises:
        ValueError: There are no references.
    """
    return _rate(char_errors, references, hypotheses, language)


def _rate(
    count: Callable[[str, str], EditCounts],
    references: Sequence[str],
    hypotheses: Sequence[str],
    language: str,
) -> float:
    if not references:
        raise ValueError("an error rate needs at least one reference")
    total = EditCounts()
    for texts in zip(references, hypotheses, strict=True):
        total += count(*(normalize_text(text, language) for text in texts))
    return total.rate


@dataclass(frozen=True, kw_only=True)
class UtteranceResult:
    """Transcript of one utterance under one condition."""

    utterance_id: str
    language: str
    """Code of the spoken language."""
    reference: LongText
    """What was said, as in the manifest."""
    hypothesis: LongText
    """The transcript; empty if nothing could be transcribed."""
    detected: str | None = None
    """Code of the most probable language; None if nothing was transcribed."""
    language_probs: Mapping[str, float] = field(default_factory=dict)
    """Probability of each language, rounded to six digits."""
    seconds: float = 0.0
    """Duration of the clip."""
    boundary_errors: tuple[float, ...] = ()
    """Milliseconds by which starts and ends of words are wrong, where the manifest has times."""
    noise: tuple[Mapping[str, Any], ...] = ()
    """Pieces of noise in the sound: file and second."""
    modality: str | None = None
    """Modality of the input that existed; None if nothing could be transcribed."""
    senses: tuple[str, ...] = ()
    """Modality that each of its segments was read from; empty if that is not known."""
    doubt: float | None = None
    """Above 0 the transcript is not reliable, see ``Transcript.doubt``; rounded to three digits.
    None for a model that is not calibrated."""
    failure: str | None = None
    """Why nothing was transcribed."""

    @property
    def has_words(self) -> bool:
        """Whether normalising leaves words of the reference."""
        return bool(normalize_text(self.reference, self.language))


@dataclass(frozen=True, kw_only=True)
class LanguageScore:
    """Scores of the utterances of one language."""

    utterances: int
    words: EditCounts
    characters: EditCounts
    recognised: int
    """Number of utterances whose language was detected correctly."""

    def to_dict(self, *, detected: bool) -> dict[str, Any]:
        """Convert to plain values for JSON.

        Args:
            detected: Whether the recognizer detects languages; if not, the accuracy is None.
        """
        return {
            "utterances": self.utterances,
            "wer": self.words.rate if self.words.length else None,
            "cer": self.characters.rate if self.characters.length else None,
            "language_accuracy": self.recognised / self.utterances if detected else None,
            "words": self.words.length,
            "substitutions": self.words.substitutions,
            "deletions": self.words.deletions,
            "insertions": self.words.insertions,
            "characters": self.characters.length,
            "character_errors": self.characters.errors,
        }


def score(utterances: Iterable[UtteranceResult]) -> dict[str, LanguageScore]:
    """Score utterances by language.

    Args:
        utterances: Transcripts under one condition.

    Returns:
        Scores over all words of each language, in alphabetical order of the codes.
    """
    by_language: dict[str, list[UtteranceResult]] = {}
    for utterance in utterances:
        by_language.setdefault(utterance.language, []).append(utterance)
    return {code: _score(code, by_language[code]) for code in sorted(by_language)}


def _score(language: str, utterances: Sequence[UtteranceResult]) -> LanguageScore:
    words = characters = EditCounts()
    for utterance in utterances:
        reference = normalize_text(utterance.reference, language)
        hypothesis = normalize_text(utterance.hypothesis, language)
        words += word_errors(reference, hypothesis)
        characters += char_errors(reference, hypothesis)
    return LanguageScore(
        utterances=len(utterances),
        words=words,
        characters=characters,
        recognised=sum(utterance.detected == language for utterance in utterances),
    )


def macro_average(scores: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """Average ``LanguageScore.to_dict`` results over languages, each with the same weight.

    Languages without an error rate, because none of their references has words, are left out.
    """
    rows = list(scores)
    means: dict[str, float | None] = {}
    for name in ("wer", "cer", "language_accuracy"):
        values = [row[name] for row in rows if row[name] is not None]
        is_blank = not values or (name == "language_accuracy" and len(values) < len(rows))
        means[name] = None if is_blank else sum(values) / len(values)
    return means
