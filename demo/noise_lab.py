"""The noise laboratory: add noise, cover the mouth, and compare sound, lips and both together.

A few seconds of a recording are transcribed from the sound, from the lips and from both, with noise
of a chosen kind and level. Nobody has told the page what is really said, so the score of a
transcript is how far it agrees with the transcript without noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Protocol, runtime_checkable

import numpy as np

from avsr import AvsrError, Transcript
from avsr.augmentation import mix_at_snr
from avsr.evaluation import Corruption, Noise, NoiseLibrary, normalize_text, word_errors
from avsr.rates import SAMPLE_RATE
from avsr.runtime.progress import report
from demo.closeup import MAX_SECONDS, read_closeup
from demo.player import ResultView

SNRS = (-10.0, -5.0, 0.0, 5.0, 10.0)  # dB, of a sweep: the levels of the field's tests
MODALITIES = {"audio": "Sound only", "video": "Lips only", "av": "Sound and lips"}
SEED = 7


@runtime_checkable
class ArrayRecognizer(Protocol):
    """What the laboratory needs of a model; ``avsr.Recognizer`` has it."""

    def transcribe_arrays(
        self, waveform: np.ndarray | None, mouth: np.ndarray | None, **options: Any
    ) -> Transcript: ...


@dataclass(frozen=True)
class Scene:
    """Sound and lips of one part of a recording."""

    waveform: np.ndarray
    """(S,) float32 at 16 kHz."""
    mouth: np.ndarray
    """(T, 96, 96) uint8 at 25 Hz."""


def read_scene(view: ResultView) -> Scene:
    """Read the part of the recording whose lips the page shows.

    Raises:
        AvsrError: The part has no sound or no face.
    """
    closeup = read_closeup(view.video, view.start, view.face)
    if closeup.waveform is None:
        raise AvsrError("the laboratory needs a video with both picture and sound")
    if not closeup.track.found.any():
        raise AvsrError("the laboratory needs a face that speaks, and this part has none")
    return Scene(closeup.waveform, closeup.track.mouth)


def corrupt(scene: Scene, noise: str, snr_db: float | None, video_corruption: str = "") -> Scene:
    """Return the scene with noise and a corrupted video.

    Args:
        scene: The scene as it was recorded.
        noise: Kind of noise: ``babble``, ``speech``, ``music`` or ``noise`` (rain).
        snr_db: Speech over noise in dB; None: without noise.
        video_corruption: As for ``Corruption.parse``; empty: none.
    """
    waveform, mouth = scene.waveform, scene.mouth
    if snr_db is not None and noise in ("babble", "speech"):
        library = NoiseLibrary([noise], seed=SEED)
        waveform, _ = library.mix(waveform, Noise(kind=noise, snr_db=snr_db), "laboratory")
    elif snr_db is not None:
        sound = make_music(MAX_SECONDS) if noise == "music" else make_rain(MAX_SECONDS)
        waveform = mix_at_snr(waveform, sound, snr_db)
    if video_corruption:
        mouth = Corruption.parse(video_corruption).apply(mouth, np.random.default_rng(SEED))
    return Scene(waveform, mouth)


def make_music(seconds: float) -> np.ndarray:
    """Synthesize four plucked chords with a bass and a soft beat, (S,) float32.

    It is synthesized so that nobody holds a copyright in it.
    """
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    chords = [(57, 60, 64), (53, 57, 60), (48, 55, 64), (55, 59, 62)]  # MIDI notes: Am F C G
    music = np.zeros_like(time)
    for beat in range(int(seconds * 2)):
        since_beat = time - beat / 2
        envelope = np.where(since_beat >= 0, np.exp(-4 * np.maximum(since_beat, 0)), 0)
        chord = chords[beat // 4 % 4]
        notes = (*chord, chord[0] - 12, chord[beat % 3] + 12)
        for note in notes:
            pitch = 440 * 2 ** ((note - 69) / 12)
            for overtone in (1, 2, 3):
                music += envelope * np.sin(2 * np.pi * pitch * overtone * time) / overtone**2
    return (music / np.abs(music).max()).astype(np.float32)


def make_rain(seconds: float) -> np.ndarray:
    """Synthesize pink noise, (S,) float32: equal power in every octave."""
    num_samples = round(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(SEED).standard_normal(num_samples))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    sound = np.fft.irfft(spectrum, num_samples)
    return (sound / np.abs(sound).max()).astype(np.float32)


def transcribe_scene(
    model: ArrayRecognizer, scene: Scene, modalities: Sequence[str], **options: Any
) -> dict[str, Transcript]:
    """Transcribe a scene once for each modality; return modality -> transcript."""
    return {
        modality: model.transcribe_arrays(
            None if modality == "video" else scene.waveform,
            None if modality == "audio" else scene.mouth,
            **options,
        )
        for modality in modalities
    }


def share_correct(reference: Transcript, hypothesis: Transcript) -> float:
    """Return 1 minus the word error rate, at least 0."""
    texts = [normalize_text(t.text, reference.language) for t in (reference, hypothesis)]
    return max(0.0, 1 - word_errors(*texts).rate)


def compare(
    model: ArrayRecognizer,
    view: ResultView,
    noise: str,
    snr_db: float,
    video_corruption: str,
    **options: Any,
) -> tuple[Scene, Transcript, dict[str, Transcript]]:
    """Transcribe a scene without and with noise.

    Args:
        model: The model.
        view: What the page shows.
        noise: As for ``corrupt``.
        snr_db: As for ``corrupt``.
        video_corruption: As for ``corrupt``.
        options: Fields of ``TranscribeOptions``.

    Returns:
        The scene with noise, the transcript without noise, and modality -> transcript with noise.
    """
    scene = read_scene(view)
    report(1, 3, "transcribing without noise")
    quiet = transcribe_scene(model, scene, ["av"], **options)["av"]
    noisy = corrupt(scene, noise, snr_db, video_corruption)
    report(2, 3, "transcribing three times with noise")
    return noisy, quiet, transcribe_scene(model, noisy, list(MODALITIES), **options)


def sweep(
    model: ArrayRecognizer, view: ResultView, noise: str, video_corruption: str, **options: Any
) -> tuple[dict[str, list[float]], bool]:
    """Transcribe a scene at all levels of noise.

    Args:
        model: The model.
        view: What the page shows.
        noise: As for ``corrupt``.
        video_corruption: As for ``corrupt``.
        options: Fields of ``TranscribeOptions``.

    Returns:
        Modality -> share of correct words at each of SNRS and, last, without noise; and whether the
        mouth is covered, so that the model used the sound alone.
    """
    scene = read_scene(view)
    steps = len(SNRS) + 2
    report(1, steps, "transcribing without noise")
    quiet = transcribe_scene(model, scene, ["av"], **options)["av"]
    shares: dict[str, list[float]] = {modality: [] for modality in MODALITIES}
    lips_only: float | None = None
    covered = False
    for step, snr_db in enumerate([*SNRS, None], 1):
        report(step, steps, "without noise" if snr_db is None else f"at {snr_db:+.0f} dB")
        noisy = corrupt(scene, noise, snr_db, video_corruption)
        transcripts = transcribe_scene(model, noisy, ["audio", "av"], **options)
        if lips_only is None:  # once: noise does not change the lips
            lips = transcribe_scene(model, noisy, ["video"], **options)["video"]
            lips_only = share_correct(quiet, lips)
        for modality, transcript in transcripts.items():
            shares[modality].append(share_correct(quiet, transcript))
        shares["video"].append(lips_only)
        both = transcripts["av"]
        covered = both.modality == "audio" and not both.modality_reason
    return shares, covered


def mark_words(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Compare two texts word by word.

    Returns:
        (word, mark) in order; the mark is ``right``, ``wrong``, ``extra`` or ``missing``.
    """
    reference_words, words = reference.split(), hypothesis.split()
    marks = []
    matcher = SequenceMatcher(None, reference_words, words, autojunk=False)
    for tag, first, last, begin, end in matcher.get_opcodes():
        if tag == "equal":
            marks += [(word, "right") for word in words[begin:end]]
            continue
        marks += [(word, "wrong" if tag == "replace" else "extra") for word in words[begin:end]]
        missing = (last - first) - (end - begin)
        if missing > 0:
            marks += [(word, "missing") for word in reference_words[last - missing : last]]
    return marks
