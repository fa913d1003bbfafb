"""What is said in a synthetic corpus: frequent words, sentences of files, or those of GRID."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsr.corpus.grid import SENTENCE
from avsr.corpus.normalization import normalize_text
from avsr.corpus.text_files import read_text
from avsr.errors import CorpusError
from avsr.runtime.text_lines import split_lines
from avsr.synthetic.text import SPLIT_SHARES, draw_text, is_spoken_word, text_split

WORDS = "words"
"""Texts of ``draw_text``: words drawn by their frequency."""
GRID = "grid"
"""Texts of the GRID corpus: command, colour, preposition, letter, digit, adverb."""
# Mean durations, measured over nine languages; they convert hours to utterances.
WORDS_SECONDS = 1.66
GRID_SECONDS = 1.88
SENTENCE_SECONDS, LETTER_SECONDS = 0.78, 0.052
MAX_LETTERS = 120  # of a sentence: more than 7 s of speech in any voice
MAX_PROBLEMS = 3  # lines named in a message

# espeak-ng reads "a" as the article, not as the letter.
GRID_SPELLINGS = {"a": "eigh"}

# The letter w has three syllables and is not in GRID (Cooke, Barker, Cunningham, Shao 2006).
_GRID_WORDS = [[word for word in words.values() if word != "w"] for words in SENTENCE]


def draw_sentence(
    texts: str,
    language: str,
    split: str,
    rng: np.random.Generator,
    word_exponent: float,
    words: int,
) -> str:
    """Draw a text that belongs to a split.

    Args:
        texts: ``words``, ``grid``, or a folder for ``read_sentences``.
        language: Language code.
        split: train, valid or test; the splits share no text.
        rng: Random generator.
        word_exponent: For ``words``, see ``draw_text``.
        words: For ``words``, see ``draw_text``.

    Raises:
        CorpusError: The folder has no sentences of the split.
        AvsrError, LanguageError: As ``draw_text``.
    """
    if texts == WORDS:
        return draw_text(language, split, rng, word_exponent, words)
    if texts == GRID:
        while True:
            text = " ".join(choices[int(rng.integers(len(choices)))] for choices in _GRID_WORDS)
            if text_split(text, language) == split:
                return text
    sentences = read_sentences(texts, language)[split]
    return sentences[int(rng.integers(len(sentences)))]


def spell_for_synthesis(texts: str, text: str) -> str:
    """Return a text as espeak-ng pronounces it right, with the same number of words."""
    spellings = GRID_SPELLINGS if texts == GRID else {}
    return " ".join(spellings.get(word, word) for word in text.split())


@functools.cache
def read_sentences(folder: str, language: str) -> dict[str, tuple[str, ...]]:
    """Read the sentences of a language: ``FOLDER/<language>.txt``, one per line.

    They are normalised (lower case, no punctuation). Empty lines and those that begin with ``#``
    are left out.

    Args:
        folder: The folder.
        language: Language code.

    Returns:
        Split -> different sentences, at least one.

    Raises:
        CorpusError: There is no such file, lines cannot be spoken (the first ones are named), or
            there are too few for three splits.
    """
    path = Path(folder) / f"{language}.txt"
    problems = []
    sentences: dict[str, dict[str, None]] = {split: {} for split in SPLIT_SHARES}
    for number, line in enumerate(split_lines(read_text(path)), 1):
        if not line.strip() or line.startswith("#"):
            continue
        text = normalize_text(line, language)
        problem = sentence_problem(text, language)
        if problem:
            problems.append(f"line {number} {problem}")
        else:
            sentences[text_split(text, language)][text] = None
    if problems:
        more = f" and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise CorpusError(f"{path}: {'; '.join(problems[:MAX_PROBLEMS])}{more}")
    empty = [split for split, texts in sentences.items() if not texts]
    if empty:
        count = sum(map(len, sentences.values()))
        raise CorpusError(
            f"{path}: {count} sentences are too few, none falls into the split {empty[0]}"
        )
    return {split: tuple(texts) for split, texts in sentences.items()}


def sentence_problem(text: str, language: str) -> str | None:
    """Return why a normalised text cannot be spoken, as the end of "line 3 ..."; None if it can."""
    if not text:
        return "has no words"
    if any(char.isdigit() for char in text):
        return "has digits: write numbers in words"
    foreign = next((word for word in text.split() if not is_spoken_word(word, language)), None)
    if foreign:
        return f"has '{foreign}', which is no word of the language '{language}'"
    if len(text) > MAX_LETTERS:
        return f"has {len(text)} letters: divide it, {MAX_LETTERS} are about 7 seconds"
    return None


def identify_texts(texts: str, languages: Sequence[str]) -> str:
    """Check where the texts of a corpus come from, and return what identifies them.

    Args:
        texts: As for ``draw_sentence``.
        languages: Languages of the corpus.

    Returns:
        The name, or the SHA-256 of all sentences.

    Raises:
        CorpusError: The folder is none, or as ``read_sentences``; GRID is English.
    """
    if texts == WORDS:
        return texts
    if texts == GRID:
        others = [language for language in languages if language != "en"]
        if others:
            raise CorpusError(f"sentences of GRID are English: leave out the language {others[0]}")
        return texts
    if not Path(texts).is_dir():
        raise CorpusError(f"texts must be '{WORDS}', '{GRID}' or a folder, not '{texts}'")
    digest = hashlib.sha256()
    for language in languages:
        for split, sentences in read_sentences(texts, language).items():
            digest.update("\n".join((language, split, *sentences, "")).encode())
    return f"sha256:{digest.hexdigest()}"


def mean_duration(texts: str, languages: Sequence[str]) -> float:
    """Return the mean duration of an utterance in seconds, approximately."""
    if texts in (WORDS, GRID):
        return {WORDS: WORDS_SECONDS, GRID: GRID_SECONDS}[texts]
    letters = [
        float(np.mean([len(text) for text in read_sentences(texts, language)["train"]]))
        for language in languages
    ]
    return SENTENCE_SECONDS + LETTER_SECONDS * float(np.mean(letters))
