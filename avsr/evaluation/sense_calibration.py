"""Fit the rule that decides between sound, lips and both: clips in noise, with lips of all kinds.

Each clip is heard in quiet and in one kind of noise, with its own lips, with those of another clip,
and with its own lips damaged in two ways. All are transcribed from sound, from lips and from both;
the rule (``avsr.model.sense_rule``) then minimises the word errors of its choices. Every fourth
clip, by a checksum of its name, is set aside to measure them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from avsr.augmentation.corruption import Corruption
from avsr.augmentation.mixing import mix_at_snr
from avsr.corpus.normalization import normalize_text
from avsr.evaluation.noise import Noise, NoiseLibrary, hashed_rng
from avsr.evaluation.scores import word_errors
from avsr.model.network import AVSRModel
from avsr.model.sense_rule import (
    ALONE,
    GAIN,
    LETTERS,
    SCORES,
    SenseRule,
    choose_by_letters,
    choose_by_scores,
    clear_senses,
    fit_sense_weights,
)
from avsr.rates import SAMPLES_PER_FRAME
from avsr.recognition.encoding import Encoded, encode, extract_visual_features, join_encodings
from avsr.recognition.inference import decode
from avsr.recognition.lip_sync import Synchronizer
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recording import Recording
from avsr.recognition.senses import Senses, letter_statistics, score_statistics
from avsr.transcript import Modality

SEED = 0
CLIPS = 200  # of all manifests together; more change little
MIN_CLIPS = 40  # with fewer the choices are those of the bundled model
CLEAN = "clean"
NOISES = ("babble 0 dB", "babble -5 dB", "white noise 0 dB")
WRONG = "wrong"
DAMAGED = ("blur:6", "occlusion:0.5", "frozen:0.7", "late")
LATE = 6  # frames, 240 ms: more than is put right
MARGIN = 0.01  # errors per word by which a sense alone must be better than both
SEARCH_MARGIN = 0.03  # the same where that takes another search
ASIDE = 4  # every fourth clip is set aside
Choose = Callable[[Mapping[str, float]], Modality]
SENSES: tuple[Modality, ...] = ("av", "audio", "video")


@dataclass(frozen=True, kw_only=True)
class SenseClip:
    """A clip of validation data with both senses."""

    name: str
    language: str
    text: str
    waveform: np.ndarray
    """(S,) at 16 kHz."""
    mouth: np.ndarray
    """(T, 96, 96) uint8."""


@dataclass(frozen=True, kw_only=True)
class SenseTrial:
    """A clip under one condition, transcribed from both senses, from sound and from lips."""

    source: str
    """The manifest of the clip."""
    name: str
    sound: str
    """``clean`` or a kind of noise."""
    lips: str
    """``clean``, ``wrong`` or a kind of damage."""
    words: int
    """Words that were said."""
    errors: tuple[int, int, int]
    """Word errors from both, from sound and from lips."""
    statistics: Mapping[str, float]
    """What the rule may decide by."""

    @property
    def aside(self) -> bool:
        """Whether it measures the rule instead of fitting it."""
        return crc32(self.name.encode()) % ASIDE == 0

    @property
    def condition(self) -> str:
        """Quiet or noise, and right, wrong or damaged lips."""
        sound = "quiet" if self.sound == CLEAN else "noise"
        lips = {CLEAN: "right", WRONG: "wrong"}.get(self.lips, "damaged")
        return f"{sound}, {lips} lips"


def try_senses(
    model: AVSRModel, source: str, clips: Sequence[SenseClip]
) -> Iterator[list[SenseTrial]]:
    """Yield the trials of each clip; the lips of the next one are the wrong ones for it."""
    library = NoiseLibrary(["babble"], seed=SEED)
    for number, clip in enumerate(clips):
        other = clips[(number + 1) % len(clips)]
        sounds = _draw_sounds(clip, number, library)
        lips = _draw_lips(clip, other, number)
        yield _try_clip(model, source, clip, sounds, lips)


def _draw_sounds(clip: SenseClip, number: int, library: NoiseLibrary) -> dict[str, np.ndarray]:
    """The clip's sound in quiet and in one kind of noise, by turns."""
    kind = NOISES[number % len(NOISES)]
    if kind.startswith("white"):
        rng = hashed_rng(SEED, clip.name, kind)
        white = rng.standard_normal(len(clip.waveform)).astype(np.float32)
        noisy = mix_at_snr(clip.waveform, white, 0.0)
    else:
        snr_db = float(kind.split()[1])
        noisy, _ = library.mix(clip.waveform, Noise(kind="babble", snr_db=snr_db), clip.name)
    return {CLEAN: clip.waveform, kind: noisy}


def _draw_lips(clip: SenseClip, other: SenseClip, number: int) -> dict[str, np.ndarray]:
    """The clip's lips, those of another clip, and two kinds of damage, by turns."""
    frames = np.arange(len(clip.mouth))
    lips = {CLEAN: clip.mouth, WRONG: other.mouth[np.minimum(frames, len(other.mouth) - 1)]}
    for kind in (DAMAGED[number % len(DAMAGED)], DAMAGED[(number + 1) % len(DAMAGED)]):
        if kind == "late":
            lips[kind] = clip.mouth[np.maximum(frames - LATE, 0)]
        else:
            rng = hashed_rng(SEED, clip.name, kind)
            lips[kind] = Corruption.parse(kind).apply(clip.mouth, rng)
    return lips


def _try_clip(
    model: AVSRModel,
    source: str,
    clip: SenseClip,
    sounds: Mapping[str, np.ndarray],
    lips: Mapping[str, np.ndarray],
) -> list[SenseTrial]:
    """Transcribe all pairs of sounds and lips; the three searches of each are one batch."""
    options = TranscribeOptions()
    visual = {kind: extract_visual_features(model, mouth) for kind, mouth in lips.items()}
    heard = encode(model, [_recording(clip, sound, None) for sound in sounds.values()])
    seen = encode(
        model,
        [replace(_recording(clip, None, m), visual=visual[kind]) for kind, m in lips.items()],
    )
    pairs = []
    for i, sound in enumerate(sounds.values()):
        for j, (kind, mouth) in enumerate(lips.items()):
            senses = Senses(*(join_encodings(model, [row]) for row in ((heard, i), (seen, j))))
            pair = replace(_recording(clip, sound, mouth), visual=visual[kind], senses=senses)
            pairs.append(Synchronizer(model, check=True).align(pair))
    both = encode(model, pairs)
    rows: list[tuple[Encoded, int]] = [(both, i) for i in range(len(pairs))]
    rows += [(heard, i) for i in range(len(sounds))]
    rows += [(seen, j) for j in range(len(lips))]
    together = join_encodings(model, rows)
    languages = together.language_probs.argmax(-1)
    hypotheses = decode(model, together, languages, options)
    assert model.tokenizer is not None
    reference = normalize_text(clip.text, clip.language)
    errors = [
        word_errors(reference, normalize_text(model.tokenizer.decode(h.tokens), clip.language))
        for h in hypotheses
    ]
    count, last = len(pairs), len(pairs) + len(sounds)  # where sounds and lips begin
    scores = score_statistics(model, pairs, hypotheses[:count], languages[:count])
    trials = []
    for number, recording in enumerate(pairs):
        i, j = divmod(number, len(lips))
        assert recording.senses is not None
        own = hypotheses[number].token_score
        gains = (h.token_score - own for h in (hypotheses[count + i], hypotheses[last + j]))
        statistics = scores[number] | dict(zip(GAIN.values(), gains, strict=True))
        if model.has("ctc"):
            statistics = statistics | letter_statistics(recording.senses, both, number)
        alone = errors[count + i], errors[last + j]
        trials.append(
            SenseTrial(
                source=source,
                name=clip.name,
                sound=list(sounds)[i],
                lips=list(lips)[j],
                words=len(reference.split()),
                errors=(errors[number].errors, alone[0].errors, alone[1].errors),
                statistics=statistics,
            )
        )
    return trials


def _recording(clip: SenseClip, sound: np.ndarray | None, mouth: np.ndarray | None) -> Recording:
    """Sound, lips or both; the sound has the length of the lips, so that all rows have one."""
    size = len(clip.mouth) * SAMPLES_PER_FRAME
    if sound is not None:
        sound = np.pad(sound, (0, max(0, size - len(sound))))[:size]
    return Recording(name=clip.name, waveform=sound, mouth=mouth)


def fit_senses(trials: Sequence[SenseTrial]) -> SenseRule:
    """Fit the rule to the trials that are not set aside, and measure it on those that are.

    Every manifest counts the same, quiet as much as noise, and right, wrong and damaged lips.
    """
    used = [trial for trial in trials if not trial.aside and trial.words]
    counts = Counter((trial.source, trial.condition) for trial in used)
    weights = np.array([1 / counts[trial.source, trial.condition] for trial in used])
    statistics = [trial.statistics for trial in used]

    errors = np.array([np.array(trial.errors) / trial.words for trial in used])
    letters = None
    if all(name in used[0].statistics for name in LETTERS):
        clear = [clear_senses(row) for row in statistics]
        allowed = np.array([[sense in senses for sense in ALONE] for senses in clear])
        letters = fit_sense_weights(statistics, errors, weights, LETTERS, MARGIN, allowed)
    # What a second search finds counts only where it is likelier.
    gains = np.array([[row[name] for name in GAIN.values()] for row in statistics])
    errors[:, 1:] = np.where(gains > 0, errors[:, 1:], errors[:, :1])
    scores = fit_sense_weights(statistics, errors, weights, SCORES, SEARCH_MARGIN)
    rule = SenseRule(letters=letters, scores=scores, report={})
    report = {
        "clips": len({(trial.source, trial.name) for trial in trials}),
        "set_aside": measure_rule(rule, [trial for trial in trials if trial.aside]),
    }
    return replace(rule, report=report)


def measure_rule(rule: SenseRule, trials: Sequence[SenseTrial]) -> dict[str, dict[str, Any]]:
    """Measure the word error rates of trials, by noise and lips.

    Returns:
        For each pair the rates from sound, from lips, from both, and as the rule chooses by letters
        and by scores, in percent.
    """
    kinds: dict[str, list[SenseTrial]] = {}
    for trial in trials:
        kinds.setdefault(trial.condition, []).append(trial)
    rows = {}
    for kind, members in sorted(kinds.items()):
        words = sum(trial.words for trial in members)
        rates: dict[str, int] = {
            name: sum(trial.errors[number] for trial in members)
            for number, name in enumerate(SENSES)
        }
        choose: dict[str, Choose] = {"scores": partial(choose_by_scores, rule.scores)}
        if rule.letters is not None:
            choose["letters"] = partial(choose_by_letters, rule.letters)
        for name, function in choose.items():
            choices = [function(trial.statistics) for trial in members]
            rates[name] = sum(
                trial.errors[SENSES.index(choice)]
                for trial, choice in zip(members, choices, strict=True)
            )
        rows[kind] = {name: round(100 * number / words, 1) for name, number in rates.items()}
    return rows
