"""A network with everything around it: files and arrays in, transcripts and languages out."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch  # noqa: F401  (before OpenCV and FFmpeg: the other way round takes 0.1 s longer)

from avsr.audio import is_silent
from avsr.errors import MediaError
from avsr.face import is_covered
from avsr.hub import load_network
from avsr.media.paths import media_path
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.recognition.arrays import check_mouth, check_waveform
from avsr.recognition.batching import unspoken_transcript
from avsr.recognition.inference import recognize
from avsr.recognition.language_id import identify_file, load_language_model
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_file, transcribe_recording
from avsr.recognition.recording import COVERED, Recording, extend_lips, is_spoken
from avsr.recognition.segmentation import MediaSegment
from avsr.runtime.progress import Progress, listen_progress
from avsr.transcript import Modality, Transcript
from avsr.transcript.result import NO_SPEECH

if TYPE_CHECKING:
    from numpy import ndarray


class Recognizer:
    """Transcribes recordings with one network. ``avsr.load_model`` makes it.

    Examples:
        >>> import avsr
        >>> model = avsr.load_model()
        >>> result = model.transcribe("demo/examples/de.mp4", modality="audio")
        >>> result.language, result.words[0].text
        ('de', 'seine')
    """

    def __init__(self, network: AVSRModel) -> None:
        """``network`` is in evaluation mode, as ``avsr.hub.load_network`` returns it."""
        self.network = network

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the network knows."""
        return self.network.config.languages

    def transcribe(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        **options: Any,
    ) -> Transcript:
        """Transcribe a media file.

        Args:
            path: Media file in any format that FFmpeg reads.
            progress: Called with (seconds done, seconds in all, what is being done). What it raises
                cancels the work and reaches the caller.
            options: Fields of ``TranscribeOptions``: ``modality``, ``language``, ``face``, ...

        Returns:
            The transcript, with language, words, times, warnings and segments.

        Raises:
            MediaError: The file cannot be read, or has neither a sound track nor lips.
            LanguageError: ``language`` is not one that the network knows.
            ConfigError: An option is out of bounds.
            Interrupted: Ctrl-C within a long recording; it carries the finished segments.
        """
        with listen_progress(progress):
            chosen = TranscribeOptions.from_dict(options)
            return transcribe_file(self.network, media_path(path), chosen)

    def transcribe_arrays(
        self, waveform: "ndarray | None", mouth: "ndarray | None", **options: Any
    ) -> Transcript:
        """Transcribe sound, mouth crops, or both.

        Args:
            waveform: (S,) float32 in [-1, 1] at 16 kHz, or None.
            mouth: (T, 96, 96) uint8 grey crops at 25 Hz, or None. A covered mouth is not read where
                there is sound; a warning says so.
            options: Fields of ``TranscribeOptions``.

        Returns:
            The transcript; of arrays that are longer than the network takes at a time in segments,
            as of a file. It has no words if there is no speech in the sound and no lips move.

        Raises:
            LanguageError: ``language`` is not one that the network knows.
            MediaError: An array has another shape or type, or long arrays hold nothing to
                transcribe.
            ConfigError: An option is out of bounds.
        """
        if waveform is None and mouth is None:
            raise MediaError("give a waveform, a mouth, or both")
        waveform = None if waveform is None else check_waveform(waveform)
        mouth = None if mouth is None else check_mouth(mouth)
        notes: list[str] = []
        if waveform is not None and mouth is not None and is_silent(waveform):
            waveform, notes = None, ["the sound is silent", "the lips are read without sound"]
        if waveform is not None and mouth is not None and is_covered(mouth):
            mouth, notes = None, [COVERED, "the sound is transcribed without lips"]
        recording = Recording(name="", waveform=waveform, mouth=mouth, warnings=tuple(notes))
        chosen = TranscribeOptions.from_dict(options)
        if recording.duration > self.network.config.segment_seconds:
            return transcribe_recording(self.network, recording, chosen, only_spoken=True)
        recording = extend_lips(recording)
        if is_spoken(recording):
            return recognize(self.network, [recording], chosen)[0]
        unspoken = replace(recording, spoken=False, warnings=(*notes, NO_SPEECH))
        segment = MediaSegment(0.0, recording.duration, unspoken, whole=True)
        return unspoken_transcript(segment, chosen)

    def detect_language(
        self,
        path: str | os.PathLike[str],
        *,
        modality: Modality = "av",
        audio_track: int | None = None,
        video_track: int | None = None,
    ) -> dict[str, float]:
        """Probability of each language code in a media file, the most likely first.

        Empty for a recording in which nobody speaks. The arguments are fields of
        ``TranscribeOptions``.

        Raises:
            MediaError: The file cannot be read, or has neither a sound track nor lips.
            ModelError: The network has no language classifier.
        """
        options = TranscribeOptions(
            modality=modality, audio_track=audio_track, video_track=video_track
        )
        return identify_file(self.network, media_path(path), options)


def load_model(
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> Recognizer:
    """Load a model to transcribe with.

    Args:
        name: A bundled name (None: the default one), a model directory, or ``hf://owner/name``.
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).
        precision: Number format for matrix products: ``fp32``, ``bf16``, ``int8`` (CPU only), or
            ``auto``, the format in which the model is stored.

    Returns:
        A recognizer; its ``network`` is the PyTorch module.

    Raises:
        ModelError: There is no such model, device or precision, or the model writes no text.

    Examples:
        >>> import avsr
        >>> model = avsr.load_model()
        >>> model.transcribe("demo/examples/de.mp4").language
        'de'
    """
    return Recognizer(load_network(name, device, precision))


def as_recognizer(model: "Recognizer | str | os.PathLike[str] | None") -> Recognizer:
    """``model`` itself if it is loaded, else the model of that name."""
    return model if isinstance(model, Recognizer) else load_model(model)


def transcribe(
    path: str | os.PathLike[str],
    *,
    model: "Recognizer | str | os.PathLike[str] | None" = None,
    progress: Progress | None = None,
    **options: Any,
) -> Transcript:
    """Transcribe one media file.

    Args:
        path: Media file in any format that FFmpeg reads.
        model: A loaded model, or its name as for ``load_model``. Default: the bundled model.
        progress: As for ``Recognizer.transcribe``.
        options: Fields of ``TranscribeOptions``: ``modality``, ``language``, ``face``, ...

    Returns:
        The transcript, with language, words, times, warnings and segments.

    Raises:
        AvsrError: As for ``load_model`` and ``Recognizer.transcribe``.

    Examples:
        >>> import avsr
        >>> avsr.transcribe("demo/examples/de.mp4").text
        'seine der wir der am'
    """
    return as_recognizer(model).transcribe(path, progress=progress, **options)


def detect_language(
    path: str | os.PathLike[str],
    *,
    model: "Recognizer | str | os.PathLike[str] | None" = None,
    modality: Modality = "av",
    audio_track: int | None = None,
    video_track: int | None = None,
) -> dict[str, float]:
    """Tell which language is spoken in a media file, without its words.

    Args:
        path: Media file in any format that FFmpeg reads.
        model: A loaded model, or its name as for ``load_model``, or that of a language-ID model,
            which judges the sound alone. Default: the bundled model.
        modality: ``av`` (sound and lips), ``audio`` or ``video``.
        audio_track: As in ``TranscribeOptions``.
        video_track: As in ``TranscribeOptions``.

    Returns:
        Probability of each language code, the most likely first; empty if nobody speaks.

    Raises:
        AvsrError: As for ``load_model`` and ``Recognizer.detect_language``.

    Examples:
        >>> import avsr
        >>> next(iter(avsr.detect_language("demo/examples/de.mp4")))
        'de'
    """
    options = TranscribeOptions(modality=modality, audio_track=audio_track, video_track=video_track)
    network = model.network if isinstance(model, Recognizer) else load_language_model(model)
    return identify_file(network, media_path(path), options)
