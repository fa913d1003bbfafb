"""Corpora that are written shard by shard, so that an interrupted run can be continued.

A file beside the shards describes what is being written (``claim_output``). While a split is
incomplete, ``OUT/.parts/<split>/000000.jsonl`` lists the utterances of a finished shard; it is
written after the shard, so its presence marks the shard as finished. ``OUT/<split>.jsonl`` is
written last and marks the whole split as finished.
"""

import contextlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import Record, read_manifest, write_manifest
from avsr.corpus.shard_index import StoredSample, open_shard
from avsr.errors import CorpusError
from avsr.runtime.atomic_files import make_folder, replace_text
from avsr.runtime.progress import ItemProgress
from avsr.runtime.safe_names import check_name
from avsr.runtime.workers import process_map

logger = logging.getLogger(__name__)

PARTS = ".parts"  # folder of what is deleted when a split is finished
PART = re.compile(r"\.?\d{6,}\.\w*\.?jsonl.*")  # a list of a shard, also under a temporary name


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON file atomically."""
    replace_text(path, json.dumps(content, indent=2) + "\n")


def claim_output(
    path: Path,
    description: Mapping[str, Any],
    *,
    section: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Describe in ``path`` what is being written, or check that it matches an earlier run.

    Args:
        path: JSON file beside the shards.
        description: Everything that determines the content of the corpus.
        section: Key of ``description`` whose options must match; default: all of it.
        defaults: Values of options that earlier versions did not write.

    Raises:
        CorpusError: If an earlier run with other options wrote ``path``, or the file is broken.
    """
    if not path.exists():
        write_json(path, description)
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        earlier = {**(defaults or {}), **(content[section] if section else content)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorpusError(f"{path} is broken: delete it or choose another folder") from error
    options = description[section] if section else description
    differing = [name for name, value in options.items() if earlier.get(name) != value]
    if differing and set(differing) <= {"records", "records_sha256"}:
        raise CorpusError(f"{path} was written for another manifest: choose another folder")
    if differing:
        raise CorpusError(
            f"{path} was written with other options ({', '.join(differing)}): choose another folder"
        )


def claim_copy(
    path: Path, source: Path, samples: Sequence[StoredSample], options: Mapping[str, Any]
) -> None:
    """Describe in ``path`` how a corpus is copied, see ``claim_output``.

    Args:
        path: JSON file in the folder of the copy, which is made.
        source: Folder of the corpus.
        samples: What is copied.
        options: What else determines the content of the copy.

    Raises:
        CorpusError: The copy would lie in the source, or as ``claim_output``.
    """
    if source.resolve() == path.parent.resolve():
        raise CorpusError(f"{source} is the corpus itself: choose another folder for the copy")
    lines = "".join(sample.record.to_json() + "\n" for sample in samples)
    digest = sha256(lines.encode()).hexdigest()
    make_folder(path.parent)
    claim_output(path, {"records": len(samples), "records_sha256": digest, **options})


@dataclass(frozen=True)
class ResumableSplit:
    """The files of one split of a corpus, and which of its shards are still missing."""

    out: Path
    """Folder of the corpus."""
    name: str
    """Name of the split."""
    num_utterances: int
    shard_size: int
    """Utterances per shard."""

    def __post_init__(self) -> None:
        check_name(self.name, "the split")

    @property
    def manifest(self) -> Path:
        """Manifest of the split; it exists once the split is finished."""
        return self.out / f"{self.name}.jsonl"

    @property
    def is_finished(self) -> bool:
        """Whether all shards and the manifest are written."""
        return self.manifest.exists()

    @property
    def shards(self) -> range:
        """Numbers of the shards."""
        return range(-(-self.num_utterances // self.shard_size))

    def indices(self, shard: int) -> range:
        """Return the indices of the utterances of a shard."""
        first = shard * self.shard_size
        return range(first, min(self.num_utterances, first + self.shard_size))

    def media(self, shard: int) -> str:
        """Return the path of a shard as records name it, relative to the corpus folder."""
        return f"{self.name}/{shard:06d}.tar"

    def shard_path(self, shard: int) -> Path:
        """Return where a shard is written."""
        return self.out / self.media(shard)

    def part(self, shard: int, suffix: str = ".jsonl") -> Path:
        """Return the path of a temporary list of a shard."""
        return self.out / PARTS / self.name / f"{shard:06d}{suffix}"

    def has_shard(self, shard: int) -> bool:
        """Return whether a shard is finished."""
        return self.part(shard).exists()

    def repair(self, *suffixes: str) -> None:
        """Make damaged shards count as unfinished; one line is logged for each.

        Args:
            suffixes: Of the further lists of a shard, which with its records name all utterances.
        """
        if self.is_finished:
            missing = [path for path in map(self.shard_path, self.shards) if not path.is_file()]
            if missing or self.manifest.stat().st_size == 0:
                what = f"{missing[0]} is missing" if missing else f"{self.manifest} is empty"
                logger.warning("%s: the split is made anew", what)
                self.manifest.unlink()
        for shard in () if self.is_finished else filter(self.has_shard, self.shards):
            try:
                self._check_shard(shard, suffixes)
            except (CorpusError, OSError, ValueError) as error:
                logger.warning("%s: the shard is made anew", error)
                self.part(shard).unlink()

    def _check_shard(self, shard: int, suffixes: Sequence[str]) -> None:
        """Raise CorpusError, OSError or ValueError unless the lists of a shard are those of it."""
        listed = [record.utterance_id for record in read_manifest(self.part(shard))]
        stored = [sample.record.utterance_id for sample in open_shard(self.shard_path(shard))]
        others = 0
        for suffix in suffixes:
            for line in self.part(shard, suffix).read_text("utf-8").split("\n"):
                others += bool(line) and bool(json.loads(line))
        if listed != stored or len(listed) + others != len(self.indices(shard)):
            raise CorpusError(f"{self.part(shard)} does not list what is in the shard")

    def finish_shard(
        self, shard: int, records: Sequence[Record], lists: Mapping[str, str] | None = None
    ) -> None:
        """List the records of a shard, which marks the shard as finished.

        Args:
            shard: Number of the shard.
            records: The utterances in it.
            lists: Further lists of the shard, by their suffix; written before.
        """
        make_folder(self.part(shard).parent)
        for suffix, text in (lists or {}).items():
            replace_text(self.part(shard, suffix), text)
        write_manifest(self.part(shard), records)

    def write_missing(
        self, write: Callable[[int], int], workers: int, progress: ItemProgress | None
    ) -> list[Record]:
        """Write the shards that are missing, and finish the split.

        Args:
            write: Writes the shard of a number (``finish_shard`` included) and returns the number
                of its utterances. With several workers it runs in other processes.
            workers: Number of processes.
            progress: Called with (split, utterances done, utterances in all).

        Returns:
            The records of all shards.
        """
        self.repair()
        if self.is_finished:
            return read_manifest(self.manifest)
        missing = [shard for shard in self.shards if not self.has_shard(shard)]
        done = self.num_utterances - sum(len(self.indices(shard)) for shard in missing)
        with process_map(workers) as run:
            for count in run(write, missing):
                done += count
                if progress is not None:
                    progress(self.name, done, self.num_utterances)
        return self.finish()

    def merge_lists(self, suffix: str) -> str:
        """Join the further lists of all shards in order."""
        paths = [self.part(shard, suffix) for shard in self.shards]
        return "".join(path.read_text(encoding="utf-8") for path in paths)

    def finish(self) -> list[Record]:
        """Merge the lists of all shards into the manifest, delete them and return the records."""
        records = [record for shard in self.shards for record in read_manifest(self.part(shard))]
        write_manifest(self.manifest, records)
        self._delete_parts()
        return records

    def _delete_parts(self) -> None:
        """Delete the lists of the shards, and no other file that somebody put beside them."""
        folder = self.out / PARTS / self.name
        for path in list(folder.iterdir()):
            if PART.fullmatch(path.name) and not path.is_dir():
                path.unlink()
        with contextlib.suppress(OSError):  # another split, or a file of somebody else, is there
            folder.rmdir()
            folder.parent.rmdir()
