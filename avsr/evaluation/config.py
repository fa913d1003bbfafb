"""A grid of evaluations, as a recipe's ``evaluate.yaml`` asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.corpus.manifest import is_number
from avsr.errors import ConfigError
from avsr.evaluation.clips import Noise
from avsr.evaluation.run import MODALITIES
from avsr.settings import build_settings, read_settings

CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Every modality under every noise and language mode. YAML holds overrides only."""

    manifest: str
    """JSON lines or CSV; media count from its folder."""
    model: str | None = None
    """Model directory; None is the bundled model."""
    out: str = "results"
    """Folder for scores and transcripts."""
    split: str | None = None
    """Score this split of the manifest."""
    languages: tuple[str, ...] | None = None
    """Score these only."""
    limit: int | None = None
    """Score the first so many utterances of each language."""
    modalities: tuple[str, ...] = MODALITIES
    """``av``, ``audio``, ``video``."""
    language_modes: tuple[str, ...] = ("auto",)
    """``auto`` detects the language, ``given`` takes the manifest's."""
    noise: str = "babble"
    """Kind of noise."""
    snr_db: tuple[float | str, ...] = (CLEAN,)
    """Signal-to-noise ratios in dB, ``clean`` among them; noise is not mixed where lips are read
    alone."""
    seed: int = 0
    """Same seed, same noise."""
    beam_size: int = 5
    """Hypotheses kept."""
    ctc_weight: float = 0.3
    """Share of CTC in the score."""
    lm_weight: float = 0.4
    """Weight of the model's language model."""
    batch_size: int = 8
    """Utterances at a time."""
    cache: str | None = None
    """Folder that keeps mouth crops for the next evaluation."""

    def __post_init__(self) -> None:
        problems = []
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            problems.append("modalities must be of av, audio, video")
        if not self.language_modes or set(self.language_modes) - {"auto", "given"}:
            problems.append("language_modes must be of auto, given")
        if not self.snr_db or not all(snr == CLEAN or is_number(snr) for snr in self.snr_db):
            problems.append("snr_db must be a list of numbers and 'clean'")
        if problems:
            raise ConfigError("; ".join(problems))

    def cells(self) -> Iterator[tuple[str, str, Noise | None]]:
        """(modality, language mode, noise) of every evaluation."""
        for mode in self.language_modes:
            for modality in self.modalities:
                ratios = self.snr_db if modality != "video" else (CLEAN,)
                for snr in ratios:
                    noise = None if snr == CLEAN else Noise(kind=self.noise, snr_db=float(snr))
                    yield modality, mode, noise


def read_evaluation_config(path: Path) -> EvaluationConfig:
    """Read an ``evaluate.yaml``; raise ConfigError in one line for what is wrong with it."""
    values: dict[str, Any] = read_settings(path)
    for name in ("languages", "modalities", "language_modes", "snr_db"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
        elif values.get(name) is not None:
            raise ConfigError(f"{path}: {name} must be a list")
    return build_settings(EvaluationConfig, values, str(path))
