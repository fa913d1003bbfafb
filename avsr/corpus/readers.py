"""The corpora that ``avsr prepare`` reads: one table, a reader for each in a file of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.corpus.grid import read_grid
from avsr.corpus.lrs3 import read_lrs3
from avsr.corpus.manifest import Record, read_manifest
from avsr.corpus.muavic import read_muavic
from avsr.errors import CorpusError

CLIP_MANIFESTS = ("test.jsonl", "valid_clips.jsonl")  # of a synthetic corpus: whole clips


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a caller may choose; a corpus that cannot honour a choice refuses it."""

    languages: Sequence[str] | None = None
    """Codes of the languages to read; None: all."""
    valid_speakers: Sequence[str] = ()
    """Speakers kept for validation, where the corpus has no splits of its own."""
    test_speakers: Sequence[str] = ()
    """Speakers kept for testing."""


@dataclass(frozen=True, kw_only=True)
class CorpusReader:
    """How a corpus is read."""

    read: Callable[[Path, ReadOptions], list[Record]]
    """Folder (or manifest) and options -> records, whose ``media`` count from the folder."""
    options: frozenset[str] = frozenset()
    """Names of the ReadOptions that it honours."""
    has_crops: bool = False
    """Whether its videos are mouth crops already, with the sound in files of its own."""


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
        options: Choices; those that are not made are None or empty.

    Raises:
        CorpusError: There is no such corpus, it is broken, or it cannot honour an option.
    """
    if name not in READERS:
        raise CorpusError(f"unknown corpus '{name}': take one of {', '.join(READERS)}")
    reader = READERS[name]
    for option, value in vars(options).items():
        if value and option not in reader.options:
            takers = [other for other, one in READERS.items() if option in one.options]
            flag = f"--{option.replace('_', '-')}"
            raise CorpusError(f"{flag} is for {', '.join(takers)}, not for {name}")
    return reader.read(source, options)


def _read_clips(source: Path) -> list[Record]:
    """The whole clips of a synthetic corpus; its other splits are shards already."""
    manifests = [path for path in (source / name for name in CLIP_MANIFESTS) if path.is_file()]
    if not manifests:
        raise CorpusError(f"{source} has no {' or '.join(CLIP_MANIFESTS)} of avsr synthesize")
    return [record for path in manifests for record in read_manifest(path)]
