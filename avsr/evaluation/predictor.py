"""What transcribes the clips of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from avsr.evaluation.clips import Clip
from avsr.recognition.inference import time_hypothesis

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel
    from avsr.transcript import Word

AUTO = "auto"


@dataclass(frozen=True)
class Prediction:
    """What a recogniser says of a clip."""

    text: str
    """What is said."""
    language_probs: Mapping[str, float]
    """Probability of each language."""
    words: tuple["Word", ...] = ()
    """When each word is said, where that is known."""


class Recognizer(Protocol):
    """Transcribes clips; what conditions share is computed once."""

    def see(self, mouths: Sequence[np.ndarray]) -> Sequence[Any]:
        """What to keep of mouth crops (T, 96, 96) uint8 for every condition that shows them."""

    def listen(
        self, clips: Sequence[Clip], told: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[Prediction]]:
        """Transcribe clips of one modality, once for each entry of ``told``.

        An entry has the language of each clip, ``auto`` where it is to be detected.
        """


class ModelRecognizer:
    """A recogniser that is a model; ``options`` are those of TranscribeOptions (beam_size, ...)."""

    def __init__(self, model: "AVSRModel", **options: Any) -> None:
        from avsr.recognition.options import TranscribeOptions

        self.model = model
        self.options = TranscribeOptions(**options)

    def see(self, mouths: Sequence[np.ndarray]) -> list[Any]:
        """Outputs (T, C) of the visual front end."""
        from avsr.recognition.inference import extract_visual_features

        return [extract_visual_features(self.model, mouth) for mouth in mouths]

    def listen(
        self, clips: Sequence[Clip], told: Sequence[Sequence[str]]
    ) -> list[list[Prediction]]:
        """See Recognizer."""
        import torch

        from avsr.recognition.inference import decode, encode
        from avsr.recognition.lip_sync import sync_lips
        from avsr.recognition.recording import Recording

        codes = self.model.config.languages
        recordings = [
            Recording(name=c.name, waveform=c.waveform, mouth=c.mouth, visual=c.visual)
            for c in clips
        ]
        if self.options.sync:
            recordings = [sync_lips(self.model, recording) for recording in recordings]
        encoded = encode(self.model, recordings)
        detected = encoded.language_probs.argmax(-1).tolist()
        probs = [
            dict(zip(codes, row, strict=True)) if self.model.names_languages else {}
            for row in encoded.language_probs.double().tolist()
        ]
        chosen = [
            tuple(
                found if code == AUTO else codes.index(code)
                for code, found in zip(languages, detected, strict=True)
            )
            for languages in told
        ]
        done = {}
        for languages in dict.fromkeys(chosen):  # those that were detected rightly come once
            best = decode(self.model, encoded, torch.tensor(languages), self.options)
            done[languages] = [
                Prediction(
                    self.model.tokenizer.decode(hypothesis.tokens),  # type: ignore[union-attr]
                    row,
                    time_hypothesis(
                        self.model, hypothesis, encoded.ctc_log_probs, i, int(encoded.lengths[i])
                    ),
                )
                for i, (hypothesis, row) in enumerate(zip(best, probs, strict=True))
            ]
        return [done[languages] for languages in chosen]
