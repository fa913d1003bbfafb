"""Several models of one language each, used as one of many; a YAML file names them.

models:
  es: models/es_avsr                  # a model directory, from this file's folder
  fr: hf://owner/name
language_id: tiny                     # optional: a model that tells languages apart
"""

import dataclasses
import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.errors import ConfigError, ModelError
from avsr.hub import BUNDLED, load_network
from avsr.languages import check_languages, is_language_code
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.rates import MAX_SEGMENT_SECONDS
from avsr.recognition.inference import recognize_scored
from avsr.recognition.language_id import language_probabilities
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording
from avsr.recognition.recording import Recording
from avsr.runtime.progress import Progress, listen_progress
from avsr.settings import build_settings, read_settings
from avsr.transcript import Transcript


@dataclass(frozen=True, kw_only=True)
class ModelSetConfig:
    """Content of the YAML file."""

    models: Mapping[str, str]
    """Language code -> model."""
    language_id: str | None = None
    """Model that names the language; without it the scores of all candidates decide."""

    def __post_init__(self) -> None:
        if not isinstance(self.models, Mapping) or not self.models:
            raise ConfigError("models must name a model for each language, 'es: DIRECTORY'")
        unknown = [code for code in self.models if not is_language_code(str(code))]
        if unknown:  # YAML reads an unquoted no as false
            raise ConfigError(f"models: '{unknown[0]}' is no ISO 639-1 code (in quotes?)")
        names = [*self.models.values(), *([] if self.language_id is None else [self.language_id])]
        if not all(isinstance(name, str) for name in names):
            raise ConfigError("the name of a model must be a text")


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
        """Read the YAML ``file``; models are loaded when they are needed.

        Raises ConfigError for what is wrong in the file.
        """
        if max_loaded < 1:
            raise ConfigError("max_loaded must be 1 or more")
        path = Path(file)
        self.settings = build_settings(ModelSetConfig, read_settings(path), str(path))
        self.folder = path.parent
        self.languages = tuple(self.settings.models)
        self.device = device
        self.precision = precision
        self.max_loaded = max_loaded
        self._loaded: OrderedDict[str, AVSRModel] = OrderedDict()  # the last used at the end

    def model(self, name: str) -> AVSRModel:
        """Return a model by its name in the file; load it if need be, in place of the oldest."""
        if name not in self._loaded:
            while len(self._loaded) >= self.max_loaded:
                self._loaded.popitem(last=False)
            outside = name in BUNDLED or name.startswith("hf://")
            place = name if outside else self.folder / name
            self._loaded[name] = load_network(place, self.device, self.precision)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def transcribe(
        self, path: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
    ) -> Transcript:
        """Transcribe a media file; arguments as for ``Recognizer.transcribe``.

        Without ``language`` the language-ID model chooses among the set's languages; without such a
        model the language is the one whose model is surest of its text, by the mean natural-log
        probability of a token. ``language_probs`` are then the normalised exponentials of these
        means, which are not calibrated.
        """
        with listen_progress(progress):
            return self._transcribe_file(path, TranscribeOptions(**options))

    def _transcribe_file(
        self, path: str | os.PathLike[str], options: TranscribeOptions
    ) -> Transcript:
        options = options.for_languages(self.languages)
        if options.face == "all":
            raise ConfigError(
                "every face is transcribed by one model only: --model, not --model-set"
            )
        recording = read_recording(path, options.modality, options.face, mouth=options.mouth)
        if recording.duration > MAX_SEGMENT_SECONDS:
            warning = f"the recording is longer than {MAX_SEGMENT_SECONDS:.0f} s"
            warning += "; accuracy falls with length"
            recording = dataclasses.replace(recording, warnings=(*recording.warnings, warning))
        if not options.detects:
            return self._transcribe(recording, options, options.language)[0]
        among = self.languages
        if options.language != "auto":
            among = check_languages(options.language, among)
        if self.settings.language_id is not None:
            probs = self._identify(recording, self.settings.language_id, among)
            transcript, _ = self._transcribe(recording, options, max(probs, key=lambda c: probs[c]))
            return dataclasses.replace(transcript, language_probs=probs)
        models = self.settings.models
        # What is in memory goes first, so that a small memory is not emptied in turn.
        codes = sorted(among, key=lambda code: models[code] not in self._loaded)
        scored = {code: self._transcribe(recording, options, code) for code in codes}
        best = max(scored, key=lambda code: scored[code][1])
        best_score = scored[best][1]
        sureness = {code: math.exp(score - best_score) for code, (_, score) in scored.items()}
        probs = {code: share / sum(sureness.values()) for code, share in sureness.items()}
        return dataclasses.replace(scored[best][0], language_probs=probs)

    def _identify(
        self, recording: Recording, name: str, among: tuple[str, ...]
    ) -> dict[str, float]:
        """Probabilities of the languages ``among`` by the language-ID model, 1 together."""
        known = language_probabilities(self.model(name), recording)
        shares = {code: known.get(code, 0.0) for code in among}
        if not any(shares.values()):
            listing = ", ".join(among)
            raise ModelError(f"the language-ID model {name} knows none of {listing}")
        return {code: share / sum(shares.values()) for code, share in shares.items()}

    def _transcribe(
        self, recording: Recording, options: TranscribeOptions, code: str
    ) -> tuple[Transcript, float]:
        """Transcript by the model of a language, and its score."""
        model = self.model(self.settings.models[code])
        if code not in model.config.languages:
            raise ModelError(
                f"the model for {code}, {self.settings.models[code]}, is for "
                f"{', '.join(model.config.languages)}"
            )
        return recognize_scored(model, [recording], dataclasses.replace(options, language=code))[0]
