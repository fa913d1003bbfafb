"""Recognizers: what transcribes the clips of an evaluation.

A clip that is longer than the model takes at a time is cut at pauses, as ``avsr transcribe`` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from avsr.errors import MediaError
from avsr.evaluation.clips import Clip
from avsr.rates import FPS, SAMPLE_RATE
from avsr.recognition.encoding import extract_visual_features
from avsr.recognition.inference import recognize_encoded
from avsr.recognition.lip_sync import sync_lips
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_recording
from avsr.recognition.recording import Recording, extend_lips
from avsr.recognition.senses import encode_checked

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel
    from avsr.transcript import Word

AUTO = "auto"


@dataclass(frozen=True)
class Prediction:
    """What a recognizer predicts for one clip."""

    text: str
    """The transcript."""
    language_probs: Mapping[str, float]
    """Probability of each language."""
    words: tuple["Word", ...] = ()
    """Words with their times, where the recognizer gives them."""
    doubt: float | None = None
    """As in ``Transcript``: above 0 the transcript is not reliable."""
    failure: str | None = None
    """Why nothing was transcribed."""
    senses: tuple[str, ...] = ()
    """Modality that each of its segments was read from, where the recognizer gives it."""


class Recognizer(Protocol):
    """Transcribes clips, and shares work between conditions.

    Features of the lips are extracted once for all conditions with the same video, and a clip is
    encoded once for all language modes.
    """

    @property
    def segment_seconds(self) -> float:
        """Longest clip that it takes in one piece."""

    def extract_visual(self, mouths: Sequence[np.ndarray]) -> Sequence[Any]:
        """Extract features of the lips.

        Args:
            mouths: Mouth crops (T, 96, 96) uint8 of each clip.

        Returns:
            For each clip whatever ``transcribe`` expects as ``Clip.visual``.
        """

    def transcribe(
        self, clips: Sequence[Clip], languages: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[Prediction]]:
        """Transcribe clips of one modality in one or several language modes.

        Args:
            clips: The clips.
            languages: For each mode the language of each clip; ``auto`` where it is detected.

        Returns:
            For each mode the prediction for each clip.
        """


class ModelRecognizer:
    """Recognizer that runs a model.

    Args:
        model: The model.
        options: Fields of ``TranscribeOptions``: ``beam_size``, ``ctc_weight``, ...
    """

    def __init__(self, model: "AVSRModel", **options: Any) -> None:
        self.model = model
        self.options = TranscribeOptions(**options)

    def extract_visual(self, mouths: Sequence[np.ndarray]) -> list[Any]:
        """Extract the outputs (T, C) of the visual front end; None for a clip that will be cut."""
        return [
            None if self._is_long(len(mouth) / FPS) else extract_visual_features(self.model, mouth)
            for mouth in mouths
        ]

    @property
    def segment_seconds(self) -> float:
        """Longest clip that the model takes in one piece; a longer one is cut."""
        return self.model.config.segment_seconds

    def _is_long(self, seconds: float) -> bool:
        return seconds > self.segment_seconds

    def transcribe(
        self, clips: Sequence[Clip], languages: Sequence[Sequence[str]]
    ) -> list[list[Prediction]]:
        """Transcribe clips of one modality in one or several language modes; see Recognizer."""
        # A long one is cut, and one in which nobody speaks has no words.
        alone = [self._is_long(_seconds(clip)) or not clip.spoken for clip in clips]
        whole = [clip for clip, one in zip(clips, alone, strict=True) if not one]
        answers = []
        short_modes = [
            [code for code, one in zip(mode, alone, strict=True) if not one] for mode in languages
        ]
        for mode, short in zip(languages, self._transcribe_whole(whole, short_modes), strict=True):
            in_order = iter(short)
            answers.append(
                [
                    self._transcribe_alone(clip, code) if one else next(in_order)
                    for clip, code, one in zip(clips, mode, alone, strict=True)
                ]
            )
        return answers

    def _transcribe_alone(self, clip: Clip, language: str) -> Prediction:
        """Transcribe one clip in segments, or not at all."""
        if not clip.spoken:
            return Prediction("", {})
        recording = Recording(name=clip.name, waveform=clip.waveform, mouth=clip.mouth)
        options = replace(self.options, language=language)
        try:
            transcript = transcribe_recording(
                self.model, recording, options, heard=clip.heard, readable=clip.readable
            )
        except MediaError as error:
            return Prediction("", {}, failure=str(error))
        return Prediction(
            transcript.text,
            transcript.language_probs,
            transcript.words,
            transcript.doubt,
            senses=tuple(segment.modality for segment in transcript.segments),
        )

    def _transcribe_whole(
        self, clips: Sequence[Clip], languages: Sequence[Sequence[str]]
    ) -> list[list[Prediction]]:
        """Transcribe clips that the model takes in one piece, in one batch."""
        if not clips:
            return [[] for _ in languages]
        codes = self.model.config.languages
        recordings = [
            extend_lips(Recording(name=c.name, waveform=c.waveform, mouth=c.mouth, visual=c.visual))
            for c in clips
        ]
        if self.options.sync:
            check = self.options.check
            recordings = [sync_lips(self.model, part, check=check) for part in recordings]
        recordings, encoded = encode_checked(self.model, recordings, self.options)
        detected = encoded.language_probs.argmax(-1).tolist()
        language_probs = [
            dict(zip(codes, row, strict=True)) if self.model.names_languages else {}
            for row in encoded.language_probs.double().tolist()
        ]
        indices = [
            tuple(
                index if code == AUTO else codes.index(code)
                for code, index in zip(mode, detected, strict=True)
            )
            for mode in languages
        ]
        predictions = {}
        for mode in dict.fromkeys(indices):  # modes with equal languages are decoded once
            spoken = [codes[index] for index in mode]
            scored = recognize_encoded(self.model, recordings, encoded, spoken, self.options)
            predictions[mode] = [
                Prediction(
                    transcript.text,
                    probs,
                    transcript.words,
                    transcript.doubt,
                    senses=(transcript.modality,),
                )
                for (transcript, _), probs in zip(scored, language_probs, strict=True)
            ]
        return [predictions[mode] for mode in indices]


def _seconds(clip: Clip) -> float:
    """Length of the longer one of sound and lips."""
    sound = 0 if clip.waveform is None else len(clip.waveform)
    frames = 0 if clip.mouth is None else len(clip.mouth)
    return max(sound / SAMPLE_RATE, frames / FPS)
