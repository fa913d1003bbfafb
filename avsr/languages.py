"""Languages inside avsr are ISO 639-1 codes; names and other conventions live here only."""

import difflib

from avsr.errors import LanguageError

NAMES = {
    "ar": "Arabic",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
}
LANGUAGES = tuple(NAMES)  # the nine languages of MuAViC, alphabetical by code
RIGHT_TO_LEFT = frozenset({"ar"})


def language_name(code: str) -> str:
    """English name of a language code; the code itself where it has no name here."""
    return NAMES.get(code, code)


def check_language(code: str, known: tuple[str, ...] = LANGUAGES) -> str:
    """Return ``code`` if it is one of ``known``; raise LanguageError naming the nearest one."""
    if code in known:
        return code
    by_name = {language_name(k).lower(): k for k in known}
    near = by_name.get(code.lower()) or next(
        iter(difflib.get_close_matches(code.lower(), known, n=1, cutoff=0.5)), None
    )
    hint = f"; did you mean '{near}'?" if near else ""
    raise LanguageError(f"unknown language '{code}'{hint} (known: {', '.join(known)})")
