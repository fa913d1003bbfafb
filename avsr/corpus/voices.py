"""Read real voices: recordings with texts, whose licences allow to train on them.

``read_voices`` reads a folder of several sources with a ``manifest.jsonl``: one recording per line
with ``file``, ``source``, ``language``, ``speaker``, ``text``, ``duration``, ``licence``.
``read_festvox`` reads the Russian voice of the speech synthesiser Festival.
"""

import os
import re
import zlib
from collections.abc import Collection, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import Record, is_number
from avsr.corpus.normalization import normalize_text
from avsr.corpus.text_files import read_bytes, read_text
from avsr.errors import CorpusError
from avsr.runtime.text_lines import json_lines, split_lines

TRAINING_LICENCES = frozenset({"CC0-1.0", "CC-BY-4.0"})
"""Models that learned from such recordings may be passed on under any licence, with credit."""
TRAINING_SOURCES = ("kerstin", "kathleen", "arabic-speech-commands")
SOURCES_OF_WORDS = frozenset({"arabic-speech-commands"})  # few texts: split by speaker
FIELDS = ("file", "source", "language", "speaker", "licence")

# The Arabic Speech Commands (Ghandoura, Hjabo and Al Dakkak 2021) name their words in English.
# Where synonyms are likely, these are nearer to the recordings (time warping against espeak-ng).
# Left out, as that did not tell: up, right, stop, enable, move, receive.
# fmt: off
ARABIC_COMMANDS = {
    "zero": "صفر", "one": "واحد", "two": "اثنان", "three": "ثلاثة", "four": "أربعة",
    "five": "خمسة", "six": "ستة", "seven": "سبعة", "eight": "ثمانية", "nine": "تسعة",
    "left": "يسار", "down": "أسفل", "forward": "أمام", "backward": "خلف", "yes": "نعم",
    "no": "لا", "start": "ابدأ", "disable": "تعطيل", "ok": "موافق", "cancel": "إلغاء",
    "open": "فتح", "close": "إغلاق", "zoom in": "تكبير", "zoom out": "تصغير",
    "previous": "السابق", "next": "التالي", "send": "إرسال", "rotate": "تدوير",
    "record": "تسجيل", "enter": "إدخال", "digit": "رقم", "direction": "اتجاه",
    "options": "خيارات", "undo": "تراجع",
}
# fmt: on

FESTVOX = "festvox-ru"  # source and speaker; Nickolay V. Shmyrev 2005, BSD-like licence
FESTVOX_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')  # ( ru_0001 "Текст, с удар+ением." )
# fmt: off
FESTVOX_VOWELS = frozenset((  # each is one letter
    "ii", "yy", "uu", "ee", "oo", "aa", "a", "e", "i", "y", "u", "ae", "ay", "ur",
))
# fmt: on
FESTVOX_PAUSE = "pau"
VOWEL_LETTERS = re.compile("[аеёиоуыэюя]")
MIN_PAUSE = 0.2  # s of a pause at which a sentence is cut
MAX_PIECE = 6.0  # s of a piece, unless it has no pause
MAX_MARGIN = 0.15  # s of a pause that stays with a piece


def read_voices(
    root: str | os.PathLike[str], sources: Collection[str] = TRAINING_SOURCES
) -> list[Record]:
    """Read the recordings of some sources that have a text without digits.

    Recordings of the same sentence are in one split (``sentence_split``). Sources of single words
    are split by speaker instead.

    Args:
        root: Folder with ``manifest.jsonl``.
        sources: Names of the sources.

    Returns:
        Records in the order of the manifest, with normalised texts; ``media`` is relative to
        ``root``.

    Raises:
        CorpusError: The manifest is broken, has none of a source, or a licence does not allow to
            train a model that is passed on.
    """
    path = Path(root) / "manifest.jsonl"
    rows = []
    for line in json_lines(read_bytes(path)):
        problem = line.problem or _row_problem(line.values)
        if problem:
            raise CorpusError(f"{path}:{line.number}: {problem}")
        if line.values["source"] in sources:
            rows.append(line.values)
    for source in sources:
        if not any(row["source"] == source for row in rows):
            raise CorpusError(f"{path} has no recordings of the source '{source}'")
    for row in rows:
        if row["licence"] not in TRAINING_LICENCES:
            raise CorpusError(
                f"{path}: {row['file']} ({row['source']}) has the licence {row['licence']}: it is "
                f"for evaluation only, training needs {' or '.join(sorted(TRAINING_LICENCES))}"
            )
    words = [row for row in rows if row["source"] in SOURCES_OF_WORDS]
    splits = split_speakers(row["speaker"] for row in words)
    records = []
    for row in rows:
        text = spoken_text(row)
        if text:
            split = splits.get(row["speaker"]) or sentence_split(text)
            records.append(_record(row, text, split))
    return records


def _row_problem(values: dict[str, Any]) -> str | None:
    for name in FIELDS:
        if not isinstance(values.get(name), str) or not values[name]:
            return f"the recording has no {name}"
    if not isinstance(values.get("text"), str | None):
        return "the recording has a text that is not text"
    if not is_number(values.get("duration")) or values["duration"] <= 0:
        return "the recording has no duration in seconds"
    return None


def spoken_text(row: dict[str, Any]) -> str:
    """Return the normalised text of a recording; empty if it is not known how it is spoken.

    Numbers are left out: whether "20" is "zwanzig" or "zwanzigste" only the recording tells.
    """
    text = row.get("text") or ""
    if row["source"] == "arabic-speech-commands":
        return ARABIC_COMMANDS.get(text, "")
    text = normalize_text(text, row["language"])
    return "" if any(char.isdigit() for char in text) else text


def _record(row: dict[str, Any], text: str, split: str) -> Record:
    name = "-".join(Path(row["file"]).with_suffix("").parts[1:])
    return Record(
        utterance_id=re.sub(r"[.\s]", "_", f"{row['source']}-{name}"),
        media=row["file"],
        end=row["duration"],
        text=text,
        language=row["language"],
        split=split,
        speaker=row["speaker"],
    )


def sentence_split(text: str) -> str:
    """Return the split of a normalised sentence: by its CRC-32, 10 % are test and 5 % valid."""
    bucket = zlib.crc32(text.encode()) % 20
    return {0: "test", 10: "test", 1: "valid"}.get(bucket, "train")


def split_speakers(speakers: Iterable[str]) -> dict[str, str]:
    """Return the split of each speaker: 10 % are test and 5 % valid, at least one each.

    The speakers are taken in the order of the CRC-32 of their names.
    """
    names = sorted(set(speakers), key=lambda name: (zlib.crc32(name.encode()), name))
    test, valid = max(1, round(len(names) / 10)), max(1, round(len(names) / 20))
    splits = ["test"] * test + ["valid"] * valid + ["train"] * len(names)
    return dict(zip(names, splits, strict=False))


def read_festvox(root: str | os.PathLike[str]) -> list[Record]:
    """Read the Russian voice ``festvox-ru``, its long sentences cut at pauses.

    The voice has times of phones but not of words. Each vowel letter of its texts is one vowel
    phone, so that counting vowels tells between which words a pause is.

    Args:
        root: Folder with ``etc/txt.done.data``, ``lab`` and ``wav``, in Debian
            ``/usr/share/festival/voices/russian/msu_ru_nsh_clunits``.

    Returns:
        Records of pieces; pieces of one sentence are in one split (``sentence_split``). ``media``
        is relative to ``root``.

    Raises:
        CorpusError: The folder is no such voice, or phones and text do not match.
    """
    root = Path(root)
    path = root / "etc" / "txt.done.data"
    records = []
    for number, line in enumerate(split_lines(read_text(path)), 1):
        match = FESTVOX_LINE.fullmatch(line.strip())
        if match is None:
            raise CorpusError(f'{path}:{number}: not a line like ( ru_0001 "text" )')
        name, text = match.group(1), normalize_text(match.group(2).replace("+", ""), "ru")
        for index, (start, end, words) in enumerate(_pieces(root / "lab" / f"{name}.lab", text)):
            records.append(
                Record(
                    utterance_id=f"{FESTVOX}-{name}-{index}",
                    media=f"wav/{name}.wav",
                    start=start,
                    end=end,
                    text=words,
                    language="ru",
                    split=sentence_split(text),
                    speaker=FESTVOX,
                )
            )
    if not records:
        raise CorpusError(f"{path} has no sentences")
    return records


def _pieces(path: Path, text: str) -> list[tuple[float, float, str]]:
    """Cut a sentence at pauses: (start, end, words) of each piece, in seconds.

    Args:
        path: Label file with the phones.
        text: Normalised text of the sentence.
    """
    words = text.split()
    vowels_until = list(accumulate(len(VOWEL_LETTERS.findall(word)) for word in words))
    phones = _read_labels(path)
    vowels = sum(phone in FESTVOX_VOWELS for phone, _, _ in phones)
    if vowels == 0 or vowels != vowels_until[-1]:
        raise CorpusError(f"{path} has {vowels} vowels, and its text others: '{text}'")
    cuts: list[tuple[float, float, int]] = []  # pauses: start, end, number of words before
    vowels = 0
    for phone, start, end in phones:
        vowels += phone in FESTVOX_VOWELS
        long = phone == FESTVOX_PAUSE and end - start >= MIN_PAUSE
        if long and 0 < vowels < vowels_until[-1] and vowels in vowels_until:
            # A word without a vowel ("в") belongs to the next one.
            cuts.append((start, end, vowels_until.index(vowels) + 1))
    sounds = [times for times in phones if times[0] != FESTVOX_PAUSE]
    cuts.append((sounds[-1][2], phones[-1][2], len(words)))
    pieces: list[tuple[float, float, str]] = []
    begin, first = max(0.0, sounds[0][1] - MAX_MARGIN), 0
    for (start, end, count), (following, _, _) in zip(cuts, [*cuts[1:], cuts[-1]], strict=True):
        if count == len(words) or following - begin > MAX_PIECE:
            margin = min(MAX_MARGIN, (end - start) / 2)
            piece = round(begin, 3), round(start + margin, 3), " ".join(words[first:count])
            pieces.append(piece)
            begin, first = end - margin, count
    return pieces


def _read_labels(path: Path) -> list[tuple[str, float, float]]:
    """Read the phones of a label file of Festvox: (symbol, start, end) in seconds."""
    phones = []
    start = 0.0
    lines = split_lines(read_text(path))
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            end, _, phone = line.split()
            phones.append((phone, start, float(end)))
        except ValueError as error:
            raise CorpusError(f"{path}:{number}: '{line}' is not 'end 125 phone'") from error
        start = phones[-1][2]
    return phones
