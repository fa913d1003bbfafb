"""One process of an evaluation: it shares reading, corruption and features between conditions."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avsr.audio import has_speech
from avsr.corpus import Record, read_manifest
from avsr.errors import CorpusError, MediaError
from avsr.evaluation.clips import Clip, ClipReader, Lips
from avsr.evaluation.config import WRONG, Condition, EvaluationConfig, parse_corruption
from avsr.evaluation.noise import NoiseLibrary, hashed_rng
from avsr.evaluation.predictor import Prediction, Recognizer
from avsr.evaluation.scores import UtteranceResult
from avsr.evaluation.word_timing import boundary_errors
from avsr.face import is_covered, lips_move
from avsr.rates import FPS, SAMPLE_RATE

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Utterances to transcribe under the same conditions."""

    indices: tuple[int, ...]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class EvaluationWorker:
    """Transcribes the tasks of one process; it opens what it needs from the config alone."""

    config: EvaluationConfig
    recognizer: Recognizer

    @cached_property
    def records(self) -> list[Record]:
        """The utterances, in the manifest's order."""
        return select_records(self.config)

    @cached_property
    def reader(self) -> ClipReader:
        """Reads their sound and lips."""
        folder = Path(self.config.manifest).parent
        return ClipReader(folder, self.config.cache, self.recognizer.segment_seconds)

    @cached_property
    def library(self) -> NoiseLibrary:
        """Mixes noise into their sound."""
        return open_library(self.config)

    def foreign_mouth(self, record: Record, length: int) -> np.ndarray:
        """Draw the mouth of another record that says something else, (``length``, 96, 96) uint8.

        Its last crop stands where it is too short.

        Raises:
            CorpusError: No other record has lips and another text.
        """
        rng = hashed_rng(self.config.seed, record.utterance_id, WRONG)
        for index in rng.permutation(len(self.records)):
            other = self.records[index]
            if other.text == record.text or other.media == record.media:
                continue
            lips = _try(self.reader.lips, other)
            if isinstance(lips, Lips):
                return lips.mouth[np.minimum(np.arange(length), len(lips.mouth) - 1)]
        raise CorpusError(
            f"{self.config.manifest}: no other utterance has lips to be the wrong ones of "
            f"{record.utterance_id}"
        )

    def work(self, task: Task) -> tuple[dict[str, list[UtteranceResult]], dict[str, float]]:
        """Transcribe the utterances of a task under each of its conditions.

        Returns:
            The results of each condition by its name, and the seconds that each took; the key ""
            holds the seconds of the work that all conditions share.
        """
        started = time.perf_counter()
        records = [self.records[i] for i in task.indices]
        batch = _ClipBatch(self, records, task.conditions)
        seconds = defaultdict(float, {"": time.perf_counter() - started})
        results: dict[str, list[UtteranceResult]] = {}

        def clip_key(condition: Condition) -> tuple[str, ...]:
            return condition.modality, str(condition.noise), str(condition.video_corruption)

        for _, group in groupby(sorted(task.conditions, key=clip_key), clip_key):
            started = time.perf_counter()
            same_clips = list(group)
            by_condition = self._transcribe(batch, same_clips)
            for condition, utterances in zip(same_clips, by_condition, strict=True):
                results[condition.name] = utterances
                seconds[condition.name] += (time.perf_counter() - started) / len(same_clips)
        return results, dict(seconds)

    def _transcribe(
        self, batch: "_ClipBatch", conditions: Sequence[Condition]
    ) -> list[list[UtteranceResult]]:
        """Transcribe a batch under conditions that differ in the language mode only."""
        clips: dict[int, Clip] = {}
        failures: dict[int, str] = {}
        for i in range(len(batch.records)):
            try:
                clips[i] = batch.clip(i, conditions[0])
            except MediaError as error:
                failures[i] = " ".join(str(error).split())
        predictions: dict[tuple[int, int], Prediction] = {}  # by number of condition and record
        order = sorted(clips, key=lambda i: clips[i].modality)
        for _, group in groupby(order, lambda i: clips[i].modality):
            indices = list(group)
            languages = [
                [
                    batch.records[i].language if c.language_mode == "given" else c.language_mode
                    for i in indices
                ]
                for c in conditions
            ]
            answers = self.recognizer.transcribe([clips[i] for i in indices], languages)
            for number, answer in enumerate(answers):
                predictions.update({(number, i): p for i, p in zip(indices, answer, strict=True)})
        return [
            [
                _make_result(
                    record,
                    clips.get(i),
                    predictions.get((number, i)),
                    failures.get(i),
                    batch.noise_pieces(i, conditions[0]),
                )
                for i, record in enumerate(batch.records)
            ]
            for number in range(len(conditions))
        ]


class _ClipBatch:
    """Sound and lips of some records, read once, with each noise and corruption applied once."""

    def __init__(
        self,
        worker: EvaluationWorker,
        records: Sequence[Record],
        conditions: Sequence[Condition],
    ) -> None:
        self.worker, self.records = worker, records
        use_video = any(condition.modality != "audio" for condition in conditions)
        # Lips alone need the sound too: its pauses are where a long clip is cut.
        self.sounds = [_try(worker.reader.sound, r) for r in records]
        self.lips = [_try(worker.reader.lips, r) if use_video else None for r in records]
        # Asked of what was recorded: in noise that is mixed in nobody may be heard any more.
        self.speech = [isinstance(sound, np.ndarray) and has_speech(sound) for sound in self.sounds]
        self.moves = [isinstance(lips, Lips) and lips_move(lips.mouth) for lips in self.lips]
        self.noisy: dict[tuple[int, str], tuple[np.ndarray, list[dict[str, Any]]]] = {}
        self.corrupted: dict[str | None, list[tuple[np.ndarray, Any] | None]] = {
            corruption: self._corrupt(corruption)
            for corruption in dict.fromkeys(
                c.video_corruption for c in conditions if c.modality != "audio"
            )
        }

    def _corrupt(self, video_corruption: str | None) -> list[tuple[np.ndarray, Any] | None]:
        """Corrupt the crops of each record and extract features; None for records without lips."""
        mouths = {i: lips.mouth for i, lips in enumerate(self.lips) if isinstance(lips, Lips)}
        corruption = parse_corruption(video_corruption)
        for i, mouth in mouths.items():
            if video_corruption == WRONG:
                mouths[i] = self.worker.foreign_mouth(self.records[i], len(mouth))
            elif corruption is not None:
                names = self.records[i].utterance_id, video_corruption
                mouths[i] = corruption.apply(mouth, hashed_rng(self.worker.config.seed, *names))
        features = self.worker.recognizer.extract_visual(list(mouths.values()))
        with_features = dict(zip(mouths, zip(mouths.values(), features, strict=True), strict=True))
        return [with_features.get(i) for i in range(len(self.lips))]

    def clip(self, i: int, condition: Condition) -> Clip:
        """Make the clip of record ``i`` under a condition; raise MediaError if it has no input."""
        sound = self.sounds[i] if condition.modality != "video" else None
        lips = self.lips[i] if condition.modality != "audio" else None
        for part in (sound, lips):
            if isinstance(part, MediaError):
                raise part
        if sound is None and lips is None:
            missing = {"av": "neither sound nor a face", "audio": "no sound", "video": "no face"}
            path = self.worker.reader.media(self.records[i])
            raise MediaError(f"{path}: {missing[condition.modality]}")
        if sound is not None and condition.noise is not None:
            sound = self._mix(i, condition)[0]
        corruption = parse_corruption(condition.video_corruption)
        if sound is not None and corruption is not None:
            sound = corruption.delay(sound)  # type: ignore[arg-type]
        video = self.corrupted[condition.video_corruption][i] if lips is not None else None
        mouth, visual = (None, None) if video is None else video
        if sound is not None and mouth is not None and is_covered(mouth):
            mouth = visual = None  # as in any transcription
        heard = self.sounds[i] if condition.modality == "video" else None
        return Clip(
            name=self.records[i].utterance_id,
            waveform=sound,  # type: ignore[arg-type]
            mouth=mouth,
            visual=visual,
            readable=lips.readable if isinstance(lips, Lips) and mouth is not None else None,
            heard=heard if isinstance(heard, np.ndarray) else None,
            spoken=(mouth is not None and self.moves[i]) or (sound is not None and self.speech[i]),
        )

    def noise_pieces(self, i: int, condition: Condition) -> list[dict[str, Any]]:
        """List the pieces of noise in the sound of record ``i`` under a condition."""
        if condition.noise is None or not isinstance(self.sounds[i], np.ndarray):
            return []
        return self._mix(i, condition)[1]

    def _mix(self, i: int, condition: Condition) -> tuple[np.ndarray, list[dict[str, Any]]]:
        key = i, str(condition.noise)
        if key not in self.noisy:
            assert condition.noise is not None
            name, sound = self.records[i].utterance_id, self.sounds[i]
            self.noisy[key] = self.worker.library.mix(sound, condition.noise, name)  # type: ignore[arg-type]
        return self.noisy[key]


def _try(read: Callable[[Record], T], record: Record) -> T | MediaError:
    try:
        return read(record)
    except MediaError as error:
        return error
    except CorpusError as error:  # of a shard: the utterance fails, the others do not
        return MediaError(str(error))


def _make_result(
    record: Record,
    clip: Clip | None,
    prediction: Prediction | None,
    failure: str | None,
    noise: Sequence[Mapping[str, Any]],
) -> UtteranceResult:
    empty = UtteranceResult(
        utterance_id=record.utterance_id,
        language=record.language,
        reference=record.text,
        hypothesis="",
        failure=failure,
    )
    if clip is None or prediction is None:
        return empty
    if prediction.failure is not None:
        return replace(empty, failure=prediction.failure)
    video_seconds = 0 if clip.mouth is None else len(clip.mouth) / FPS
    seconds = video_seconds if clip.waveform is None else len(clip.waveform) / SAMPLE_RATE
    probs = {code: round(prob, 6) for code, prob in prediction.language_probs.items()}
    return replace(
        empty,
        hypothesis=prediction.text,
        detected=max(probs, key=lambda code: probs[code], default=None),
        language_probs=probs,
        seconds=round(seconds, 3),
        boundary_errors=boundary_errors(record.words or (), prediction.words, record.language),
        noise=tuple(noise),
        modality=clip.modality,
        senses=prediction.senses or (clip.modality,),
        doubt=None if prediction.doubt is None else round(prediction.doubt, 3),
    )


def select_records(config: EvaluationConfig) -> list[Record]:
    """Read the records to score; raise CorpusError if there are none."""
    counts: dict[str, int] = defaultdict(int)
    selected = []
    for record in read_manifest(Path(config.manifest)):
        if config.split is not None and record.split != config.split:
            continue
        if config.languages is not None and record.language not in config.languages:
            continue
        counts[record.language] += 1
        if config.limit is None or counts[record.language] <= config.limit:
            selected.append(record)
    if not selected:
        filters = "".join(
            f", {name} {value}"
            for name, value in (("split", config.split), ("languages", config.languages))
            if value is not None
        )
        raise CorpusError(f"{config.manifest} has no records to evaluate{filters}")
    return selected


def open_library(config: EvaluationConfig) -> NoiseLibrary:
    """Open the noise of all conditions."""
    kinds = [c.noise.kind for c in config.conditions() if c.noise is not None]
    return NoiseLibrary(
        kinds, musan=config.musan, seed=config.seed, pauses=config.snr_over == "clip"
    )
