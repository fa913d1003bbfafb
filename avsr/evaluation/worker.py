"""One process of an evaluation: what conditions share is read, damaged and seen once."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from avsr.augmentation.corruption import Corruption
from avsr.corpus import Record, read_manifest
from avsr.errors import CorpusError, MediaError
from avsr.evaluation.clips import Clip, ClipReader
from avsr.evaluation.config import Condition, EvaluationConfig
from avsr.evaluation.noise import NoiseLibrary, hashed_rng
from avsr.evaluation.predictor import Prediction, Recognizer
from avsr.evaluation.scores import UtteranceResult
from avsr.evaluation.word_timing import boundary_errors
from avsr.face import is_covered
from avsr.rates import FPS, SAMPLE_RATE


@dataclass(frozen=True, kw_only=True)
class Task:
    """Utterances to transcribe under the same conditions."""

    indices: tuple[int, ...]
    cells: tuple[Condition, ...]


@dataclass(frozen=True)
class EvaluationWorker:
    """What one process needs; it is opened from the config alone."""

    config: EvaluationConfig
    recognizer: Recognizer

    @cached_property
    def records(self) -> list[Record]:
        """The utterances, in the manifest's order."""
        return chosen_records(self.config)

    @cached_property
    def reader(self) -> ClipReader:
        """Reads their sound and lips."""
        return ClipReader(Path(self.config.manifest).parent, self.config.cache)

    @cached_property
    def library(self) -> NoiseLibrary:
        """Mixes their noise."""
        return noise_library(self.config)

    def work(self, task: Task) -> tuple[dict[str, list[UtteranceResult]], dict[str, float]]:
        """Outcomes of each cell, by its name, and seconds that each took; "" is what they share."""
        started = time.perf_counter()
        records = [self.records[i] for i in task.indices]
        clips = _Clips(self, records, task.cells)
        seconds = defaultdict(float, {"": time.perf_counter() - started})
        found: dict[str, list[UtteranceResult]] = {}

        def condition(cell: Condition) -> tuple[str, ...]:
            return cell.modality, str(cell.noise), str(cell.picture)

        for _, group in groupby(sorted(task.cells, key=condition), condition):
            started = time.perf_counter()
            cells = list(group)
            for cell, outcomes in zip(cells, self._listen(clips, cells), strict=True):
                found[cell.name] = outcomes
                seconds[cell.name] += (time.perf_counter() - started) / len(cells)
        return found, dict(seconds)

    def _listen(self, clips: "_Clips", cells: Sequence[Condition]) -> list[list[UtteranceResult]]:
        """Outcomes of cells that differ in the language mode only."""
        usable: dict[int, Clip] = {}
        failures: dict[int, str] = {}
        for i in range(len(clips.records)):
            try:
                usable[i] = clips.clip(i, cells[0])
            except MediaError as error:
                failures[i] = " ".join(str(error).split())
        heard: dict[tuple[int, int], Prediction] = {}
        order = sorted(usable, key=lambda i: usable[i].modality)
        for _, same in groupby(order, lambda i: usable[i].modality):
            members = list(same)
            told = [
                [clips.records[i].language if c.mode == "given" else c.mode for i in members]
                for c in cells
            ]
            answers = self.recognizer.listen([usable[i] for i in members], told)
            for number, answer in enumerate(answers):
                heard.update({(number, i): h for i, h in zip(members, answer, strict=True)})
        return [
            [
                _outcome(
                    record,
                    usable.get(i),
                    heard.get((number, i)),
                    failures.get(i),
                    clips.pieces(i, cells[0]),
                )
                for i, record in enumerate(clips.records)
            ]
            for number in range(len(cells))
        ]


class _Clips:
    """Sound and lips of some records, read once, and what is done to them, done once."""

    def __init__(
        self, place: EvaluationWorker, records: Sequence[Record], cells: Sequence[Condition]
    ) -> None:
        self.place, self.records = place, records
        heard = any(cell.modality != "video" for cell in cells)
        seen = any(cell.modality != "audio" for cell in cells)
        self.sounds = [_try(place.reader.sound, r) if heard else None for r in records]
        self.lips = [_try(place.reader.lips, r) if seen else None for r in records]
        self.noisy: dict[tuple[int, str], tuple[np.ndarray, list[dict[str, Any]]]] = {}
        self.pictures: dict[str | None, list[tuple[np.ndarray, Any] | None]] = {}
        for picture in dict.fromkeys(c.picture for c in cells if c.modality != "audio"):
            self.pictures[picture] = self._show(picture)

    def _show(self, picture: str | None) -> list[tuple[np.ndarray, Any] | None]:
        """Damaged crops and what the recogniser sees in them; None without lips."""
        there = [i for i, lips in enumerate(self.lips) if isinstance(lips, np.ndarray)]
        crops = [self.lips[i] for i in there]
        if picture is not None:
            corruption, seed = Corruption.parse(picture), self.place.config.seed
            crops = [
                corruption.apply(crop, hashed_rng(seed, self.records[i].utterance_id, picture))  # type: ignore[arg-type]
                for i, crop in zip(there, crops, strict=True)
            ]
        seen = self.place.recognizer.see(crops)  # type: ignore[arg-type]
        shown: list[tuple[np.ndarray, Any] | None] = [None] * len(self.lips)
        for i, crop, features in zip(there, crops, seen, strict=True):
            shown[i] = crop, features  # type: ignore[assignment]
        return shown

    def clip(self, i: int, cell: Condition) -> Clip:
        """Record ``i`` under the condition of a cell; raise MediaError if nothing is there."""
        sound = self.sounds[i] if cell.modality != "video" else None
        lips = self.lips[i] if cell.modality != "audio" else None
        for part in (sound, lips):
            if isinstance(part, MediaError):
                raise part
        if sound is None and lips is None:
            missing = {"av": "neither sound nor a face", "audio": "no sound", "video": "no face"}
            path = self.place.reader.media(self.records[i])
            raise MediaError(f"{path}: {missing[cell.modality]}")
        if sound is not None and cell.noise is not None:
            sound = self._mixed(i, cell)[0]
        if sound is not None and cell.picture is not None:
            sound = Corruption.parse(cell.picture).delay(sound)  # type: ignore[arg-type]
        shown = self.pictures[cell.picture][i] if lips is not None else None
        mouth, visual = (None, None) if shown is None else shown
        if sound is not None and mouth is not None and is_covered(mouth):
            mouth = visual = None  # as in any transcription
        name = self.records[i].utterance_id
        return Clip(name=name, waveform=sound, mouth=mouth, visual=visual)  # type: ignore[arg-type]

    def pieces(self, i: int, cell: Condition) -> list[dict[str, Any]]:
        """Pieces of noise that record ``i`` hears in a cell."""
        if cell.noise is None or not isinstance(self.sounds[i], np.ndarray):
            return []
        return self._mixed(i, cell)[1]

    def _mixed(self, i: int, cell: Condition) -> tuple[np.ndarray, list[dict[str, Any]]]:
        key = i, str(cell.noise)
        if key not in self.noisy:
            assert cell.noise is not None
            name, sound = self.records[i].utterance_id, self.sounds[i]
            self.noisy[key] = self.place.library.mix(sound, cell.noise, name)  # type: ignore[arg-type]
        return self.noisy[key]


def _try(
    read: Callable[[Record], np.ndarray | None], record: Record
) -> np.ndarray | MediaError | None:
    try:
        return read(record)
    except MediaError as error:
        return error


def _outcome(
    record: Record,
    clip: Clip | None,
    heard: Prediction | None,
    failure: str | None,
    noise: Sequence[Mapping[str, Any]],
) -> UtteranceResult:
    said = UtteranceResult(
        utterance_id=record.utterance_id,
        language=record.language,
        reference=record.text,
        hypothesis="",
        failure=failure,
    )
    if clip is None or heard is None:
        return said
    frames = 0 if clip.mouth is None else len(clip.mouth) / FPS
    probs = {code: round(prob, 6) for code, prob in heard.language_probs.items()}
    return replace(
        said,
        hypothesis=heard.text,
        detected=max(probs, key=lambda code: probs[code], default=None),
        language_probs=probs,
        seconds=round(frames if clip.waveform is None else len(clip.waveform) / SAMPLE_RATE, 3),
        boundary_errors=boundary_errors(record.words or (), heard.words, record.language),
        noise=tuple(noise),
        modality=clip.modality,
    )


def chosen_records(config: EvaluationConfig) -> list[Record]:
    """The records to score; raise CorpusError if there are none."""
    counts: dict[str, int] = defaultdict(int)
    chosen = []
    for record in read_manifest(Path(config.manifest)):
        if config.split is not None and record.split != config.split:
            continue
        if config.languages is not None and record.language not in config.languages:
            continue
        counts[record.language] += 1
        if config.limit is None or counts[record.language] <= config.limit:
            chosen.append(record)
    if not chosen:
        asked = "".join(
            f", {name} {value}"
            for name, value in (("split", config.split), ("languages", config.languages))
            if value is not None
        )
        raise CorpusError(f"{config.manifest} has no records to evaluate{asked}")
    return chosen


def noise_library(config: EvaluationConfig) -> NoiseLibrary:
    """The noise of all cells."""
    kinds = [cell.noise.kind for cell in config.cells() if cell.noise is not None]
    return NoiseLibrary(
        kinds, musan=config.musan, seed=config.seed, pauses=config.snr_over == "clip"
    )
