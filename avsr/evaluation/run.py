"""Evaluation: transcribe a manifest, score it by language, keep every transcript."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avsr.corpus import Record, read_manifest
from avsr.errors import ConfigError, CorpusError, MediaError
from avsr.evaluation.clips import (
    BABBLE_TALKERS,
    Clip,
    ClipReader,
    Noise,
    check_media,
)
from avsr.evaluation.scores import LanguageScore, Outcome, macro_average, score
from avsr.evaluation.text import NORMALIZATION_VERSION
from avsr.files import replace_text

if TYPE_CHECKING:
    from avsr.model import AVSRModel

MODALITIES = ("av", "audio", "video")


class Recognized(Protocol):
    """What a recogniser says of a clip; a Transcript is one."""

    @property
    def text(self) -> str:
        """What is said."""

    @property
    def language(self) -> str:
        """Code of the language that the text was decoded in."""


Recognizer = Callable[[Sequence[Clip]], Sequence[Recognized]]
"""Transcribes clips, all of one modality and one language setting, in their order."""

Progress = Callable[[int, int], None]  # utterances done, in all


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a manifest under one condition."""

    condition: dict[str, Any]
    """Everything that decides the scores: manifest, modality, language, noise, seed, settings."""
    scores: dict[str, LanguageScore]
    """By language."""
    outcomes: tuple[Outcome, ...]
    """Every utterance, in the manifest's order."""
    seconds: float
    """Wall time."""

    @property
    def failed(self) -> list[Outcome]:
        """Utterances that could not be transcribed; they count as empty transcripts."""
        return [outcome for outcome in self.outcomes if outcome.failure is not None]

    @property
    def name(self) -> str:
        """A file name that differs whenever the condition does."""
        noise = self.condition["noise"]
        heard = "clean" if noise is None else f"{noise['kind']}{noise['snr_db']:+g}dB"
        digest = hashlib.sha256(json.dumps(self.condition, sort_keys=True).encode()).hexdigest()
        stem = Path(self.condition["manifest"]).stem
        return f"{stem}-{self.condition['modality']}-{heard}-{digest[:8]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        detected = self.condition["language"] == "auto"
        rows = {code: scores.to_dict(detected=detected) for code, scores in self.scores.items()}
        used = [outcome.modality for outcome in self.outcomes]
        return {
            "condition": self.condition,
            "average": macro_average(rows.values()),
            "languages": rows,
            "utterances": len(self.outcomes),
            "used": {modality: used.count(modality) for modality in MODALITIES},
            "failed": [{"utterance_id": o.utterance_id, "reason": o.failure} for o in self.failed],
            "seconds": round(self.seconds, 3),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``<name>.json`` and, with every transcript, ``<name>.jsonl``; return the former."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(asdict(o), ensure_ascii=False) + "\n" for o in self.outcomes)
        replace_text(folder / f"{self.name}.jsonl", "".join(lines))
        path = folder / f"{self.name}.json"
        replace_text(path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        return path


def evaluate(
    recognize: Recognizer,
    manifest: str | os.PathLike[str],
    *,
    modality: str = "av",
    language: str = "auto",
    noise: Noise | None = None,
    seed: int = 0,
    split: str | None = None,
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    cache_dir: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Transcribe the records of a manifest and score them by language.

    ``language`` is ``auto``, a code, or ``given``: each record's own. ``split`` and ``languages``
    choose records, ``limit`` the first so many of each language; babble still comes from the
    whole manifest's split, so that an utterance hears the same noise. Mouth crops are kept in
    ``cache_dir`` for the next evaluation. ``settings`` (model, beam size ...) are noted.
    Raises CorpusError or MediaError if the manifest names nothing, or files that are not there.
    """
    if modality not in MODALITIES:
        raise ConfigError(f"modality '{modality}' must be av, audio or video")
    if noise is not None and modality == "video":
        raise ConfigError("noise changes nothing where only lips are read; leave it out")
    started = time.monotonic()
    path = Path(manifest)
    pool = [r for r in read_manifest(path) if split is None or r.split == split]
    records = choose(pool, languages, limit)
    if not records:
        raise CorpusError(f"{path} has no records to evaluate (split {split}, {languages})")
    check_media(pool if noise else records, path.parent)
    reader = ClipReader(pool, path.parent, cache_dir)
    outcomes: list[Outcome] = []
    for first in range(0, len(records), batch_size):
        batch = records[first : first + batch_size]
        clips: list[Clip] = []
        failures: dict[str, str] = {}
        for record in batch:
            told = record.language if language == "given" else language
            try:
                clips.append(
                    reader.read(record, modality=modality, language=told, noise=noise, seed=seed)
                )
            except MediaError as error:
                failures[record.utterance_id] = " ".join(str(error).split())
        heard = dict(_recognize_alike(recognize, clips))
        outcomes += [
            _outcome(r, heard.get(r.utterance_id), failures.get(r.utterance_id)) for r in batch
        ]
        if progress is not None:
            progress(len(outcomes), len(records))
    condition = {
        "manifest": str(path),
        "manifest_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "split": split,
        "languages": None if languages is None else list(languages),
        "limit": limit,
        "modality": modality,
        "language": language,
        "noise": None if noise is None else {**asdict(noise), "talkers": BABBLE_TALKERS},
        "seed": seed,
        "normalization": NORMALIZATION_VERSION,
        "settings": dict(settings or {}),
    }
    return Evaluation(
        condition=condition,
        scores=score(outcomes),
        outcomes=tuple(outcomes),
        seconds=time.monotonic() - started,
    )


def choose(
    records: Sequence[Record], languages: Sequence[str] | None, limit: int | None
) -> list[Record]:
    """The first ``limit`` records of each of the ``languages``, in the manifest's order."""
    counts: dict[str, int] = {}
    chosen = []
    for record in records:
        if languages is not None and record.language not in languages:
            continue
        counts[record.language] = counts.get(record.language, 0) + 1
        if limit is None or counts[record.language] <= limit:
            chosen.append(record)
    return chosen


def _recognize_alike(
    recognize: Recognizer, clips: list[Clip]
) -> Iterator[tuple[str, tuple[Clip, Recognized]]]:
    """Recognise clips in groups of one modality and one language setting."""

    def alike(clip: Clip) -> tuple[str, str]:
        return clip.modality, clip.language

    for _, group in groupby(sorted(clips, key=alike), alike):
        members = list(group)
        for clip, found in zip(members, recognize(members), strict=True):
            yield clip.name, (clip, found)


def _outcome(record: Record, heard: tuple[Clip, Recognized] | None, failure: str | None) -> Outcome:
    said = Outcome(
        utterance_id=record.utterance_id,
        language=record.language,
        reference=record.text,
        hypothesis="",
        failure=failure,
    )
    if heard is None:
        return said
    clip, found = heard
    return replace(
        said,
        hypothesis=found.text,
        detected=found.language if clip.language == "auto" else None,
        modality=clip.modality,
    )


def model_recognizer(model: "AVSRModel", **options: Any) -> Recognizer:
    """A recogniser that is a model; ``options`` are TranscribeOptions (beam_size, ...)."""
    from avsr.pipeline import Recording, TranscribeOptions, recognize

    def recognizer(clips: Sequence[Clip]) -> Sequence[Recognized]:
        recordings = [
            Recording(name=clip.name, waveform=clip.waveform, mouth=clip.mouth) for clip in clips
        ]
        chosen = TranscribeOptions(language=clips[0].language, **options)
        return recognize(model, recordings, chosen)

    return recognizer
