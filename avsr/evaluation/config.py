"""A grid of conditions, as an ``evaluate.yaml`` or the command line asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avsr.augmentation.corruption import Corruption
from avsr.corpus.manifest import is_number
from avsr.errors import ConfigError
from avsr.evaluation.noise import Noise
from avsr.search.options import BEAM_SIZE, CTC_WEIGHT, LM_WEIGHT
from avsr.settings import build_settings, read_settings
from avsr.transcript import MODALITIES

CLEAN = "clean"
PRECISIONS = ("auto", "fp32", "bf16", "int8")
LISTS = ("languages", "modalities", "language_modes", "noises", "snr_db", "pictures")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition that a whole manifest is transcribed under."""

    modality: str
    """``av``, ``audio`` or ``video``."""
    noise: Noise | None
    """None: the sound as it is."""
    picture: str | None
    """What is wrong with the picture, e.g. ``blur:2``; None: nothing."""
    mode: str
    """``auto``: the language is detected; ``given``: the decoder is told the manifest's; or the
    code of the language that it is told."""

    @property
    def name(self) -> str:
        """Short, unlike any other cell's, and good for a file name."""
        heard = CLEAN
        if self.noise is not None:
            kind = "".join(c if c.isalnum() or c in "._" else "_" for c in self.noise.kind)
            heard = f"{kind}{self.noise.snr_db:+g}dB"
        parts = [self.modality, heard, self.picture and self.picture.replace(":", ""), self.mode]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Every modality under every noise, picture and language mode. YAML holds overrides only."""

    manifest: str
    """JSON lines or CSV; media count from its folder."""
    model: str | None = None
    """Model directory; None is the bundled model."""
    out: str = "results"
    """Folder for the folders of runs."""
    split: str | None = None
    """Score this split of the manifest."""
    languages: tuple[str, ...] | None = None
    """Score these only."""
    limit: int | None = None
    """Score the first so many utterances of each language."""
    modalities: tuple[str, ...] = MODALITIES
    """``av``, ``audio``, ``video``."""
    language_modes: tuple[str, ...] = ("auto",)
    """``auto`` detects the language, ``given`` takes the manifest's; or a language's code."""
    noises: tuple[str, ...] = ("babble",)
    """``babble`` (30 talkers), ``speech`` (one), ``music``, ``noise``, or any file or folder."""
    musan: str | None = None
    """Folder of the MUSAN corpus, whose test split the four kinds then come from. Without it babble
    and speech are built in: synthetic talkers in nine languages."""
    snr_db: tuple[float | str, ...] = (CLEAN, -10, -5, 0, 5, 10)
    """Signal-to-noise ratios in dB, ``clean`` among them; noise is not mixed where lips are read
    alone."""
    snr_over: str = "clip"
    """What the ratio is taken over: the whole ``clip``, or its ``speech`` without pauses."""
    pictures: tuple[str, ...] = (CLEAN,)
    """``clean`` and damages: occlusion, blur, resolution, dropped, frozen, offset, each with its
    amount after a colon; see ``avsr/evaluation/corruption.py``. With the sound alone there is no
    picture to damage, and without it none to be offset from."""
    noise_manifest: str | None = None
    """``noise.json`` of another run; this one stops if its noise is not the same."""
    paper: str | None = None
    """``muavic``: the report shows the results of the paper beside these."""
    seed: int = 0
    """Same seed, same noise."""
    beam_size: int = BEAM_SIZE
    """Hypotheses kept."""
    ctc_weight: float = CTC_WEIGHT
    """Share of CTC in the score."""
    lm_weight: float = LM_WEIGHT
    """Weight of the model's language model."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Of matrix products, as in ``load_model``."""
    sync: bool = True
    """Whether lips that run before or behind the sound are put right."""
    batch_size: int = 8
    """Utterances at a time."""
    cache: str | None = None
    """Folder that keeps mouth crops for the next evaluation."""

    def __post_init__(self) -> None:
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
            problems.append("paper must be muavic, or not be there")
        if self.precision not in PRECISIONS:
            problems.append(f"precision must be of {', '.join(PRECISIONS)}")
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            problems.append("batch_size and limit must be 1 or more")
        if problems:
            raise ConfigError("; ".join(problems))
        for picture in self.pictures:
            if picture != CLEAN:
                Corruption.parse(picture)
        if not list(self.cells()):
            raise ConfigError("these modalities and pictures give no condition to test")

    def cells(self) -> Iterator[Condition]:
        """Every condition once."""
        for mode in self.language_modes:
            for modality in self.modalities:
                for picture in self.pictures:
                    if not sensible(modality, picture):
                        continue
                    for noise in self._noises(modality):
                        shown = None if picture == CLEAN else str(Corruption.parse(picture))
                        yield Condition(modality=modality, noise=noise, picture=shown, mode=mode)

    def _noises(self, modality: str) -> Iterator[Noise | None]:
        if modality == "video" or CLEAN in self.snr_db:
            yield None
        if modality != "video":
            for kind in self.noises:
                for snr in self.snr_db:
                    if snr != CLEAN:
                        yield Noise(kind=kind, snr_db=float(snr))


def sensible(modality: str, picture: str) -> bool:
    """Whether a damage of the picture can matter."""
    if picture == CLEAN:
        return True
    return modality == "av" or (modality == "video" and not picture.startswith("offset"))


def read_evaluation_config(path: Path) -> EvaluationConfig:
    """Read an ``evaluate.yaml``; raise ConfigError in one line for what is wrong with it."""
    values: dict[str, Any] = read_settings(path)
    for name in LISTS:
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
        elif values.get(name) is not None:
            raise ConfigError(f"{path}: {name} must be a list")
    return build_settings(EvaluationConfig, values, str(path))
