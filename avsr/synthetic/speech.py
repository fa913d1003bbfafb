"""Speech synthesis by espeak-ng 1.52, with the times of phones and words.

espeak-ng is a C library whose global state (flutter, wave phases, noise) carries over from one
text to the next. So every call loads the library anew and unloads it afterwards, which costs
0.6 ms and makes the samples depend on the arguments only. A lock allows one instance per process
at a time.
"""

import _ctypes
import ctypes
import functools
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import firwin, resample_poly

from avsr.errors import AvsrError
from avsr.languages import check_language
from avsr.rates import SAMPLE_RATE
from avsr.runtime.interrupts import defer_sigint
from avsr.synthetic.text import SPOKEN_LANGUAGES
from avsr.synthetic.voices import VARIANTS, Voice

ESPEAK_RATE = 22_050  # Hz, of every espeak-ng voice without MBROLA
RESAMPLE_UP = 320  # 22,050 Hz * 320 / 441 = 16,000 Hz
RESAMPLE_DOWN = 441
VOLUME = 25  # of espeak's 0-200 (100 is its default): loud variants clip above 30
EDGE = 0.03  # s of silence left before the first phone and after the last
MAX_CLOSURE = ESPEAK_RATE // 8  # samples (125 ms) of silence before a burst
MIN_CLOSURE = ESPEAK_RATE // 100  # samples (10 ms)
CLOSURE_LEVEL = 60  # of 32,768
VOICE_NAMES = {"zh": "cmn"}  # where espeak-ng has another code
ATTRIBUTES = re.compile('[ˈˌ͜͡"\u200d]|\\([a-z-]*\\)?')  # stress, tie bars, language switches

# Values of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback before Synth returns
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_EVENT_LAST, _EVENT_PHONEME = 0, 7
_CHARS_UTF8 = 1
_POS_CHARACTER = 1


@dataclass(frozen=True)
class Phone:
    """One phone as spoken by espeak-ng."""

    symbol: str  # IPA without stress marks and tie bars: "ə", "tʃ", "aɪ", "iː"; "" is a pause
    start: float  # s from the start of the waveform
    end: float  # s


@dataclass(frozen=True)
class Speech:
    """A synthesized text."""

    waveform: np.ndarray  # (S,) float32 in [-1, 1], 16 kHz
    phones: tuple[Phone, ...]  # in order, without gaps; pauses have an empty symbol
    words: tuple[tuple[str, float, float], ...]  # word, start s, end s: every word of the text

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.waveform) / SAMPLE_RATE


@dataclass(frozen=True)
class _Mark:
    """A phoneme event."""

    position: int  # character of the text at which its word begins, from 0
    sample: int  # at ESPEAK_RATE
    symbol: str


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Espeak:
    """One freshly loaded instance of the library; ``close`` unloads it."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise AvsrError(
                "synthetic speech needs espeakng-loader: pip install 'avsr[synthetic]'"
            ) from error
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self.library.espeak_Initialize(
            _SYNCHRONOUS,
            0,
            os.fsencode(espeakng_loader.get_data_path()),
            _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT,
        )
        if rate != ESPEAK_RATE:
            raise AvsrError(f"espeak-ng did not start (returned {rate}): reinstall espeakng-loader")
        self.chunks: list[np.ndarray] = []
        self.marks: list[_Mark] = []
        self.callback = _CALLBACK(
            self._collect
        )  # a reference must stay: the library has its address
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        """Receive samples and events from the library."""
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in events:
            if event.type == _EVENT_LAST:
                break
            if event.type == _EVENT_PHONEME:
                # 8 bytes, perhaps without a final zero: a long symbol may end inside a character
                raw = bytes(event)[_Event.id.offset : _Event.id.offset + 8].split(b"\0")[0]
                symbol = ATTRIBUTES.sub("", raw.decode(errors="ignore"))
                self.marks.append(_Mark(event.text_position - 1, event.sample, symbol))
        return 0

    def synth(self, text: str, language: str, voice: Voice) -> tuple[np.ndarray, list[_Mark]]:
        """Speak a text; return samples (N,) int16 at ESPEAK_RATE and phoneme events in order."""
        library = self.library
        name = VOICE_NAMES.get(language, language)
        if library.espeak_SetVoiceByName(f"{name}+{voice.variant}".encode()):
            raise AvsrError(f"espeak-ng has no voice '{language}+{voice.variant}'")
        for parameter, value in (
            (_RATE, voice.rate),
            (_VOLUME, VOLUME),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        with defer_sigint():
            status = library.espeak_Synth(
                data, ctypes.c_size_t(len(data)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
            )
        library.espeak_Synchronize()
        if status or not self.chunks:
            raise AvsrError(f"espeak-ng could not speak {text!r} in '{language}'")
        return np.concatenate(self.chunks), self.marks

    def close(self) -> None:
        self.library.espeak_Terminate()
        _ctypes.dlclose(self.library._handle)


_lock = threading.Lock()


def _speak(text: str, language: str, voice: Voice) -> tuple[np.ndarray, list[_Mark]]:
    """Speak a text with a freshly loaded library; see ``_Espeak.synth``."""
    with _lock:
        espeak = _Espeak()
        try:
            # Breath and frication come from rand() of the C library.
            ctypes.CDLL(None).srand(1)
            return espeak.synth(text, language, voice)
        finally:
            espeak.close()


@functools.lru_cache(maxsize=128)
def _low_pass(up: int) -> np.ndarray:
    """Design the FIR filter of ``resample_poly`` for the ratio up / RESAMPLE_DOWN."""
    widest = max(up, RESAMPLE_DOWN)
    return firwin(20 * widest + 1, 1.0 / widest, window=("kaiser", 5.0)).astype(np.float32)


def synthesize_speech(text: str, language: str, voice: Voice) -> Speech:
    """Speak a text and trim the silence around it.

    ``voice.formant`` above 1 raises formants and pitch (a shorter vocal tract) by resampling, which
    also makes the speech faster by that factor; the times take this into account.

    Args:
        text: Words separated by spaces.
        language: Language code.
        voice: Variant, rate, pitch and formants.

    Returns:
        Waveform at 16 kHz with the times of phones and words.

    Raises:
        AvsrError: For an empty text, an unknown variant, a text that espeak-ng cannot speak, or
            without the package espeakng-loader.
        LanguageError: For an unknown language.
    """
    check_language(language, SPOKEN_LANGUAGES)
    words = text.split()
    if not words:
        raise AvsrError("there is no text to speak: give at least one word")
    if voice.variant not in VARIANTS:  # espeak-ng would speak with its default instead
        raise AvsrError(f"unknown voice variant '{voice.variant}': see avsr.synthetic.voices")
    text = " ".join(words)
    samples, marks = _speak(text, language, voice)
    up = round(RESAMPLE_UP / voice.formant)
    waveform = resample_poly(
        samples.astype(np.float32) / 32768.0, up, RESAMPLE_DOWN, window=_low_pass(up)
    ).astype(np.float32)
    seconds = up / RESAMPLE_DOWN / SAMPLE_RATE  # of one espeak sample
    positions = np.cumsum([0] + [len(word) + 1 for word in words])
    phones: list[tuple[Phone, int]] = []  # with the index of the word
    starts = [_closure_start(samples, marks, index) for index in range(len(marks))]
    for mark, start, end in zip(marks, starts, [*starts[1:], len(samples)], strict=True):
        if end > start:
            word = int(np.searchsorted(positions, mark.position, side="right")) - 1
            phones.append((Phone(mark.symbol, start * seconds, end * seconds), word))
    spoken = [phone for phone, _ in phones if phone.symbol]
    if not spoken:
        raise AvsrError(f"espeak-ng found nothing to say in {text!r} ('{language}')")
    begin = max(0, round((spoken[0].start - EDGE) * SAMPLE_RATE))
    end = min(len(waveform), round((spoken[-1].end + EDGE) * SAMPLE_RATE))
    shift, limit = begin / SAMPLE_RATE, (end - begin) / SAMPLE_RATE
    trimmed = [
        (Phone(phone.symbol, max(0.0, phone.start - shift), min(limit, phone.end - shift)), word)
        for phone, word in phones
        if phone.end > shift and phone.start - shift < limit
    ]
    return Speech(
        waveform[begin:end], tuple(phone for phone, _ in trimmed), _word_times(words, trimmed)
    )


def _closure_start(samples: np.ndarray, marks: Sequence[_Mark], index: int) -> int:
    """Return the sample at which a phone begins.

    espeak-ng marks a voiceless stop at its burst. The silence before the burst is its closure (the
    lips are shut), so the stop begins there.
    """
    at = marks[index].sample
    if index == 0 or not marks[index].symbol or not marks[index - 1].symbol:
        return at
    earliest = max(marks[index - 1].sample + 1, at - MAX_CLOSURE)
    loud = np.flatnonzero(np.abs(samples[earliest:at].astype(np.int32)) > CLOSURE_LEVEL)
    begin = earliest + (int(loud[-1]) + 1 if len(loud) else 0)
    return begin if at - begin >= MIN_CLOSURE else at


def _word_times(
    words: Sequence[str], phones: Sequence[tuple[Phone, int]]
) -> tuple[tuple[str, float, float], ...]:
    """Return start and end of every word, from phones with the index of their word.

    espeak-ng speaks some word groups ("of the") as one word and assigns it to the first. The time
    of such a group is divided in proportion to the number of characters.
    """
    spoken = [(phone, word) for phone, word in phones if phone.symbol]
    heads = sorted({0, *(word for _, word in spoken)})
    times: list[tuple[str, float, float]] = []
    for head, following in zip(heads, [*heads[1:], len(words)], strict=True):
        inside = [phone for phone, word in spoken if word == head] or [spoken[0][0]]
        group = words[head:following]
        shares = np.cumsum([0] + [len(word) for word in group]) / sum(len(word) for word in group)
        edges = inside[0].start + (inside[-1].end - inside[0].start) * shares
        times.extend(
            (word, float(start), float(end))
            for word, start, end in zip(group, edges[:-1], edges[1:], strict=True)
        )
    return tuple(times)
