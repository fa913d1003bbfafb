"""Speech synthesis by SVOX Pico (package py-nanotts, Apache-2.0), for tests only.

Pico speaks by statistical models of real voices, espeak-ng by formants. No model of this project is
trained on it, so results on its speech say how a model fares on voices that it has not met.

Its state carries over from one text to the next, so every text is spoken by a process of its own,
which makes the samples depend on the arguments only. Pico gives no times: they are found by
``phone_alignment``.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from avsr.errors import AvsrError, LanguageError
from avsr.rates import SAMPLE_RATE
from avsr.synthetic.phone_alignment import align_speech
from avsr.synthetic.speech import EDGE, Speech

VOICES = {
    "de": ("de-DE",),
    "en": ("en-GB", "en-US"),
    "es": ("es-ES",),
    "fr": ("fr-FR",),
    "it": ("it-IT",),
}
SPEED = (0.85, 1.25)  # factor
PITCH = (0.8, 1.25)  # factor
VOLUME = 0.4  # at 1 the samples clip
SECONDS = 60.0  # that one text may take, also on a busy machine

_SPEAK = """
import sys
from py_nanotts import NanoTTS
voice, speed, pitch, volume = sys.argv[1:]
text = sys.stdin.buffer.read().decode()
samples = NanoTTS().speak(
    text, voice=voice, speed=float(speed), pitch=float(pitch), volume=float(volume)
)
sys.stdout.buffer.write(samples)
"""


@dataclass(frozen=True)
class PicoVoice:
    """A voice of Pico; its name also sets the language."""

    voice: str  # one of VOICES
    speed: float = 1.0  # factor
    pitch: float = 1.0  # factor

    @property
    def name(self) -> str:
        """Name of the speaker, such as "pico_en-gb"."""
        return f"pico_{self.voice.lower()}"


def check_pico(languages: Sequence[str]) -> None:
    """Check that Pico can speak.

    Raises:
        LanguageError: For a language that it does not speak.
        AvsrError: Without the package py-nanotts.
    """
    for language in languages:
        if language not in VOICES:
            raise LanguageError(
                f"the synthesizer pico does not speak '{language}': choose from {', '.join(VOICES)}"
            )
    if importlib.util.find_spec("py_nanotts") is None:
        raise AvsrError("the synthesizer pico needs py-nanotts: pip install 'avsr[synthetic]'")


def draw_pico_voice(language: str, rng: np.random.Generator) -> PicoVoice:
    """Draw a voice of a language with random speed and pitch; raise as ``check_pico``."""
    check_pico([language])
    voices = VOICES[language]
    return PicoVoice(
        voices[int(rng.integers(len(voices)))],
        speed=round(float(rng.uniform(*SPEED)), 2),
        pitch=round(float(rng.uniform(*PITCH)), 2),
    )


def synthesize_pico(text: str, language: str, voice: PicoVoice) -> Speech:
    """Speak a text and trim the silence around it.

    Args:
        text: Words separated by spaces.
        language: Language code, that of the voice.
        voice: Voice, speed and pitch.

    Returns:
        Waveform at 16 kHz with the times of phones and words, which are estimated.

    Raises:
        LanguageError: For a language that Pico does not speak.
        AvsrError: For an empty text, a voice of another language, a text that Pico or espeak-ng
            cannot speak, or without the package py-nanotts or espeakng-loader.
    """
    check_pico([language])
    if not text.split():
        raise AvsrError("there is no text to speak: give at least one word")
    if voice.voice not in VOICES[language]:
        raise AvsrError(
            f"the voice '{voice.voice}' does not speak '{language}': "
            f"use one of {', '.join(VOICES[language])}"
        )
    options = (voice.voice, str(voice.speed), str(voice.pitch), str(VOLUME))
    try:
        result = subprocess.run(
            [sys.executable, "-I", "-c", _SPEAK, *options],
            input=text.encode(),
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise AvsrError(f"pico took more than {SECONDS:.0f} s to speak {text!r}") from error
    if result.returncode:
        reason = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise AvsrError(f"pico could not speak {text!r}: {' '.join(reason) or 'it was killed'}")
    samples = np.frombuffer(result.stdout, "<i2").astype(np.float32) / 32768.0
    return trim_silence(align_speech(samples, text, language))


def trim_silence(speech: Speech) -> Speech:
    """Cut the silence before the first phone and after the last, but for ``EDGE`` s."""
    spoken = [phone for phone in speech.phones if phone.symbol]
    begin = max(0, round((spoken[0].start - EDGE) * SAMPLE_RATE))
    end = min(len(speech.waveform), round((spoken[-1].end + EDGE) * SAMPLE_RATE))
    shift, limit = begin / SAMPLE_RATE, (end - begin) / SAMPLE_RATE
    return Speech(
        speech.waveform[begin:end],
        tuple(
            replace(phone, start=max(0.0, phone.start - shift), end=min(limit, phone.end - shift))
            for phone in speech.phones
            if phone.end > shift and phone.start - shift < limit
        ),
        tuple((word, start - shift, end - shift) for word, start, end in speech.words),
    )
