"""Vary a voice: pitch, formants, tempo and breath, by analysis and synthesis with WORLD.

WORLD (Morise, Yokomori and Ozawa 2016) describes speech every 5 ms by its pitch, its spectral
envelope and the share of noise in each frequency.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from avsr.audio import rms
from avsr.augmentation.mixing import fit_to_range
from avsr.errors import AvsrError
from avsr.rates import SAMPLE_RATE

PERIOD = 5.0  # ms between two frames of WORLD
# Men speak at about 85 to 180 Hz, women at 165 to 255 Hz, with vocal tracts 15 % shorter.
TARGET_PITCH = (80.0, 260.0)  # Hz
PITCH = (0.6, 2.3)  # factors: beyond, WORLD sounds like a machine
TRACT = 0.2  # exponent: a voice that is twice as high has formants that are 15 % higher
TRACT_SPREAD = 0.05  # standard deviation of the logarithm of the formant factor
FORMANT = (0.82, 1.22)
INTONATION = (0.5, 1.6)
TEMPO = (0.85, 1.2)
BREATH = (0.0, 0.35)
TILT = (-6.0, 6.0)
BREATH_FROM = 2000.0  # Hz: breath is added above, half of it at this frequency
BREATH_SLOPE = 500.0  # Hz
FLOOR, CEILING = 60.0, 600.0  # Hz, pitch of a voice


@dataclass(frozen=True)
class AnalyzedVoice:
    """Speech as WORLD describes it, T frames of 5 ms and K frequencies from 0 to 8 kHz."""

    pitch: np.ndarray
    """(T,) Hz; 0 where there is no voice."""
    envelope: np.ndarray
    """(T, K) power."""
    noise: np.ndarray
    """(T, K) share of noise, 0 to 1."""
    level: float
    """RMS of the waveform."""

    @property
    def mean_pitch(self) -> float:
        """Geometric mean of the pitch in Hz; 0 for a voice that is never voiced."""
        voiced = self.pitch[self.pitch > 0]
        return float(np.exp(np.log(voiced).mean())) if len(voiced) else 0.0


def analyze_voice(waveform: np.ndarray) -> AnalyzedVoice:
    """Analyse speech for ``VoiceChange.apply``; 10 s take about 1 s.

    Args:
        waveform: (S,) samples at 16 kHz.

    Raises:
        AvsrError: Without the package pyworld-prebuilt.
    """
    world = _world()
    samples = np.ascontiguousarray(waveform, np.float64)
    pitch, times = world.dio(
        samples, SAMPLE_RATE, f0_floor=FLOOR, f0_ceil=CEILING, frame_period=PERIOD
    )
    pitch = world.stonemask(samples, pitch, times, SAMPLE_RATE)
    envelope = world.cheaptrick(samples, pitch, times, SAMPLE_RATE)
    noise = world.d4c(samples, pitch, times, SAMPLE_RATE)
    return AnalyzedVoice(pitch, envelope, noise, rms(waveform))


@dataclass(frozen=True, kw_only=True)
class VoiceChange:
    """How one speaker becomes another; 1 and no breath keep the voice."""

    pitch: float = 1.0
    """Factor on the mean pitch."""
    intonation: float = 1.0
    """Exponent of the pitch relative to its mean: 0 is monotonous."""
    formant: float = 1.0
    """Factor on the frequencies of the envelope, as of a shorter vocal tract."""
    tempo: float = 1.0
    """Above 1 is faster; times are to be divided by it."""
    breath: float = 0.0
    """Share of the voice that becomes noise above 2 kHz, 0 to 1."""

    tilt: float = 0.0
    """Decibels by which 8 kHz are louder than 0 Hz, as with another microphone."""

    @classmethod
    def sample(cls, mean_pitch: float, rng: np.random.Generator) -> Self:
        """Draw another speaker: a pitch of people, and formants that go with it.

        Args:
            mean_pitch: Of the voice to change, in Hz; 0 if it is not known.
            rng: Random generator.
        """

        def draw(low: float, high: float) -> float:
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))

        pitch = float(np.clip(draw(*TARGET_PITCH) / (mean_pitch or 150.0), *PITCH))
        formant = pitch**TRACT * np.exp(rng.normal(0.0, TRACT_SPREAD))
        return cls(
            pitch=pitch,
            formant=float(np.clip(formant, *FORMANT)),
            intonation=draw(*INTONATION),
            tempo=draw(*TEMPO),
            breath=float(rng.uniform(*BREATH)),
            tilt=float(rng.uniform(*TILT)),
        )

    def apply(self, voice: AnalyzedVoice) -> np.ndarray:
        """Synthesise the changed voice.

        Args:
            voice: The analysed speech.

        Returns:
            (S / tempo,) float32 at 16 kHz, at the level of the original, or below where it would
            clip.
        """
        world = _world()
        voiced, mean = voice.pitch > 0, voice.mean_pitch
        pitch = voice.pitch.copy()
        changed = mean * self.pitch * (pitch[voiced] / (mean or 1.0)) ** self.intonation
        pitch[voiced] = np.clip(changed, FLOOR, CEILING)
        gain = np.linspace(0, self.tilt, voice.envelope.shape[1])
        envelope = _warp(voice.envelope, self.formant) * 10 ** (gain / 10)
        noise = _warp(voice.noise, self.formant)
        frequencies = np.linspace(0, SAMPLE_RATE / 2, noise.shape[1])
        breath = self.breath / (1 + np.exp((BREATH_FROM - frequencies) / BREATH_SLOPE))
        noise = noise + (1 - noise) * breath
        waveform = world.synthesize(pitch, envelope, noise, SAMPLE_RATE, PERIOD / self.tempo)
        level = rms(waveform)
        return fit_to_range(waveform * (voice.level / level) if level > 0 else waveform)


def _warp(spectrum: np.ndarray, factor: float) -> np.ndarray:
    """Move the frequencies (T, K) up by a factor; the highest value fills what is empty."""
    bins = spectrum.shape[1]
    positions = np.minimum(np.arange(bins) / factor, bins - 1)
    low = positions.astype(int)
    high = np.minimum(low + 1, bins - 1)
    share = positions - low
    return np.ascontiguousarray(spectrum[:, low] * (1 - share) + spectrum[:, high] * share)


def _world() -> Any:
    try:
        import pyworld
    except ImportError as error:
        raise AvsrError(
            "varied voices need pyworld-prebuilt: pip install 'avsr[synthetic]'"
        ) from error
    return pyworld
