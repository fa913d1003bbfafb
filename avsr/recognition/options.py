"""Options of a transcription. Importing this module loads neither torch nor mediapipe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Annotated, Any

from avsr.errors import ConfigError
from avsr.languages import resolve_language_option
from avsr.search.options import (
    BEAM_SIZE,
    CTC_WEIGHT,
    LENGTH_BONUS,
    LM_WEIGHT,
    MAX_BEAM_SIZE,
    SearchOptions,
)
from avsr.settings import Bounds, check_keys, check_settings, show
from avsr.transcript import MODALITIES, Modality

FACE_CHOICES = ("auto", "largest", "left", "right", "all")  # or the number of a face


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions:
    """Options of a transcription.

    Raises:
        ConfigError: A value is out of bounds; raised when the options are made.
    """

    modality: Modality = "av"
    """``av`` (sound and lips), ``audio`` (sound only) or ``video`` (lips only)."""
    language: str = "auto"
    """Code of the spoken language; ``auto`` (or None) to detect it; or codes with commas between,
    to detect which of these it is."""
    beam_size: Annotated[int, Bounds(high=MAX_BEAM_SIZE)] = BEAM_SIZE
    """Hypotheses that the beam search keeps."""
    ctc_weight: float = CTC_WEIGHT
    """Share of CTC in the search's score, 0 to 1."""
    lm_weight: float = LM_WEIGHT
    """Weight of the model's language model, if it has one, on top of the others."""
    sync: bool = True
    """Whether lips that run 80 to 200 ms before or behind the sound are moved to it."""
    check: bool = True
    """Whether sound and lips are also encoded alone, so that lips that contradict clear sound are
    not read."""
    face: str = "auto"
    """Whose lips are read: ``auto`` for the face that speaks; ``largest``, ``left`` or ``right`` in
    the picture; the number of a face, as text or int; or ``all`` for separate segments of each
    face."""
    mouth: bool = False
    """Whether the video is a ready-made mouth video, square with sides of 88 to 128 px, whose
    frames are the mouth crops: no face is searched."""
    audio_track: int | None = None
    """Number of the sound track to read: 1, 2, ... as the file lists them. None: the default one,
    or another where that is silent."""
    video_track: int | None = None
    """Number of the video track to read. None: the main one, or another where only that shows a
    face."""

    def __post_init__(self) -> None:
        if self.language is None:  # as other programs call it
            object.__setattr__(self, "language", "auto")
        if isinstance(self.face, Integral) and not isinstance(self.face, bool):
            object.__setattr__(self, "face", str(int(self.face)))
        if isinstance(self.modality, str) and self.modality not in MODALITIES:
            raise ConfigError(f"modality {show(self.modality)} must be av, audio or video")
        check_settings(self, "options")
        check_face(self.face, self.modality, mouth=self.mouth)
        for name in ("audio_track", "video_track"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or number < 1):
                raise ConfigError(f"{name} {number!r} must be a number from 1 on, or None")
        self.search()

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> "TranscribeOptions":
        """Make options from keyword arguments of a caller.

        Raises:
            ConfigError: There is no such option, or a value is out of bounds.
        """
        check_keys(cls, options, "options")
        return cls(**options)

    @property
    def detects(self) -> bool:
        """Whether the language is to be detected."""
        return self.language == "auto" or "," in self.language

    def for_languages(self, known: Sequence[str]) -> "TranscribeOptions":
        """The same options with aliases of languages resolved to a model's codes.

        Raises:
            LanguageError: ``language`` has a code that is not one of ``known``.
        """
        return replace(self, language=resolve_language_option(self.language, known))

    def search(self, with_lm: bool = True, with_ctc: bool = True) -> SearchOptions:
        """Options of the beam search; an empty transcript is allowed."""
        return SearchOptions(
            beam_size=self.beam_size,
            ctc_weight=self.ctc_weight,
            lm_weight=self.lm_weight if with_lm else 0.0,
            length_penalty=0.0 if with_ctc else 1.0,  # without CTC sums are best for short texts
            length_bonus=LENGTH_BONUS if with_lm and self.lm_weight else 0.0,
            min_len=0,
        )


def check_face(choice: str, modality: Modality = "av", *, mouth: bool = False) -> None:
    """Raise ConfigError if ``choice`` is neither one of FACE_CHOICES nor a face number.

    Only ``auto`` goes with the modality ``audio`` and with a ``mouth`` video, which has one mouth.
    """
    if choice not in FACE_CHOICES and not (re.fullmatch(r"0*[1-9]\d{0,8}", choice)):
        known = ", ".join(FACE_CHOICES)
        raise ConfigError(f"face {show(choice)} must be one of {known}, or a number from 1 on")
    if choice != "auto" and modality == "audio":
        raise ConfigError("a face cannot be chosen where only the sound is transcribed")
    if choice != "auto" and mouth:
        raise ConfigError("a face cannot be chosen in a mouth video, which has one mouth")
