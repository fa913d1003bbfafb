"""Find the phones of recorded speech whose text is known.

espeak-ng speaks the same text; its phones and their times are known. Dynamic time warping (Sakoe
and Chiba, 1978) of the cepstra of both aligns them, and the times are carried over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter1d
from scipy.spatial.distance import cdist

from avsr.audio import compute_fbank
from avsr.errors import AvsrError
from avsr.rates import FBANK_HOP, FBANK_WINDOW, SAMPLE_RATE
from avsr.synthetic.speech import Phone, Speech, synthesize_speech
from avsr.synthetic.voices import Voice

REFERENCE = Voice("m3")
SLOWEST, FASTEST = 90, 300  # words a minute of the reference
RANGE = 8.0  # nepers of power (35 dB) below the loudest frames; quieter is silence
LEAST_RANGE = 3.5  # ... of which at least this much is speech, however loud the noise is
NOISE_MARGIN = 0.7  # nepers of power above the mean of the quietest frames
CEPSTRA = 13
STRETCH = 0.05  # cost of a frame without counterpart, in mean distances between two frames
MIN_PAUSE = 0.08  # s; a shorter silence between two words belongs to the second
FRAME = FBANK_HOP / SAMPLE_RATE  # s
OFFSET = (FBANK_WINDOW - FBANK_HOP) / 2 / SAMPLE_RATE  # s from the start of a frame to its hop


def align_phones(waveform: np.ndarray, text: str, language: str) -> tuple[Phone, ...]:
    """Find the phones of recorded speech; see ``align_speech``."""
    return align_speech(waveform, text, language).phones


def align_speech(waveform: np.ndarray, text: str, language: str) -> Speech:
    """Find the phones and words of recorded speech.

    Args:
        waveform: (S,) float at 16 kHz: one speaker, who says the text and nothing else. Pauses
            between words are found.
        text: What is said; words separated by spaces, numbers spelled out.
        language: Language code.

    Returns:
        The waveform with the times of its phones (without gaps; pauses have an empty symbol) and
        words, to about a frame of 10 ms.

    Raises:
        AvsrError: If the recording is silent or too short for the text, for an empty text or one
            that espeak-ng cannot speak, or without the package espeakng-loader.
        LanguageError: For an unknown language.
    """
    reference = synthesize_speech(text, language, REFERENCE)
    recorded = _Spectra.of(waveform)
    is_loud = recorded.find_loud()
    if not is_loud.any():
        raise AvsrError(f"the recording of {text!r} is silent: there is nothing to align")
    rate = round(REFERENCE.rate * reference.duration / (int(is_loud.sum()) * FRAME))
    rate = min(max(rate, SLOWEST), FASTEST)
    reference = synthesize_speech(text, language, Voice(REFERENCE.variant, rate=rate))
    if max(2, len(reference.phones)) > len(recorded.fbank):
        raise AvsrError(
            f"the recording has {len(waveform) / SAMPLE_RATE:.2f} s, too short to say {text!r}"
        )
    rows = _Rows.of(reference)
    values, _ = recorded.cepstra()
    spectra = replace(_Spectra.of(reference.waveform), floor=recorded.floor)  # as noisy
    frames, silence = spectra.cepstra()
    spoken = np.insert(frames, rows.silences, silence, axis=0)
    cost = cdist(values, spoken)
    penalty = STRETCH * float(cost.mean())
    hold = np.full(len(spoken), penalty)
    hold[rows.silences + np.arange(len(rows.silences))] = 0.0  # pauses have any length
    entries = warp_time(cost, hold, penalty)
    times = np.minimum(entries * FRAME + OFFSET * (entries > 0), len(waveform) / SAMPLE_RATE)
    times[-1] = len(waveform) / SAMPLE_RATE
    return Speech(
        waveform,
        _join_pauses(
            [(p.symbol, *rows.span(p.start, p.end, times)) for p in reference.phones],
            len(waveform) / SAMPLE_RATE,
        ),
        tuple((word, *rows.span(start, end, times)) for word, start, end in reference.words),
    )


def warp_time(cost: np.ndarray, hold: np.ndarray, skip: float) -> np.ndarray:
    """Find the cheapest way through two sequences, from both beginnings to both ends.

    Args:
        cost: Distance (N, M) of each element of the first sequence to each of the second.
        hold: Further cost (M,) of each step in the first sequence alone.
        skip: Further cost of each step in the second sequence alone.

    Returns:
        For each element of the second sequence the index in the first at which the path reaches
        it, (M + 1,) int, not decreasing; the last entry is N.
    """
    num, columns = cost.shape
    totals = np.empty((num, columns))
    totals[0] = np.cumsum(cost[0] + skip) - skip
    for n in range(1, num):
        arrive = totals[n - 1] + hold
        arrive[1:] = np.minimum(arrive[1:], totals[n - 1, :-1])
        arrive += cost[n]
        # Steps along the row: total[m] = min over k <= m of arrive[k] + sum of the row k+1 .. m.
        along = np.cumsum(cost[n] + skip)
        totals[n] = np.minimum.accumulate(arrive - along) + along
    entries = np.zeros(columns + 1, int)
    entries[-1] = num
    n, m = num - 1, columns - 1
    while m > 0:
        aside = totals[n, m - 1] + skip
        across = totals[n - 1, m - 1] if n else np.inf
        stay = totals[n - 1, m] + hold[m] if n else np.inf
        if stay < min(across, aside):
            n -= 1
            continue
        entries[m] = n
        m -= 1
        n -= int(across <= aside)
    return entries


@dataclass(frozen=True)
class _Spectra:
    """The filterbank of a recording, with what counts as silence in it."""

    fbank: np.ndarray  # (N, F), nepers of power
    peak: float  # loudness of the loudest frames
    floor: np.ndarray  # (F,), relative to the peak: the noise of the recording

    @classmethod
    def of(cls, waveform: np.ndarray) -> "_Spectra":
        """Compute the filterbank at 100 Hz and find the level of its quietest frames."""
        fbank = compute_fbank(waveform).astype(np.float64)
        if not len(fbank):
            return cls(fbank, 0.0, np.zeros(fbank.shape[1]))
        loudness = np.logaddexp.reduce(fbank, axis=1)
        peak = float(np.percentile(loudness, 98))
        quiet = fbank[loudness <= np.percentile(loudness, 5)].mean(axis=0)
        top, bottom = (peak - extent - np.log(fbank.shape[1]) for extent in (LEAST_RANGE, RANGE))
        return cls(fbank, peak, (quiet + NOISE_MARGIN).clip(bottom, top) - peak)

    def find_loud(self) -> np.ndarray:
        """Return which frames (N,) are louder than the silence of the recording."""
        loudness = np.logaddexp.reduce(self.fbank, axis=1)
        least = max(0.0, self.peak + np.logaddexp.reduce(self.floor) + 1.0)  # 0 is below one bit
        return np.asarray(loudness > least)

    def cepstra(self) -> tuple[np.ndarray, np.ndarray]:
        """Return cepstra and their slopes (N, 2 * CEPSTRA), and those of silence (2 * CEPSTRA,).

        Loud frames have mean 0 and deviation 1, which takes out much of voice and microphone.
        """
        floor = self.floor + self.peak
        values = scipy.fft.dct(np.vstack([np.maximum(self.fbank, floor), floor]), norm="ortho")
        values = values[:, :CEPSTRA]
        loud = values[:-1][self.find_loud()]
        values = (values - loud.mean(axis=0)) / (loud.std(axis=0) + 1e-6)
        still, values = values[-1], values[:-1]
        slopes = np.gradient(uniform_filter1d(values, 3, axis=0), axis=0)
        return np.hstack([values, 2.0 * slopes]), np.concatenate([still, 0.0 * still])


@dataclass(frozen=True)
class _Rows:
    """Frames of the reference, with a frame of silence at its ends and between its words."""

    silences: np.ndarray  # frames before which one of silence is inserted, sorted

    @classmethod
    def of(cls, reference: Speech) -> "_Rows":
        """Choose where a pause is possible: where both a word and a phone begin."""
        starts = {_frame(phone.start) for phone in reference.phones}
        words = {_frame(start) for _, start, _ in reference.words} & starts
        length = len(compute_fbank(reference.waveform))
        return cls(np.array(sorted({0, *words, length})))

    def span(self, start: float, end: float, times: np.ndarray) -> tuple[float, float]:
        """Return start and end in the recording of a part of the reference, s."""
        last = len(times) - 2 - len(self.silences)  # frame of the reference
        first, final = min(_frame(start), last), min(max(_frame(end) - 1, 0), last)
        return float(times[self._row(first)]), float(times[self._row(max(first, final)) + 1])

    def _row(self, frame: int) -> int:
        return frame + int(np.searchsorted(self.silences, frame, side="right"))


def _frame(seconds: float) -> int:
    """Return the frame in whose hop a time lies best."""
    return max(0, round((seconds - OFFSET) / FRAME))


def _join_pauses(spans: Sequence[tuple[str, float, float]], duration: float) -> tuple[Phone, ...]:
    """Close the gaps between phones: a long one becomes a pause, a short one joins what follows."""
    phones: list[Phone] = []
    position = 0.0
    spoken = [span for span in spans if span[0] and span[2] > span[1]]
    for symbol, start, end in [*spoken, ("", duration, duration)]:
        if start - position >= MIN_PAUSE or (not symbol and duration > position):
            phones.append(Phone("", position, start))
            position = start
        if end > position:
            phones.append(Phone(symbol, position, end))
            position = end
    return tuple(phones)
