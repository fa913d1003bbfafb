"""Text normalisation before scoring: lower case, no punctuation (the protocol of MuAViC)."""

import unicodedata

NORMALIZATION_VERSION = "1"  # stands beside every score; changes with any rule below

APOSTROPHES = frozenset("'’‘ʼ`´′＇")
TATWEEL = "\u0640"  # lengthens Arabic letters on the line
# Signs above and below letters that only help to read aloud: vowels in Arabic, stress in Russian.
# Composed letters (й, ё, آ) are letters of their own and stay.
READING_AIDS = frozenset({"ar", "ru"})


def normalize_text(text: str, language: str) -> str:
    """Lower-case words of letters and digits, parted by single spaces.

    Punctuation, hyphens and symbols become spaces; an apostrophe stays inside a word (l'eau,
    don't), always as ``'``. Invisible marks (text direction, soft hyphens) go. Arabic loses vowel
    signs and tatweel, Russian stress marks. Every other accent is spelling and stays, and so do
    ß and the Greek final sigma; numbers are not spelled out.
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
