"""LRS3 as handed out: ``{pretrain,trainval,test}/<talk>/<nnnnn>.mp4`` with ``.txt`` beside."""

import hashlib
import os
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import Record
from avsr.errors import CorpusError

FOLDERS = {"pretrain": "train", "trainval": "train", "test": "test"}
VALID_SHARE = 0.04  # of the talks of trainval, about 1,200 utterances


def read_lrs3(root: str | os.PathLike[str]) -> list[Record]:
    """Records of all labelled videos; texts in lower case, word times where a label has them.

    LRS3 has no validation split. Here the talks of ``trainval`` validate whose name's hash falls
    into the first 4 %, with their utterances in ``pretrain``; the rest of both folders trains.
    Raises CorpusError without labels and for a broken one.
    """
    root = Path(root)
    held = {path.name for path in root.glob("trainval/*") if path.is_dir() and _is_held(path.name)}
    records = []
    for folder, split in FOLDERS.items():
        for label in sorted(root.glob(f"{folder}/*/*.txt")):
            talk = label.parent.name
            records.append(_record(root, label, "valid" if talk in held else split))
    if not records:
        raise CorpusError(f"{root} is not LRS3: it has no {', '.join(FOLDERS)} with labels")
    return records


def _is_held(talk: str) -> bool:
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
    """Text and words of a label: ``Text:  WORDS``, and rows ``WORD START END SCORE`` if any."""
    lines = path.read_text(encoding="utf-8").splitlines()
    name, _, text = lines[0].partition(":") if lines else ("", "", "")
    if name != "Text" or not text.strip():
        raise CorpusError(f"{path}: does not begin with 'Text:  WORDS'")
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
