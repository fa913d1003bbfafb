"""Read the GRID corpus in its public layout: ``s<k>/<id>.mpg`` and ``s<k>/align/<id>.align``."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import Record
from avsr.corpus.text_files import read_text
from avsr.errors import CorpusError
from avsr.runtime.text_lines import split_lines

UNITS = 25_000  # units of time per second in alignments
SILENCES = frozenset({"sil", "sp"})
VIDEOS = (".mpg", ".mp4")
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# The six characters of an id stand for the six words of its sentence.
COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
LETTERS = {letter: letter for letter in "abcdefghijklmnopqrstuvwxyz"}
NUMBERS = {"z": "zero", **{str(value): word for value, word in enumerate(DIGITS)}}
ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}
SENTENCE = (COMMANDS, COLOURS, PREPOSITIONS, LETTERS, NUMBERS, ADVERBS)


def read_grid(
    root: str | os.PathLike[str],
    *,
    valid_speakers: Collection[str] = (),
    test_speakers: Collection[str] = (),
) -> list[Record]:
    """Read the records of all videos in a folder of GRID.

    Words and times come from the alignments. If a video has none, its name spells the text.

    Args:
        root: Folder with the speakers' folders ``s1``, ``s2``, ...
        valid_speakers: Speakers of the split ``valid``, for example ``["s2", "s3"]``.
        test_speakers: Speakers of the split ``test``. All others are in ``train``.

    Returns:
        Records sorted by speaker and id; ``media`` is relative to ``root``.

    Raises:
        CorpusError: There are no videos, a speaker does not exist, or an alignment is broken.
    """
    root = Path(root)
    videos = sorted(path for path in root.glob("s*/**/*") if path.suffix.lower() in VIDEOS)
    if not videos:
        raise CorpusError(f"{root} has no GRID videos (s1/*.mpg, s2/*.mpg ...)")
    splits = dict.fromkeys(valid_speakers, "valid")
    splits |= dict.fromkeys(test_speakers, "test")
    unknown = sorted(set(splits) - {_speaker(root, path) for path in videos})
    if unknown:
        raise CorpusError(f"{root} has no speaker {unknown[0]}")
    return [_record(root, path, splits.get(_speaker(root, path), "train")) for path in videos]


def _speaker(root: Path, path: Path) -> str:
    return path.relative_to(root).parts[0]


def _record(root: Path, path: Path, split: str) -> Record:
    speaker = _speaker(root, path)
    folders = (path.parent / "align", root / speaker / "align", root / "align" / speaker)
    candidates = [folder / f"{path.stem}.align" for folder in (*folders, root / "align")]
    alignment = next((candidate for candidate in candidates if candidate.is_file()), None)
    words = None if alignment is None else read_alignment(alignment)
    text = spell_sentence(path) if words is None else " ".join(word["word"] for word in words)
    return Record(
        utterance_id=f"grid-{speaker}-{path.stem}",
        media=path.relative_to(root).as_posix(),
        text=text,
        language="en",
        split=split,
        speaker=f"grid-{speaker}",
        words=words,
    )


def read_alignment(path: Path) -> list[dict[str, Any]]:
    """Read the words of an alignment, with times in seconds and without silences."""
    words = []
    for number, line in enumerate(split_lines(read_text(path)), 1):
        if not line.strip():
            continue
        try:
            start, end, word = line.split()
            times = {"start": int(start) / UNITS, "end": int(end) / UNITS}
        except ValueError as error:
            raise CorpusError(f"{path}:{number}: '{line}' is not 'start end word'") from error
        if word not in SILENCES:
            words.append({"word": word, **times})
    return words


def spell_sentence(path: Path) -> str:
    """Return the sentence that a video's name spells: bbaf2n is "bin blue at f two now"."""
    name = path.stem.lower()
    is_sentence = len(name) == len(SENTENCE) and all(
        char in words for char, words in zip(name, SENTENCE, strict=True)
    )
    if not is_sentence:
        raise CorpusError(f"{path} has no alignment, and its name does not spell a GRID sentence")
    return " ".join(words[char] for char, words in zip(name, SENTENCE, strict=True))
