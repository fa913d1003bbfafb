"""The table of the corpora that ``avsr prepare`` reads; each reader has its own file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.corpus.grid import read_grid
from avsr.corpus.lrs3 import read_lrs3
from avsr.corpus.manifest import Record, read_manifest
from avsr.corpus.muavic import read_muavic
from avsr.errors import CorpusError

CLIP_MANIFESTS = ("test.jsonl", "valid_clips.jsonl")  # whole clips of a synthetic corpus


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options of reading; a corpus that does not support an option rejects it."""

    languages: Sequence[str] | None = None
    """Codes of the languages to read; None: all."""
    valid_speakers: Sequence[str] = ()
    """Speakers of the validation split, for a corpus without splits."""
    test_speakers: Sequence[str] = ()
    """Speakers of the test split, for a corpus without splits."""


@dataclass(frozen=True, kw_only=True)
class CorpusReader:
    """How to read one kind of corpus."""

    read: Callable[[Path, ReadOptions], list[Record]]
    """Folder (or manifest) and options -> records; ``media`` is relative to the folder."""
    options: frozenset[str] = frozenset()
    """Names of the ReadOptions that it supports."""
    has_crops: bool = False
    """Whether its videos are mouth crops already, with the audio in separate files."""


READERS = {
    "grid": CorpusReader(
        read=lambda source, options: read_grid(
            source,
            valid_speakers=options.valid_speakers,
            test_speakers=options.test_speakers,
        ),
        options=frozenset({"valid_speakers", "test_speakers"}),
    ),
    "lrs3": CorpusReader(read=lambda source, options: read_lrs3(source)),
    "manifest": CorpusReader(read=lambda source, options: read_manifest(source)),
    "muavic": CorpusReader(
        read=lambda source, options: read_muavic(source, options.languages),
        options=frozenset({"languages"}),
        has_crops=True,
    ),
    "synthetic": CorpusReader(read=lambda source, options: _read_clips(source)),
}
"""Name on the command line -> reader."""


def read_corpus(name: str, source: Path, options: ReadOptions) -> list[Record]:
    """Read the records of a corpus.

    Args:
        name: One of READERS.
        source: The corpus's folder, or a manifest.
        options: Options; those that are not set are None or empty.

    Returns:
        The records of all splits; ``media`` is relative to the folder.

    Raises:
        CorpusError: There is no such corpus, it is broken, or it does not support an option.
    """
    if name not in READERS:
        raise CorpusError(f"unknown corpus '{name}': use one of {', '.join(READERS)}")
    reader = READERS[name]
    for option, value in vars(options).items():
        if value and option not in reader.options:
            supporting = [other for other, one in READERS.items() if option in one.options]
            flag = f"--{option.replace('_', '-')}"
            raise CorpusError(f"{flag} is for {', '.join(supporting)}, not for {name}")
    records = reader.read(source, options)
    if not records:
        raise CorpusError(f"{source} has no records")
    for record in records:  # names of files may be none of splits or ids
        if problems := record.problems():
            raise CorpusError(f"{source}: record {record.utterance_id} {', '.join(problems)}")
    return records


def _read_clips(source: Path) -> list[Record]:
    """Read the whole clips of a synthetic corpus; its other splits are shards already."""
    manifests = [path for path in (source / name for name in CLIP_MANIFESTS) if path.is_file()]
    if not manifests:
        raise CorpusError(f"{source} has no {' or '.join(CLIP_MANIFESTS)} of avsr synthesize")
    return [record for path in manifests for record in read_manifest(path)]
