"""Several models of one language each, used as one of many; a YAML file names them.

models:
  es: models/es_avsr                  # a model directory, from this file's folder
  fr: hf://owner/name
language_id: voxlingua107             # optional: a model that tells languages apart
"""

import dataclasses
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from avsr import media
from avsr.errors import ConfigError, LanguageError, ModelError
from avsr.hub import find_model, is_name, load_network
from avsr.language import MIN_CONFIDENCE, UNKNOWN
from avsr.languages import (
    MUAVIC_LANGUAGES,
    check_languages,
    is_language_code,
    language_name,
    resolve_language_option,
)
from avsr.media.paths import media_path
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.rates import MAX_SEGMENT_SECONDS
from avsr.recognition.batching import transcribe_whole, unspoken_transcript
from avsr.recognition.inference import mark_uncertain, recognize_scored
from avsr.recognition.language_id import (
    LanguageModel,
    identify_file,
    identify_recording,
    load_language_model,
)
from avsr.recognition.lip_sync import sync_lips
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_file
from avsr.recognition.reading import asked_tracks, probe_recording, read_recording
from avsr.recognition.recording import Recording
from avsr.recognition.segmentation import (
    SLACK_SECONDS,
    read_segments,
    whole_segment,
)
from avsr.runtime.progress import Progress, listen_progress
from avsr.settings import build_settings, read_settings, show, text_problem
from avsr.transcript import Transcript

VOXLINGUA107 = "voxlingua107"
SCORED_SEGMENTS = 3  # of a long recording, by whose scores a set without language-ID model decides
MIN_SHOWN = 0.001  # probability below which a language of no model of the set is left out
SHOWN_IN_ERROR = 3  # likeliest languages that an error names
FORCE = "--language forces one"


@dataclass(frozen=True, kw_only=True)
class ModelSetConfig:
    """Content of the YAML file."""

    models: Any
    """Language code -> name of its model, both text."""
    language_id: Any = None
    """Model that names the language; without it the scores of all candidates decide."""

    def __post_init__(self) -> None:
        if not isinstance(self.models, Mapping) or not self.models:
            raise ConfigError("models must name a model for each language, 'es: DIRECTORY'")
        unknown = [str(code)[:20] for code in self.models if not is_language_code(str(code))]
        if unknown:  # YAML reads an unquoted no as false
            raise ConfigError(f"models: '{unknown[0]}' is no ISO 639-1 code (in quotes?)")
        names = [*self.models.values(), *([] if self.language_id is None else [self.language_id])]
        for name in names:
            if problem := text_problem(name):
                raise ConfigError(
                    f"the name of a model must be a text, it is {show(name)}, {problem}"
                )


MODEL_SETS = {
    "muavic": ModelSetConfig(
        models={code: f"muavic-{code}" for code in MUAVIC_LANGUAGES}, language_id=VOXLINGUA107
    )
}
"""Sets that need no file, by name."""


class ModelSet:
    """Transcribes like a Recognizer; at most ``max_loaded`` models are in memory at any time."""

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = "auto",
        *,
        max_loaded: int = 2,
        precision: Precision = "auto",
    ) -> None:
        """Read the YAML ``file``, or take one of MODEL_SETS by its name.

        Models are loaded when they are needed. Raises ConfigError for what is wrong in the file.
        """
        if max_loaded < 1:
            raise ConfigError("max_loaded must be 1 or more")
        path = Path(file)
        known = MODEL_SETS.get(os.fspath(file))
        self.settings = known or build_settings(ModelSetConfig, read_settings(path), str(path))
        self.folder = None if known else path.parent
        self.languages = tuple(self.settings.models)
        self.device = device
        self.precision = precision
        self.max_loaded = max_loaded
        self._loaded: OrderedDict[str, LanguageModel] = OrderedDict()  # last used at the end

    def prepare(self, language: str = "auto") -> None:
        """Find what the first recording needs, so that it is known before any work what is missing.

        That is every model directory, and the language-ID model or the model of ``language``, which
        is downloaded if need be.

        Raises:
            ModelError: There is no such model, or it cannot be downloaded.
        """
        language = resolve_language_option(language, self.languages)
        first = self.settings.models.get(language, self.settings.language_id)
        for name in (*self.settings.models.values(), self.settings.language_id):
            if name is not None and (name == first or not is_name(name)):
                find_model(self._locate(name))

    def model(self, name: str) -> LanguageModel:
        """Return a model by its name in the file; load it if need be, in place of the oldest."""
        if name not in self._loaded:
            while len(self._loaded) >= self.max_loaded:
                self._loaded.popitem(last=False)
            load = load_language_model if name == self.settings.language_id else load_network
            self._loaded[name] = load(self._locate(name), self.device, self.precision)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _locate(self, name: str) -> str | Path:
        """A path relative to the folder of the file; names of models stay as they are."""
        return name if self.folder is None or is_name(name) else self.folder / name

    def _network(self, code: str) -> AVSRModel:
        """The model that writes a language."""
        name = self.settings.models[code]
        model = self.model(name)
        if not isinstance(model, AVSRModel):
            raise ModelError(
                f"the model for {code}, {name}, is a language-ID model: it writes no text"
            )
        if code not in model.config.languages:
            raise ModelError(
                f"the model for {code}, {name}, is for {', '.join(model.config.languages)}"
            )
        return model

    def transcribe(
        self, path: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
    ) -> Transcript:
        """Transcribe a media file; arguments as for ``Recognizer.transcribe``.

        Without ``language`` the language-ID model names the language, one of all that it knows.
        Without such a model the language is the one whose model is surest of its text, by the mean
        natural-log probability of a token; ``language_probs`` are then the normalised exponentials
        of these means, which are not calibrated.

        Raises:
            LanguageError: No model of the set speaks the language, or it cannot be told: there is
                no speech, or no language is likely enough. Nothing is written then.
        """
        with listen_progress(progress):
            return self._transcribe_file(media_path(path), TranscribeOptions.from_dict(options))

    def _transcribe_file(self, path: Path, options: TranscribeOptions) -> Transcript:
        options = options.for_languages(self.languages)
        if options.face == "all":
            raise ConfigError(
                "every face is transcribed by one model only: --model, not --model-set"
            )
        if not options.detects:
            return transcribe_file(self._network(options.language), path, options)
        info = probe_recording(path, options)
        recording = None
        if info.duration <= MAX_SEGMENT_SECONDS:  # longer ones are read as a stream
            recording = read_recording(
                path,
                options.modality,
                options.face,
                info=info,
                mouth=options.mouth,
                tracks=asked_tracks(options),
            )
            if not recording.spoken:
                return unspoken_transcript(whole_segment(recording, info), options)
            if recording.duration > MAX_SEGMENT_SECONDS + SLACK_SECONDS:
                recording = None  # longer than its packets told
        if self.settings.language_id is None:
            return self._transcribe_surest(path, recording, info, options)
        probs = self._identify(path, recording, options)
        if not probs:  # of a long recording; by the sound of its parts nobody speaks
            return self._transcribe(path, None, info, options, self.languages[0])
        code = max(probs, key=lambda code: probs[code])
        transcript = self._transcribe(path, recording, info, options, code)
        transcript = dataclasses.replace(transcript, language_probs=probs)
        return mark_uncertain(mark_doubtful(transcript), options)

    def _identify(
        self, path: Path, recording: Recording | None, options: TranscribeOptions
    ) -> dict[str, float]:
        """Probabilities by the language-ID model; the likeliest language is one of the set's.

        Of all languages that it knows, or of those that the caller named.
        """
        name = self.settings.language_id
        assert name is not None
        model = self.model(name)
        if recording is None:
            probs = identify_file(model, path, options)
        else:
            probs = identify_recording(model, recording)
        if not probs and recording is None and options.modality == "audio":
            return {}
        if not probs:
            raise LanguageError(f"nobody is heard to speak, so the language is unknown; {FORCE}")
        among = self.languages
        if options.language != "auto":
            among = check_languages(options.language, self.languages)
        if not any(code in probs for code in among):
            raise ModelError(f"the language-ID model {name} knows none of {', '.join(among)}")
        if options.language != "auto":
            total = sum(probs.get(code, 0.0) for code in among) or 1.0
            return {code: probs.get(code, 0.0) / total for code in among}
        check_spoken(probs, self.languages)
        return {c: p for c, p in probs.items() if c in self.languages or p >= MIN_SHOWN}

    def _transcribe(
        self,
        path: Path,
        recording: Recording | None,
        info: media.MediaInfo,
        options: TranscribeOptions,
        code: str,
    ) -> Transcript:
        """Transcript by the model of a language; a recording that was read is not read again."""
        model = self._network(code)
        options = dataclasses.replace(options, language=code)
        if recording is None or recording.duration > model.config.segment_seconds:
            return transcribe_file(model, path, options)
        return transcribe_whole(model, [whole_segment(recording, info)], options)[0]

    def _transcribe_surest(
        self,
        path: Path,
        recording: Recording | None,
        info: media.MediaInfo,
        options: TranscribeOptions,
    ) -> Transcript:
        """Transcript by the model that is surest of its text."""
        among = self.languages
        if options.language != "auto":
            among = check_languages(options.language, among)
        models = self.settings.models
        # What is in memory goes first, so that a small memory is not emptied in turn.
        codes = sorted(among, key=lambda code: models[code] not in self._loaded)
        recordings = [recording] if recording is not None else []
        if recording is None:
            with closing(read_segments(self._network(codes[0]), path, info, options, [])) as parts:
                recordings = [part.recording for part in islice(parts, SCORED_SEGMENTS)]
        if not recordings:  # nobody speaks
            return self._transcribe(path, None, info, options, codes[0])
        scored = {code: self._score(recordings, options, code) for code in codes}
        best = max(scored, key=lambda code: scored[code][1])
        best_score = scored[best][1]
        sureness = {code: math.exp(score - best_score) for code, (_, score) in scored.items()}
        probs = {code: share / sum(sureness.values()) for code, share in sureness.items()}
        transcript = scored[best][0]
        if recording is None:
            transcript = self._transcribe(path, None, info, options, best)
        else:
            transcript = dataclasses.replace(
                transcript, duration=whole_segment(recording, info).end
            )
        return mark_doubtful(dataclasses.replace(transcript, language_probs=probs))

    def _score(
        self, recordings: Sequence[Recording], options: TranscribeOptions, code: str
    ) -> tuple[Transcript, float]:
        """Transcript of the first recording, and the mean score of all, weighted by length."""
        model = self._network(code)
        options = dataclasses.replace(options, language=code)
        if options.sync:
            recordings = [sync_lips(model, part, check=options.check) for part in recordings]
        results = [recognize_scored(model, [recording], options)[0] for recording in recordings]
        total = sum(recording.duration for recording in recordings)
        pairs = zip(recordings, results, strict=True)
        score = sum(recording.duration * score for recording, (_, score) in pairs) / total
        return results[0][0], score


def mark_doubtful(transcript: Transcript) -> Transcript:
    """Call the language unknown where the text is not reliable, in its segments as well."""
    segments = tuple(
        dataclasses.replace(part, language=UNKNOWN) if part.reliable is False else part
        for part in transcript.segments
    )
    language = UNKNOWN if transcript.reliable is False else transcript.language
    return dataclasses.replace(transcript, language=language, segments=segments)


def check_spoken(probs: Mapping[str, float], languages: Sequence[str]) -> None:
    """Check that the likeliest language is likely enough and one of a set's.

    Args:
        probs: Probability of each language code that a language-ID model knows.
        languages: Codes of the set's models.

    Raises:
        LanguageError: It is not; the message names it.
    """
    likeliest = sorted(probs, key=lambda code: -probs[code])[:SHOWN_IN_ERROR]
    best = likeliest[0]
    if probs[best] < MIN_CONFIDENCE:
        listing = ", ".join(f"{language_name(code)} {probs[code]:.2f}" for code in likeliest)
        raise LanguageError(f"the language is not sure ({listing}), so nothing is written; {FORCE}")
    if best not in languages:
        raise LanguageError(
            f"{language_name(best)} ({probs[best]:.2f}): no model of this set speaks it; {FORCE}"
        )
