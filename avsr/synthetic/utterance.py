"""Make one utterance (text, voice, speech, background noise) from a few integers and names.

For training without repetition, call ``make_utterance`` with increasing indices.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from avsr.rates import SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.synthetic.pico import PicoVoice, draw_pico_voice, synthesize_pico
from avsr.synthetic.sentences import WORDS, draw_sentence, spell_for_synthesis
from avsr.synthetic.speech import Phone, Speech, synthesize_speech
from avsr.synthetic.text import VOCABULARY
from avsr.synthetic.voices import Voice, draw_voice

LEAD, TAIL = (0.03, 0.22), (0.03, 0.22)  # s of background before and after the speech
LEVEL = (-25.0, -10.0)  # dBFS, RMS of the speech
PEAK = 0.95  # the level is lowered if the loudest sample would exceed this
NOISE_FLOOR = (25.0, 50.0)  # dB below the speech, white or pink
MAX_SECONDS = 7.0  # of a spoken sentence: longer ones are drawn again
SYNTHESIZERS = ("espeak-ng", "pico")
CLIP_SPLITS = {"test": "test", "valid_clips": "valid"}  # set of clips -> split of voices and texts


@dataclass(frozen=True)
class Utterance:
    """A spoken text with background noise; its length is a whole number of video frames."""

    utterance_id: str
    language: str
    split: str
    text: str
    voice: Voice | PicoVoice
    waveform: np.ndarray  # (640 * T,) float32 in [-1, 1], 16 kHz
    phones: tuple[Phone, ...]  # s from the start of the waveform
    words: tuple[tuple[str, float, float], ...]  # word, start s, end s

    @property
    def num_frames(self) -> int:
        """Number of video frames T at 25 fps."""
        return len(self.waveform) // SAMPLES_PER_FRAME


def make_utterance(
    seed: int,
    split: str,
    language: str,
    index: int,
    word_exponent: float = 1.0,
    words: int = VOCABULARY,
    texts: str = WORDS,
    synthesizer: str = "espeak-ng",
) -> Utterance:
    """Make an utterance; the same arguments always give the same one.

    Args:
        seed: Seed of the corpus.
        split: train, valid or test, or a set of clips (a key of ``CLIP_SPLITS``).
        language: Language code.
        index: Number of the utterance.
        word_exponent: Words are drawn by their frequency to this power; see ``draw_text``.
        words: Size of the vocabulary.
        texts: What is said: ``words``, ``grid``, or a folder of sentences; see ``draw_sentence``.
        synthesizer: One of ``SYNTHESIZERS``; pico speaks de, en, es, fr and it.

    Raises:
        CorpusError: For broken sentences, or none of a split.
        AvsrError: For an unknown split, or if a package of the extra ``synthetic`` is missing.
        LanguageError: For an unknown language.
    """
    members = CLIP_SPLITS.get(split, split)
    rng = utterance_rng(seed, split, language, index, "sound")
    while True:
        text = draw_sentence(texts, language, members, rng, word_exponent, words)
        spoken = spell_for_synthesis(texts, text)
        voice, speech = _speak(spoken, language, members, rng, synthesizer)
        if texts == WORDS or speech.duration <= MAX_SECONDS:
            break
    lead = round(rng.uniform(*LEAD) * SAMPLE_RATE)
    tail = round(rng.uniform(*TAIL) * SAMPLE_RATE)
    tail += -(lead + len(speech.waveform) + tail) % SAMPLES_PER_FRAME
    shift = lead / SAMPLE_RATE
    return Utterance(
        utterance_id=f"s{seed}-{split}-{language}-{index:06d}",
        language=language,
        split=members,
        text=text,
        voice=voice,
        waveform=_with_background(np.pad(speech.waveform, (lead, tail)), speech.waveform, rng),
        phones=tuple(
            replace(phone, start=phone.start + shift, end=phone.end + shift)
            for phone in speech.phones
        ),
        words=tuple(
            (word, start + shift, end + shift)
            for word, (_, start, end) in zip(text.split(), speech.words, strict=True)
        ),
    )


def _speak(
    text: str, language: str, split: str, rng: np.random.Generator, synthesizer: str
) -> tuple[Voice | PicoVoice, Speech]:
    """Speak a text with a random voice; those of pico belong to no split."""
    if synthesizer == "pico":
        pico_voice = draw_pico_voice(language, rng)
        return pico_voice, synthesize_pico(text, language, pico_voice)
    voice = draw_voice(split, rng)
    return voice, synthesize_speech(text, language, voice)


def utterance_rng(
    seed: int, split: str, language: str, index: int, purpose: str
) -> np.random.Generator:
    """Return the random generator of an utterance for a purpose, "sound" or "picture"."""
    key = f"{seed}/{split}/{language}/{index}/{purpose}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:16], "big"))


def _with_background(
    padded: np.ndarray, speech: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Set the level of the speech and add faint noise."""
    rms = float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))
    level = 10 ** (rng.uniform(*LEVEL) / 20)
    gain = min(level / rms, PEAK / float(np.abs(speech).max()))
    noise = rng.standard_normal(len(padded))
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, len(padded))
        noise /= np.sqrt(np.mean(noise**2))
    noise *= gain * rms * 10 ** (-rng.uniform(*NOISE_FLOOR) / 20)
    return np.clip(padded * gain + noise, -1.0, 1.0).astype(np.float32)
