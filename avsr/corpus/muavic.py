"""Read MuAViC as its public scripts write it: mouth crops, 16 kHz audio, lists and texts.

- ``<root>/<lang>/{video,audio}/<split>/<talk>/<segment>.{mp4,wav}``: the segments.
- ``<root>/<lang>/<split>.tsv``: a line ``/``, then one row per segment with its id, video path,
  audio path, number of video frames and number of audio samples.
- ``<root>/<lang>/<split>.<lang>``: the text of each row.

The paths in the lists belong to the machine that wrote them, so files are found by their ids.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from avsr.corpus.manifest import Record
from avsr.corpus.text_files import read_text
from avsr.errors import CorpusError
from avsr.languages import MUAVIC_LANGUAGES, check_language
from avsr.rates import FPS
from avsr.runtime.text_lines import split_lines

SPLITS = ("train", "valid", "test")
COLUMNS = 5


def read_muavic(
    root: str | os.PathLike[str], languages: Sequence[str] | None = None
) -> list[Record]:
    """Read the records of all lists of segments.

    Segments whose files are missing (withdrawn talks) are included; preparation lists them as
    failures.

    Args:
        root: Folder with a folder per language.
        languages: Languages to read; default: all that have a list.

    Returns:
        Records in the order of the lists; ``media`` is the video, relative to ``root``.

    Raises:
        CorpusError: There are no lists, a language of ``languages`` has none, or a list and its
            texts do not match.
    """
    root = Path(root)
    codes = MUAVIC_LANGUAGES if languages is None else [check_language(code) for code in languages]
    records: list[Record] = []
    for language in codes:
        candidates = [root / language / f"{split}.tsv" for split in SPLITS]
        lists = [path for path in candidates if path.is_file()]
        if not lists and languages is not None:
            raise CorpusError(f"{root / language} has no train.tsv, valid.tsv or test.tsv")
        for path in lists:
            records += _read_list(path, language)
    if not records:
        raise CorpusError(f"{root} is not MuAViC: it has no <language>/<split>.tsv")
    return records


def sound_of(video: Path) -> Path:
    """Return the WAV of a segment: ``video`` in the path of its mouth crops becomes ``audio``."""
    split, talk = video.parents[1].name, video.parents[0].name
    return video.parents[3] / "audio" / split / talk / f"{video.stem}.wav"


def _read_list(path: Path, language: str) -> list[Record]:
    split = path.stem
    texts_path = path.with_suffix(f".{language}")
    rows = split_lines(read_text(path))[1:]
    texts = split_lines(read_text(texts_path))
    if len(rows) != len(texts):
        raise CorpusError(f"{path} has {len(rows)} segments, {texts_path.name} {len(texts)} texts")
    records = []
    for number, (row, text) in enumerate(zip(rows, texts, strict=True), 2):
        cells = row.split("\t")
        talk, _, segment = cells[0].rpartition("/")
        if len(cells) != COLUMNS or not talk or not cells[3].isdigit():
            raise CorpusError(
                f"{path}:{number}: expected 'talk/segment', two paths and two numbers"
            )
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
