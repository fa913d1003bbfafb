"""MuAViC as its public scripts leave it: mouth crops, 16 kHz sound, lists of segments, texts.

``<root>/<lang>/{video,audio}/<split>/<talk>/<segment>.{mp4,wav}``; ``<root>/<lang>/<split>.tsv``
with a line ``/``, then id, video path, audio path, video frames, audio samples; and a line of text
for each row in ``<root>/<lang>/<split>.<lang>``. Paths in the lists are those of the machine that
made them, so files are looked for by their ids.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from avsr.corpus.manifest import Record
from avsr.errors import CorpusError
from avsr.languages import MUAVIC_LANGUAGES, check_language
from avsr.rates import FPS

SPLITS = ("train", "valid", "test")
COLUMNS = 5


def read_muavic(
    root: str | os.PathLike[str], languages: Sequence[str] | None = None
) -> list[Record]:
    """Records of every list below ``root``, in the order of the lists; ``media`` names the video.

    Segments whose files are missing (withdrawn talks) are records too: preparation lists them as
    failures. Raises CorpusError without lists, for a language without one, and where list and
    texts do not fit each other.
    """
    root = Path(root)
    chosen = MUAVIC_LANGUAGES if languages is None else [check_language(code) for code in languages]
    records: list[Record] = []
    for language in chosen:
        lists = [root / language / f"{split}.tsv" for split in SPLITS]
        found = [path for path in lists if path.is_file()]
        if not found and languages is not None:
            raise CorpusError(f"{root / language} has no train.tsv, valid.tsv or test.tsv")
        for path in found:
            records += _read_list(path, language)
    if not records:
        raise CorpusError(f"{root} is not MuAViC: it has no <language>/<split>.tsv")
    return records


def sound_of(video: Path) -> Path:
    """The WAV beside a segment's mouth crops: ``video`` becomes ``audio`` four folders up."""
    split, talk = video.parents[1].name, video.parents[0].name
    return video.parents[3] / "audio" / split / talk / f"{video.stem}.wav"


def _read_list(path: Path, language: str) -> list[Record]:
    split = path.stem
    texts_path = path.with_suffix(f".{language}")
    try:
        rows = path.read_text(encoding="utf-8").split("\n")[1:]
        texts = texts_path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise CorpusError(f"cannot read {error.filename}: {error.strerror}") from error
    rows, texts = _without_end(rows), _without_end(texts)
    if len(rows) != len(texts):
        raise CorpusError(f"{path} has {len(rows)} segments, {texts_path.name} {len(texts)} texts")
    records = []
    for number, (row, text) in enumerate(zip(rows, texts, strict=True), 2):
        cells = row.split("\t")
        talk, _, segment = cells[0].rpartition("/")
        if len(cells) != COLUMNS or not talk or not cells[3].isdigit():
            raise CorpusError(f"{path}:{number}: not 'talk/segment', two paths and two numbers")
        records.append(
            Record(
                utterance_id=f"{language}-{talk}-{segment}".replace(".", "_").replace("/", "_"),
                media=f"{language}/video/{split}/{talk}/{segment}.mp4",
                end=int(cells[3]) / FPS,
                text=" ".join(text.split()),
                language=language,
                split=split,
                speaker=f"{language}-{talk}",
            )
        )
    return records


def _without_end(lines: list[str]) -> list[str]:
    """Lines of a file without what follows its last newline."""
    return lines[:-1] if lines and not lines[-1] else lines
