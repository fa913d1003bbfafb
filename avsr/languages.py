"""Language codes and names.

avsr uses ISO 639-1 codes, and ISO 639-3 codes for languages that have no other. ``canonical_code``
converts other labels (``iw``, ``eng``, ``zh_CN``, ``th: Thai``, ``German``) at the borders: on the
command line, in manifests and corpora, and in the labels of public models.
"""

import difflib
import re
from collections.abc import Sequence

from avsr.errors import LanguageError

MUAVIC_LANGUAGES = ("ar", "de", "el", "en", "es", "fr", "it", "pt", "ru")
"""The nine languages of MuAViC; a model's own languages are in its configuration."""

RIGHT_TO_LEFT = frozenset({"ar", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi", "ckb"})

# ISO 639-1 code, ISO 639-3 code, English name
_ISO_639_1 = """
    aa aar Afar; ab abk Abkhazian; ae ave Avestan; af afr Afrikaans; ak aka Akan;
    am amh Amharic; an arg Aragonese; ar ara Arabic; as asm Assamese; av ava Avaric;
    ay aym Aymara; az aze Azerbaijani; ba bak Bashkir; be bel Belarusian; bg bul Bulgarian;
    bi bis Bislama; bm bam Bambara; bn ben Bengali; bo bod Tibetan; br bre Breton;
    bs bos Bosnian; ca cat Catalan; ce che Chechen; ch cha Chamorro; co cos Corsican;
    cr cre Cree; cs ces Czech; cu chu Church Slavonic; cv chv Chuvash; cy cym Welsh;
    da dan Danish; de deu German; dv div Dhivehi; dz dzo Dzongkha; ee ewe Ewe; el ell Greek;
    en eng English; eo epo Esperanto; es spa Spanish; et est Estonian; eu eus Basque;
    fa fas Persian; ff ful Fulah; fi fin Finnish; fj fij Fijian; fo fao Faroese;
    fr fra French; fy fry Western Frisian; ga gle Irish; gd gla Scottish Gaelic;
    gl glg Galician; gn grn Guarani; gu guj Gujarati; gv glv Manx; ha hau Hausa;
    he heb Hebrew; hi hin Hindi; ho hmo Hiri Motu; hr hrv Croatian; ht hat Haitian Creole;
    hu hun Hungarian; hy hye Armenian; hz her Herero; ia ina Interlingua; id ind Indonesian;
    ie ile Interlingue; ig ibo Igbo; ii iii Nuosu; ik ipk Inupiaq; io ido Ido;
    is isl Icelandic; it ita Italian; iu iku Inuktitut; ja jpn Japanese; jv jav Javanese;
    ka kat Georgian; kg kon Kongo; ki kik Kikuyu; kj kua Kuanyama; kk kaz Kazakh;
    kl kal Greenlandic; km khm Khmer; kn kan Kannada; ko kor Korean; kr kau Kanuri;
    ks kas Kashmiri; ku kur Kurdish; kv kom Komi; kw cor Cornish; ky kir Kyrgyz;
    la lat Latin; lb ltz Luxembourgish; lg lug Ganda; li lim Limburgish; ln lin Lingala;
    lo lao Lao; lt lit Lithuanian; lu lub Luba-Katanga; lv lav Latvian; mg mlg Malagasy;
    mh mah Marshallese; mi mri Maori; mk mkd Macedonian; ml mal Malayalam; mn mon Mongolian;
    mr mar Marathi; ms msa Malay; mt mlt Maltese; my mya Burmese; na nau Nauru;
    nb nob Norwegian Bokmål; nd nde North Ndebele; ne nep Nepali; ng ndo Ndonga;
    nl nld Dutch; nn nno Norwegian Nynorsk; nr nbl South Ndebele; nv nav Navajo;
    ny nya Chichewa; oc oci Occitan; oj oji Ojibwa; om orm Oromo; or ori Odia;
    os oss Ossetian; pa pan Punjabi; pi pli Pali; pl pol Polish; ps pus Pashto;
    pt por Portuguese; qu que Quechua; rm roh Romansh; rn run Rundi; ro ron Romanian;
    ru rus Russian; rw kin Kinyarwanda; sa san Sanskrit; sc srd Sardinian; sd snd Sindhi;
    se sme Northern Sami; sg sag Sango; si sin Sinhala; sk slk Slovak; sl slv Slovenian;
    sm smo Samoan; sn sna Shona; so som Somali; sq sqi Albanian; sr srp Serbian;
    ss ssw Swati; st sot Southern Sotho; su sun Sundanese; sv swe Swedish; sw swa Swahili;
    ta tam Tamil; te tel Telugu; tg tgk Tajik; th tha Thai; ti tir Tigrinya; tk tuk Turkmen;
    tl tgl Tagalog; tn tsn Tswana; to ton Tonga; tr tur Turkish; ts tso Tsonga; tt tat Tatar;
    tw twi Twi; ty tah Tahitian; ug uig Uyghur; uk ukr Ukrainian; ur urd Urdu; uz uzb Uzbek;
    ve ven Venda; vi vie Vietnamese; vo vol Volapük; wa wln Walloon; wo wol Wolof;
    xh xho Xhosa; yi yid Yiddish; yo yor Yoruba; za zha Zhuang; zh zho Chinese; zu zul Zulu
"""
# ISO 639-3 code, English name: languages of speech corpora that ISO 639-1 lacks
_ISO_639_3 = """
    ast Asturian; ceb Cebuano; ckb Central Kurdish; gsw Swiss German; haw Hawaiian;
    kam Kamba; kea Kabuverdianu; luo Luo; nso Northern Sotho; sco Scots; umb Umbundu;
    war Waray; yue Cantonese
"""


def _rows(table: str, columns: int) -> list[list[str]]:
    return [row.split(maxsplit=columns - 1) for row in " ".join(table.split()).split("; ")]


LANGUAGE_NAMES = {code: name for code, _, name in _rows(_ISO_639_1, 3)}
"""Code -> English name of every known language."""
LANGUAGE_NAMES |= dict(_rows(_ISO_639_3, 2))

ALIASES = {
    **{code3: code for code, code3, _ in _rows(_ISO_639_1, 3)},
    # withdrawn codes, which old corpora use
    **{"iw": "he", "jw": "jv", "in": "id", "ji": "yi", "mo": "ro", "no": "nb", "nor": "nb"},
    # bibliographic codes of ISO 639-2
    **{"alb": "sq", "arm": "hy", "baq": "eu", "bur": "my", "chi": "zh", "cze": "cs", "dut": "nl"},
    **{"fre": "fr", "geo": "ka", "ger": "de", "gre": "el", "ice": "is", "mac": "mk", "mao": "mi"},
    **{"may": "ms", "per": "fa", "rum": "ro", "slo": "sk", "tib": "bo", "wel": "cy"},
    # members of macro-languages, which corpora use for the whole
    **{"cmn": "zh", "arb": "ar", "pes": "fa", "swh": "sw", "zsm": "ms", "lvs": "lv", "ekk": "et"},
    **{"npi": "ne", "ory": "or", "uzn": "uz", "azj": "az", "khk": "mn", "als": "sq", "gaz": "om"},
    **{"pbt": "ps", "plt": "mg", "ydd": "yi", "fil": "tl", "fuf": "ff"},
}
"""Other codes -> the code that avsr uses."""


def language_name(code: str) -> str:
    """Return the English name of a language, or the code itself if it is unknown."""
    return LANGUAGE_NAMES.get(code, code)


def is_language_code(code: str) -> bool:
    """Return whether ``code`` is a known language code in canonical form."""
    return code in LANGUAGE_NAMES


def canonical_code(label: str) -> str | None:
    """Convert a language label of any common convention to the code that avsr uses.

    Args:
        label: ISO 639-1, 639-2 or 639-3 code in any case, also with a script or country
            (``zh_CN``, ``cmn-Hans-CN``, ``pt-BR``), a label like ``th: Thai``, or an English name.

    Returns:
        The code, or None for an unknown label.

    Examples:
        >>> canonical_code("iw"), canonical_code("zh_CN"), canonical_code("th: Thai")
        ('he', 'zh', 'th')
    """
    text = label.strip().lower()
    first = re.split(r"[-_:\s]", text, maxsplit=1)[0]
    if first in ALIASES:
        return ALIASES[first]
    if first in LANGUAGE_NAMES:
        return first
    return _CODES_BY_NAME.get(text)


_CODES_BY_NAME = {name.lower(): code for code, name in LANGUAGE_NAMES.items()}


def check_language(code: str, known: Sequence[str] = MUAVIC_LANGUAGES) -> str:
    """Check that a language is one of ``known``.

    Args:
        code: A code or an alias of one.
        known: Codes that are allowed.

    Returns:
        The code as ``known`` has it.

    Raises:
        LanguageError: It is not one of ``known``; the message suggests the most similar one.
    """
    if code in known:
        return code
    alias = ALIASES.get(code.lower(), code.lower())
    if alias in known:
        return alias
    canonical = canonical_code(code)
    matches = difflib.get_close_matches(code.lower(), known, n=1, cutoff=0.5)
    hint = canonical if canonical in known else next(iter(matches), None)
    suffix = f"; did you mean '{hint}'?" if hint else ""
    raise LanguageError(f"unknown language '{code}'{suffix} (known: {', '.join(known)})")


def check_languages(codes: str, known: Sequence[str] = MUAVIC_LANGUAGES) -> tuple[str, ...]:
    """Split ``"en, de"`` into ("en", "de") and check each code with ``check_language``."""
    return tuple(dict.fromkeys(check_language(code.strip(), known) for code in codes.split(",")))


def resolve_language_option(language: str, known: Sequence[str]) -> str:
    """Check the option ``language``.

    Args:
        language: ``auto``, or codes separated by commas.
        known: Codes that are allowed.

    Returns:
        ``auto``, or the checked codes separated by commas.

    Raises:
        LanguageError: A code is not one of ``known``.
    """
    return language if language == "auto" else ",".join(check_languages(language, known))
