"""Read LRS3 in its public layout: ``{pretrain,trainval,test}/<talk>/<nnnnn>.{mp4,txt}``."""

import hashlib
import os
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import Record
from avsr.corpus.text_files import read_text
from avsr.errors import CorpusError
from avsr.runtime.text_lines import split_lines

FOLDERS = {"pretrain": "train", "trainval": "train", "test": "test"}
VALID_SHARE = 0.04  # share of the talks of trainval, about 1,200 utterances


def read_lrs3(root: str | os.PathLike[str]) -> list[Record]:
    """Read the records of all labelled videos.

    LRS3 has no validation split. About 4 % of the talks of ``trainval`` form it, chosen by a hash
    of their names, together with the utterances of these talks in ``pretrain``. All other talks
    of both folders are for training.

    Args:
        root: Folder with ``pretrain``, ``trainval`` or ``test``.

    Returns:
        Records with texts in lower case, and the times of words if the label has them.

    Raises:
        CorpusError: There are no labels, or a label is broken.
    """
    root = Path(root)
    talks = (path.name for path in root.glob("trainval/*") if path.is_dir())
    valid_talks = {talk for talk in talks if _is_valid(talk)}
    records = []
    for folder, split in FOLDERS.items():
        for label in sorted(root.glob(f"{folder}/*/*.txt")):
            talk = label.parent.name
            records.append(_record(root, label, "valid" if talk in valid_talks else split))
    if not records:
        raise CorpusError(f"{root} is not LRS3: it has no {', '.join(FOLDERS)} with labels")
    return records


def _is_valid(talk: str) -> bool:
    """Return whether a talk of ``trainval`` is for validation."""
    digest = hashlib.sha256(talk.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < VALID_SHARE


def _record(root: Path, label: Path, split: str) -> Record:
    folder, talk = label.parts[-3], label.parts[-2]
    text, words = read_label(label)
    return Record(
        utterance_id=f"lrs3-{folder}-{talk}-{label.stem}".replace(".", "_"),
        media=label.with_suffix(".mp4").relative_to(root).as_posix(),
        text=text,
        language="en",
        split=split,
        speaker=f"lrs3-{talk}",
        words=words,
    )


def read_label(path: Path) -> tuple[str, list[dict[str, Any]] | None]:
    """Read the text and the words of a label.

    A label has a line ``Text:  WORDS`` and may have rows ``WORD START END SCORE``.
    """
    lines = split_lines(read_text(path))
    name, _, text = lines[0].partition(":") if lines else ("", "", "")
    if name != "Text" or not text.strip():
        raise CorpusError(f"{path} does not begin with 'Text:  WORDS'")
    words = []
    rows = [number for number, line in enumerate(lines) if line.startswith("WORD START END")]
    for number, line in enumerate(lines[rows[0] + 1 :], rows[0] + 2) if rows else ():
        if not line.strip():
            continue
        try:
            word, start, end = line.split()[:3]
            words.append({"word": word.lower(), "start": float(start), "end": float(end)})
        except ValueError as error:
            raise CorpusError(f"{path}:{number}: '{line}' is not 'WORD START END'") from error
    return text.strip().lower(), words or None
