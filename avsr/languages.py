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
# fmt: off
ISO_639_1 = frozenset((
    "aa", "ab", "ae", "af", "ak", "am", "an", "ar", "as", "av", "ay", "az", "ba", "be", "bg", "bi",
    "bm", "bn", "bo", "br", "bs", "ca", "ce", "ch", "co", "cr", "cs", "cu", "cv", "cy", "da", "de",
    "dv", "dz", "ee", "el", "en", "eo", "es", "et", "eu", "fa", "ff", "fi", "fj", "fo", "fr", "fy",
    "ga", "gd", "gl", "gn", "gu", "gv", "ha", "he", "hi", "ho", "hr", "ht", "hu", "hy", "hz", "ia",
    "id", "ie", "ig", "ii", "ik", "io", "is", "it", "iu", "ja", "jv", "ka", "kg", "ki", "kj", "kk",
    "kl", "km", "kn", "ko", "kr", "ks", "ku", "kv", "kw", "ky", "la", "lb", "lg", "li", "ln", "lo",
    "lt", "lu", "lv", "mg", "mh", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "na", "nb", "nd",
    "ne", "ng", "nl", "nn", "no", "nr", "nv", "ny", "oc", "oj", "om", "or", "os", "pa", "pi", "pl",
    "ps", "pt", "qu", "rm", "rn", "ro", "ru", "rw", "sa", "sc", "sd", "se", "sg", "si", "sk", "sl",
    "sm", "sn", "so", "sq", "sr", "ss", "st", "su", "sv", "sw", "ta", "te", "tg", "th", "ti", "tk",
    "tl", "tn", "to", "tr", "ts", "tt", "tw", "ty", "ug", "uk", "ur", "uz", "ve", "vi", "vo", "wa",
    "wo", "xh", "yi", "yo", "za", "zh", "zu",
))
# fmt: on


def language_name(code: str) -> str:
    """English name of a language code; the code itself where it has no name here."""
    return NAMES.get(code, code)


def is_language_code(code: str) -> bool:
    """Whether ``code`` is an ISO 639-1 code, which a corpus of one's own may use."""
    return code in ISO_639_1


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


def check_languages(codes: str, known: tuple[str, ...] = LANGUAGES) -> tuple[str, ...]:
    """``"en, de"`` -> ("en", "de"), each one of ``known`` and once; raises like check_language."""
    return tuple(dict.fromkeys(check_language(code.strip(), known) for code in codes.split(",")))


def check_language_option(language: str, known: tuple[str, ...]) -> None:
    """Raise LanguageError if ``language`` is neither ``auto`` nor known codes with commas."""
    if language != "auto":
        check_languages(language, known)
