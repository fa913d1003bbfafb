"""Text normalisation of scoring and of corpora: lower case, no punctuation (as MuAViC)."""

import unicodedata

NORMALIZATION_VERSION = "1"  # stored with every score; changes with any rule below

APOSTROPHES = frozenset("'’‘ʼ`´′＇")
TATWEEL = "\u0640"  # lengthens Arabic letters on the line
# Languages whose combining marks only help to read aloud: vowels in Arabic, stress in Russian.
# Composed letters (й, ё, آ) are letters of their own and stay.
READING_AIDS = frozenset({"ar", "ru"})


def normalize_text(text: str, language: str) -> str:
    """Normalise text for scoring: lower-case words with single spaces between them.

    Punctuation, hyphens and symbols become spaces; an apostrophe inside a word stays (l'eau,
    don't), always as ``'``. Invisible marks (text direction, soft hyphens) are removed, and so are
    vowel signs and tatweel in Arabic and stress marks in Russian. All other accents are spelling
    and stay, as do ß and the Greek final sigma. Numbers are not spelled out.

    Args:
        text: Any text.
        language: Code of its language.

    Returns:
        The normalised text, which normalising again does not change.
    """
    chars = []
    for char in unicodedata.normalize("NFC", text).lower():
        kind = unicodedata.category(char)
        if kind == "Cf" or char == TATWEEL or (kind == "Mn" and language in READING_AIDS):
            continue
        if char in APOSTROPHES:
            chars.append("'")
        else:
            chars.append(char if kind[0] in "LNM" else " ")
    words = (word.strip("'") for word in "".join(chars).replace("''", " ").split())
    return " ".join(word for word in words if word)
