"""Random texts of the synthetic corpus: words drawn by frequency, sometimes with a number.

Texts are lower case without punctuation and written as they are spoken: numbers are words, elided
articles are joined ("l'homme"), abbreviations and names of letters are excluded.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from itertools import islice

import numpy as np

from avsr.errors import AvsrError
from avsr.languages import check_language
from avsr.synthetic.voices import SPLITS

VOCABULARY = 1000  # most frequent words of a language
CANDIDATES = 1300  # words of wordfreq from which they are selected
MAX_VOCABULARY = 10_000
CANDIDATE_SHARE = 2.0  # of a larger vocabulary: rarer words are names and foreign words more often
MIN_WORDS, MAX_WORDS = 3, 6
NUMBER_SHARE = 0.15  # of the texts
SPLIT_SHARES = {"train": 0.90, "valid": 0.05, "test": 0.05}  # of all word sequences
# num2words has no Greek: Greek texts have number words only if those are frequent themselves.
NUMBER_LANGUAGES = frozenset({"ar", "de", "en", "es", "fr", "it", "pt", "ru"})

_LATIN = "a-zàâãáäæçèéêëìíîïñòóôõöùúûüýÿœß"
_SCRIPTS = {
    "ar": "ء-غف-ي",
    "el": "α-ωάέήίόύώϊϋΐΰ",
    "ru": "а-яё",
}
# One-letter words; other single letters in frequency lists are clippings or names of letters.
_SINGLE = {
    "ar": "",
    "de": "",
    "el": "οηή",
    "en": "ai",
    "es": "yaoeu",
    "fr": "àay",
    "it": "eaioè",
    "pt": "aoeéà",
    "ru": "вискаояу",
}
LANGUAGES = tuple(_SINGLE)
"""Languages of the synthetic corpus: to add one, fill in the tables here (espeak-ng speaks it)."""
# fmt: off
FOREIGN_LANGUAGES = (
    "bg", "bn", "ca", "cs", "da", "fa", "fi", "he", "hi", "hu", "id", "ja", "ko", "lt", "lv", "mk",
    "nb", "nl", "pl", "ro", "sk", "sl", "sv", "ta", "tr", "uk", "ur", "vi", "zh",
)
# fmt: on
"""Languages to measure what a model does with one that it does not know. Their texts are frequent
words as they come, which nobody has looked through."""
SPOKEN_LANGUAGES = (*LANGUAGES, *FOREIGN_LANGUAGES)
# Joined to the next word: with an apostrophe if it begins with a vowel; in Arabic directly.
_PREFIXES = {
    "ar": {"و": ""},
    "fr": dict.fromkeys(("l", "d", "c", "qu", "j", "n", "s", "m", "t"), "'"),
    "it": dict.fromkeys(("l", "d", "c", "all", "dell", "nell", "dall", "sull"), "'"),
}
_VOWELS = "aeiouyàâáèéêëìíîïòóôùúûœ"
_FRONT_VOWELS = "eèéêëiìíîï"  # "c" is soft before these only
# Abbreviations (espeak-ng spells or expands them), clippings and foreign words.
_EXCLUDED = {
    "ar": "ال فى",
    "de": "bzw ca cdu cm dr eu fc gmbh ii km new no nr ok spd st tv us usa",
    "el": "απ γι δω εε κλπ νδ στ χλμ",
    "en": "al co de dr etc http ii la mr mrs ms re st tv uk us usa vs",
    "es": "dr ee etc eeuu ii pp sr sra uu",
    "fr": "ca dos etc ii km mm mme new ok",
    "it": "ii km new ok pd tv usa",
    "pt": "dr etc http ii ok sp tv us",
    "ru": "гг др кг км мм млн млрд рф см ссср ст сша",
}
# Rarer words without a vowel, and Roman numbers, are spelled by espeak-ng: "pdf", "xi".
_VOWEL = re.compile("[aeiouyœæαεηιουωаеиоуыэюя]")
_ROMAN = re.compile("[ivx]{2,}")
_FOREIGN = 40.0  # a word that is this many times more frequent in English counts as English
_ARABIC_MARKS = re.compile("[\u0610-\u061a\u064b-\u065f\u0670\u0640]")  # diacritics, elongation


@functools.cache
def vocabulary(
    language: str, exponent: float = 1.0, size: int = VOCABULARY
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the most frequent words of a language and their cumulative probabilities (V,).

    Args:
        language: Language code.
        exponent: The probability of a word is proportional to its frequency to this power.
        size: Number of words.

    Raises:
        AvsrError: Without the package wordfreq.
        LanguageError: For an unknown language.
    """
    check_language(language, SPOKEN_LANGUAGES)
    try:
        from wordfreq import get_frequency_dict, top_n_list, word_frequency
    except ImportError as error:
        raise AvsrError("synthetic texts need wordfreq: pip install 'avsr[synthetic]'") from error
    if language in FOREIGN_LANGUAGES:  # of some, word_frequency wants a tokenizer that is missing
        return _plain_vocabulary(get_frequency_dict(language, "small"), language, exponent, size)
    letters = _letters(language)
    form = re.compile(f"{letters}('{letters})?" if language in ("en", "fr", "it") else letters)
    prefixes = _PREFIXES.get(language, {})
    excluded = set(_EXCLUDED[language].split())
    frequencies: dict[str, float] = {}
    wordlist, candidates = "small", CANDIDATES
    if size > VOCABULARY:
        wordlist, candidates = "best", round(size * CANDIDATE_SHARE)
    for entry in top_n_list(language, candidates, wordlist=wordlist):
        word = normalize_word(entry, language)
        single = len(word) == 1 and word not in _SINGLE[language] and word not in prefixes
        if not form.fullmatch(word) or word in excluded or single:
            continue
        if size > VOCABULARY and len(word) > 1 and _is_spelled(word, language):
            continue
        frequency = word_frequency(entry, language, wordlist)
        latin = language not in _SCRIPTS and language != "en"
        if not (latin and word_frequency(word, "en", wordlist) > _FOREIGN * frequency):
            frequencies[word] = frequencies.get(word, 0.0) + frequency
    words = tuple(frequencies)[:size]
    cumulative = np.cumsum([frequencies[word] ** exponent for word in words])
    return words, cumulative / cumulative[-1]


def _letters(language: str) -> str:
    return f"[{_SCRIPTS.get(language, _LATIN)}]+"


def _is_spelled(word: str, language: str) -> bool:
    """Return whether espeak-ng reads a word letter by letter, or as a number."""
    vowels = _VOWEL.search(unicodedata.normalize("NFD", word))
    return language != "ar" and (not vowels or _ROMAN.fullmatch(word) is not None)


def is_spoken_word(word: str, language: str) -> bool:
    """Return whether a normalised word has letters of the language's script only, and apostrophes.

    Raises:
        LanguageError: For an unknown language.
    """
    check_language(language, SPOKEN_LANGUAGES)
    if language in FOREIGN_LANGUAGES:
        return _is_spoken(word.replace("'", ""), language)
    letters = _letters(language)
    return re.fullmatch(f"{letters}('{letters})*", word) is not None


def _plain_vocabulary(
    frequencies: Mapping[str, float], language: str, exponent: float, size: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """As ``vocabulary``, of all words that consist of letters, in Japanese of kana."""
    ordered = sorted(frequencies, key=lambda word: (-frequencies[word], word))
    words = tuple(islice((word for word in ordered if _is_spoken(word, language)), size))
    cumulative = np.cumsum([frequencies[word] ** exponent for word in words])
    return words, cumulative / cumulative[-1]


def _is_spoken(word: str, language: str) -> bool:
    """Whether espeak-ng reads a word: letters and their marks; it spells the kanji of Japanese."""
    if language == "ja":
        return all("ぁ" <= letter <= "ヺ" for letter in word)
    return all(unicodedata.category(letter)[0] in "LM" for letter in word)


def normalize_word(word: str, language: str) -> str:
    """Normalise a word: lower case, composed letters, final sigma, no Arabic diacritics."""
    word = unicodedata.normalize("NFC", word.lower()).replace("’", "'")
    if language == "el" and word.endswith("σ"):
        return word[:-1] + "ς"  # case folding of the word lists has lost it
    return _ARABIC_MARKS.sub("", word) if language == "ar" else word


def spell_number(number: int, language: str, *, year: bool = False) -> str:
    """Write a number in words, normalised like all texts: "twenty one"."""
    try:
        from num2words import num2words
    except ImportError as error:
        raise AvsrError("synthetic texts need num2words: pip install 'avsr[synthetic]'") from error
    text = num2words(number, lang=language, to="year" if year else "cardinal")
    text = re.sub(r"[-,\s]+", " ", normalize_word(text, language)).strip()
    return text.replace(" و ", " و") if language == "ar" else text


def text_split(text: str, language: str) -> str:
    """Return the split to which a word sequence belongs, determined by its hash."""
    digest = hashlib.sha256(f"{language}:{text}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in SPLIT_SHARES.items():
        if point < share:
            return split
        point -= share
    return SPLITS[-1]


def draw_text(
    language: str,
    split: str,
    rng: np.random.Generator,
    word_exponent: float = 1.0,
    words: int = VOCABULARY,
) -> str:
    """Draw a text of MIN_WORDS to MAX_WORDS words (a number may add some) that belongs to a split.

    Args:
        language: Language code.
        split: train, valid or test; the splits share no text.
        rng: Random generator.
        word_exponent: Words are drawn by their frequency to this power; below 1, rare words are
            drawn more often.
        words: Size of the vocabulary: the most frequent words of the language.

    Raises:
        AvsrError: For an unknown split, or without the packages wordfreq and num2words.
        LanguageError: For an unknown language.
    """
    if split not in SPLIT_SHARES:
        raise AvsrError(f"unknown split '{split}': use one of {', '.join(SPLIT_SHARES)}")
    while True:
        text = _draw(language, rng, vocabulary(language, word_exponent, words))
        if text_split(text, language) == split:
            return text


Drawable = tuple[
    tuple[str, ...], np.ndarray
]  # words and cumulative probabilities, as returned by ``vocabulary``


def _draw(language: str, rng: np.random.Generator, choice: Drawable) -> str:
    """Draw a text of any split."""
    count = int(rng.integers(MIN_WORDS, MAX_WORDS + 1))
    number = language in NUMBER_LANGUAGES and rng.random() < NUMBER_SHARE
    if number:
        count -= 1
    words: list[str] = []
    for index in range(count):
        # espeak-ng reads a final single letter by its name ("a" as in "abc")
        last = index == count - 1
        previous = words[-1] if words else ""
        words.append(_draw_word(language, rng, choice, previous, last=last))
    if number:
        words.insert(int(rng.integers(len(words))), _draw_number(language, rng))
    return " ".join(words)


def _draw_word(
    language: str, rng: np.random.Generator, choice: Drawable, previous: str, *, last: bool
) -> str:
    """Draw a word other than ``previous``, with an elided prefix joined to it."""
    words, cumulative = choice
    prefixes = _PREFIXES.get(language, {})
    prefix = ""
    while True:
        word = words[int(np.searchsorted(cumulative, rng.random(), side="right"))]
        if word == previous or (len(word) == 1 and (last or prefix) and word not in prefixes):
            continue
        if word in prefixes:
            prefix = prefix or word
        elif not prefix:
            return word
        elif _joins(prefix, word, language):
            return prefix + prefixes[prefix] + word


def _joins(prefix: str, word: str, language: str) -> bool:
    """Return whether a prefix can be joined to a word."""
    if language == "ar":
        return not word.startswith(prefix)
    return "'" not in word and word[0] in (_FRONT_VOWELS if prefix == "c" else _VOWELS)


def _draw_number(language: str, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.75:
        return spell_number(int(rng.integers(100)), language)
    if kind < 0.87:
        return spell_number(100 * int(rng.integers(1, 10)), language)
    return spell_number(int(rng.integers(1900, 2031)), language, year=True)
