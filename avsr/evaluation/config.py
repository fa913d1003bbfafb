"""Settings of an evaluation, from an ``evaluate.yaml`` or the command line."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from avsr.augmentation.corruption import Corruption
from avsr.corpus.manifest import is_number
from avsr.errors import ConfigError
from avsr.evaluation.noise import Noise
from avsr.runtime.safe_names import cut_name
from avsr.search.options import BEAM_SIZE, CTC_WEIGHT, LM_WEIGHT, MAX_BEAM_SIZE
from avsr.settings import (
    Bounds,
    Share,
    Weight,
    build_settings,
    check_settings,
    read_settings,
)
from avsr.transcript import MODALITIES

CLEAN = "clean"
WRONG = "wrong"  # lips of another utterance
PRECISIONS = ("auto", "fp32", "bf16", "int8")
MAX_KIND = 120  # bytes of a kind of noise in the name of a condition
Ratio = Annotated[float, Bounds(-200, 200)] | str
RENAMED = {"pictures": "video_corruptions"}  # old key -> its present name


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition under which a whole manifest is transcribed."""

    modality: str
    """``av``, ``audio`` or ``video``."""
    noise: Noise | None
    """None: no noise is added."""
    video_corruption: str | None
    """Corruption of the video, e.g. ``blur:2``, or ``wrong``; None: no corruption."""
    language_mode: str
    """``auto``: the model detects the language; ``given``: the decoder gets the manifest's
    language; or a language code: the decoder gets this language for every utterance."""

    @property
    def name(self) -> str:
        """Short unique name that can be part of a file name: ``av-babble-5dB-blur2-auto``."""
        sound = CLEAN
        if self.noise is not None:
            kind = "".join(c if c.isalnum() or c in "._" else "_" for c in self.noise.kind)
            if len(kind.encode()) > MAX_KIND:  # a long path: the rest tells it from others
                digest = sha256(self.noise.kind.encode(errors="replace")).hexdigest()[:8]
                kind = f"{cut_name(kind, MAX_KIND - 9)}-{digest}"
            sound = f"{kind}{self.noise.snr_db:+g}dB"
        parts = [self.modality, sound]
        if self.video_corruption is not None:
            parts.append(self.video_corruption.replace(":", ""))
        return "-".join([*parts, self.language_mode])


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Every combination of modality, noise, video corruption and language mode.

    A YAML file holds overrides only.

    Raises:
        ConfigError: Values are out of bounds; the message lists all of them.
    """

    manifest: str
    """JSON lines or CSV; its media paths are relative to its folder."""
    model: str | None = None
    """Model directory; None is the bundled model."""
    out: str = "results"
    """Folder in which each run gets its own folder."""
    split: str | None = None
    """Score only this split of the manifest; None: all."""
    languages: tuple[str, ...] | None = None
    """Score only these languages; None: all."""
    limit: Annotated[int, Bounds(high=10**9)] | None = None
    """Score at most this many utterances of each language, the first ones; None: all."""
    modalities: tuple[str, ...] = MODALITIES
    """``av`` (sound and lips), ``audio``, ``video`` (lips)."""
    language_modes: tuple[str, ...] = ("auto",)
    """``auto`` detects the language, ``given`` takes the manifest's; or a language code."""
    noises: tuple[str, ...] = ("babble",)
    """``babble`` (30 talkers), ``speech`` (one), ``music``, ``noise``, or any file or folder."""
    musan: str | None = None
    """Folder of the MUSAN corpus: the four named kinds then come from its test split. Without it
    babble and speech are built in (synthetic talkers in nine languages), and music and noise do not
    exist."""
    snr_db: tuple[Ratio, ...] = (CLEAN, -10, -5, 0, 5, 10)
    """Signal-to-noise ratios in dB; ``clean`` adds no noise. Conditions without sound get no
    noise."""
    snr_over: str = "clip"
    """Samples that count in the ratio: the whole ``clip``, or its ``speech`` without pauses."""
    video_corruptions: tuple[str, ...] = (CLEAN,)
    """``clean``, or ``KIND:AMOUNT`` with occlusion, blur, resolution, dropped, frozen or offset;
    see ``avsr/augmentation/corruption.py``; or ``wrong``, the lips of another utterance. Conditions
    with sound alone get no corruption, those with lips alone no offset."""
    noise_manifest: str | None = None
    """``noise.json`` of another run; this run stops if its noise is not the same."""
    paper: str | None = None
    """``muavic``: the report shows the results of the MuAViC paper as well."""
    seed: int = 0
    """Seed of noise and corruptions."""
    beam_size: Annotated[int, Bounds(1, MAX_BEAM_SIZE)] = BEAM_SIZE
    """Hypotheses that the beam search keeps."""
    ctc_weight: Share = CTC_WEIGHT
    """Weight of the CTC score, in [0, 1]; the decoder has the remaining weight."""
    lm_weight: Weight = LM_WEIGHT
    """Weight of the model's language model."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Number format of matrix products, as in ``load_model``; ``auto``: as the model is stored."""
    sync: bool = True
    """Whether to correct lips that run ahead of the sound or behind it."""
    check: bool = True
    """Whether to leave out lips that contradict clear sound, as in ``TranscribeOptions``."""
    batch_size: Annotated[int, Bounds(high=100_000)] = 8
    """Utterances per batch."""
    cache: str | None = None
    """Folder in which mouth crops are kept for the next evaluation."""

    def __post_init__(self) -> None:
        check_settings(self)
        problems = []
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            problems.append("modalities must be of av, audio, video")
        if not self.language_modes:
            problems.append("language_modes must be of auto, given")
        if not self.snr_db or not all(snr == CLEAN or is_number(snr) for snr in self.snr_db):
            problems.append("snr_db must be a list of numbers and 'clean'")
        if not self.noises and set(self.snr_db) != {CLEAN}:
            problems.append("noises is empty; name one, or leave snr_db at [clean]")
        if self.snr_over not in ("clip", "speech"):
            problems.append("snr_over must be clip or speech")
        if self.paper not in (None, "muavic"):
            problems.append("paper must be muavic, or left out")
        if self.precision not in PRECISIONS:
            problems.append(f"precision must be one of {', '.join(PRECISIONS)}")
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            problems.append("batch_size and limit must be 1 or more")
        if problems:
            raise ConfigError("; ".join(problems))
        for text in self.video_corruptions:
            parse_corruption(text)
        if not list(self.conditions()):
            raise ConfigError("these modalities and video_corruptions give no condition to test")

    def conditions(self) -> Iterator[Condition]:
        """Yield every condition once."""
        for language_mode in self.language_modes:
            for modality in self.modalities:
                for text in self.video_corruptions:
                    if not corruption_applies(modality, text):
                        continue
                    for noise in self._noises(modality):
                        yield Condition(
                            modality=modality,
                            noise=noise,
                            video_corruption=_name_corruption(text),
                            language_mode=language_mode,
                        )

    def _noises(self, modality: str) -> Iterator[Noise | None]:
        if modality == "video" or CLEAN in self.snr_db:
            yield None
        if modality != "video":
            for kind in self.noises:
                for snr in self.snr_db:
                    if snr != CLEAN:
                        yield Noise(kind=kind, snr_db=float(snr))


def parse_corruption(text: str | None) -> Corruption | None:
    """Read a corruption; None for none, ``clean`` and ``wrong``, which changes no lips itself."""
    return None if text in (None, CLEAN, WRONG) else Corruption.parse(text)


def _name_corruption(text: str) -> str | None:
    """The one name of a corruption, however its amount is written; None for ``clean``."""
    corruption = parse_corruption(text)
    return str(corruption) if corruption is not None else WRONG if text == WRONG else None


def corruption_applies(modality: str, video_corruption: str) -> bool:
    """Tell whether a corruption changes the input of a modality; ``clean`` counts as one."""
    if video_corruption == CLEAN:
        return True
    return modality == "av" or (modality == "video" and not video_corruption.startswith("offset"))


def read_evaluation_config(path: Path) -> EvaluationConfig:
    """Read an ``evaluate.yaml``.

    Args:
        path: YAML file of settings that differ from the defaults of ``EvaluationConfig``.

    Raises:
        ConfigError: The file cannot be read, or has unknown keys or values out of bounds.
    """
    values = read_settings(path)
    for old, new in RENAMED.items():
        if old in values:
            raise ConfigError(f"{path}: unknown key '{old}'; did you mean '{new}'?")
    return build_settings(EvaluationConfig, values, str(path))
