"""Settings of a training run. The YAML of a recipe overrides these defaults."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from avsr.errors import ConfigError
from avsr.languages import MUAVIC_LANGUAGES, is_language_code
from avsr.model.config import PRESETS
from avsr.runtime.safe_names import name_problem, show_name
from avsr.settings import (
    Bounds,
    Count,
    CountOrZero,
    Share,
    Weight,
    build_settings,
    check_settings,
    read_settings,
    show,
)
from avsr.transcript import MODALITIES

TRAIN_CHOICES = ("all", "prompts", "frozen-frontend", "frozen-encoder", "reliability")
OPTIMIZERS = ("adamw", "muon")
MAX_UPDATES = 10_000_000  # a plan of each is kept in memory
MAX_REPEAT = 10_000
Precision = Literal[
    "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "transformer-engine"
]
Decibels = Annotated[float, Bounds(-200, 200)]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Shards to train on, as ``avsr synthesize`` and ``avsr prepare`` write them."""

    path: str
    """Folder of the corpus, relative to the folder in which ``avsr train`` is started."""
    split: str = "train"
    """Split to read."""
    repeat: Annotated[int, Bounds(high=MAX_REPEAT)] = 1
    """How many times an epoch visits each utterance of this corpus."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of training, with its own objective, loss weights and learning rate schedule."""

    name: str
    """Name of the stage in logs and in the folder of its checkpoints."""
    updates: Annotated[int, Bounds(high=MAX_UPDATES)]
    """Optimizer steps."""
    objective: str = "recognition"
    """What the stage learns, a key of ``OBJECTIVES`` in ``avsr/training/objectives.py``:
    ``recognition`` is the paper's loss (CTC, attention, language)."""
    train: str = "all"
    """Parameters that are trained: ``all``; ``prompts``: the language prompts and the language
    classifier only (the paper's first stage); ``frozen-frontend``: all but the visual front end,
    whose outputs are computed once; ``frozen-encoder``: all but the encoder, whose prompts are
    trained; ``reliability``: the scores of ``reliability`` only, a first stage for new ones."""
    optimizer: str = "adamw"
    """``adamw``, or ``muon`` (Jordan et al. 2024), which makes the updates of the transformer
    layers' matrices orthogonal, at four times the learning rate, and uses AdamW for all other
    parameters. Muon learns more from each update; it pays off with large batches."""
    learning_rate: Annotated[float, Bounds(0, 1e3)] = 1e-3
    """Peak of the tri-stage schedule."""
    warmup: float = 0.1
    """Fraction of the updates over which the learning rate rises."""
    decay: float = 0.5
    """Fraction of the updates, at the end, over which it falls to 5 % of the peak."""
    batch_frames: Annotated[int, Bounds(high=10**9)] = 1600
    """Maximum number of frames, padding included, in a batch without pixels."""
    video_batch_frames: Annotated[int, Bounds(high=10**9)] = 800
    """Maximum number of frames in a batch whose pixels go through the visual front end."""
    modalities: dict[str, Weight] = field(
        default_factory=lambda: {"av": 0.5, "audio": 0.25, "video": 0.25}
    )
    """Modality dropout: probability that a batch has both modalities, audio only, or video only
    (AV-HuBERT: modality dropout 0.5, half of which drops the audio)."""
    ctc_loss_weight: float = 0.1
    """alpha of the paper's loss."""
    language_loss_weight: Weight = 10.0
    """beta of the paper's loss."""
    balance: bool = True
    """Weight each sample by gamma, the inverse square root of its language's share of the batch."""
    phone_loss_weight: Weight = 0.0
    """Weight of a cross-entropy that classifies the phone of every half frame (20 ms), for
    utterances whose phone times are known. Its linear head is used in training only."""
    guide_loss_weight: Weight = 0.0
    """Weight of guided attention (Tachibana et al. 2018): half of the heads of the decoder's last
    two layers learn to attend to the frames of the next token, for utterances whose word times are
    known."""
    reliability_loss_weight: Weight = 0.0
    """Weight of a binary cross-entropy that teaches the scores of ``reliability`` where sound and
    lips of a clip can be trusted, for batches with both. The augmentation knows it: the target of
    lips is 0 where they are covered, of another clip or more than two frames off, else 1; that of
    sound falls from 1 at 10 dB of noise to 0 at -10 dB. Slight corruptions have no target."""
    noise_probability: Share = 0.25
    """Fraction of the utterances that get noise mixed into their audio."""
    noises: dict[str, Weight] = field(default_factory=lambda: {"babble": 1.0})
    """Kinds of noise and their relative frequencies: ``babble`` (30 other utterances), ``speech``
    (one other utterance), or the path of a folder with sound files."""
    mask_probability: Share = 1.0
    """Fraction of the utterances whose filterbank gets one mask in time and one in frequency
    (SpecAugment), and fraction whose video gets one mask in time. Use 0 for a small model that
    cannot overfit its data."""
    snr_db: tuple[Decibels, Decibels] = (0.0, 0.0)
    """Lowest and highest signal-to-noise ratio in dB; drawn uniformly."""
    offset_probability: Share = 0.0
    """Fraction of the utterances whose video is shifted in time against the audio, as it is in many
    recordings."""
    offset_ms: Annotated[float, Bounds(0, 10_000)] = 200.0
    """Largest shift in milliseconds; drawn uniformly, in whole frames."""
    wrong_lips_probability: Share = 0.0
    """Fraction of the utterances with sound and lips whose lips are those of another utterance, cut
    or repeated to the length."""
    lips_drop_probability: Share = 0.0
    """Fraction of the utterances with sound and lips in which one to three spans of the video, of
    0.2 to 1.5 s, stand still, are blank or are noise. Unlike ``visual_corruption_probability`` it
    costs nothing with stored outputs of the front end, and every epoch has other spans."""
    sound_drop_probability: Share = 0.0
    """Fraction of the utterances with sound and lips in which one to three spans of the sound, of
    0.2 to 1.5 s, are silence or loud noise."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run."""

    out: str
    """Folder of the run: checkpoints, logs and the model directory."""
    corpora: tuple[CorpusConfig, ...]
    """Training data."""
    validation: tuple[CorpusConfig, ...] = ()
    """Validation data, never the test split."""
    stages: tuple[StageConfig, ...]
    """Stages, trained one after the other."""
    init: str | None = None
    """Model directory (or hf://owner/name) to start from, with its sizes, weights and tokenizer.
    None trains a new network. An imported AV-HuBERT gets new parts where it has none (prompts,
    classifier and CTC head; decoder and tokenizer too if it was only pre-trained), with the sizes
    of the preset and for the languages of the recipe."""
    init_encoder: str | None = None
    """Model directory whose encoder, except its prompts, replaces the encoder of the network: a
    pre-trained AV-HuBERT with the sizes of the preset."""
    init_frontend: str | None = None
    """Model directory whose visual front end and projection replace those of the network."""
    preset: str = "tiny"
    """Sizes of a new network."""
    prompts: Annotated[int, Bounds(high=10_000)] | None = None
    """Language prompts in every layer of a new network. None: the number of the preset. 0: none,
    so that the classifier gets the plain features."""
    reliability: bool = False
    """Give the encoder scores of how far sound and lips of each frame can be trusted, by which they
    are weighed before they are fused. Added to a model in ``init`` that has none, they change
    nothing until they are trained; a model that has them keeps them."""
    languages: tuple[str, ...] = MUAVIC_LANGUAGES
    """Language codes, in the order of the classifier's outputs."""
    vocabulary_size: Annotated[int, Bounds(5, 1_000_000)] = 512
    """Number of tokens of the sentencepiece model that is trained on the training texts for a new
    network."""
    lm_order: Annotated[int, Bounds(high=100)] = 5
    """Longest n-gram of the n-gram language models, one per language, that are counted on the
    training texts and saved with the model. 0: no language models."""
    lm_min_count: CountOrZero = 2
    """N-grams of three or more tokens that are rarer than this are left out."""
    seed: Annotated[int, Bounds(0, 2**32 - 1)] = 1
    """Seed of everything random."""
    devices: Annotated[int, Bounds(high=100_000)] = 1
    """GPUs per machine, or processes on the CPU. They share each batch, so ``batch_frames`` and the
    loss do not depend on their number."""
    num_nodes: Annotated[int, Bounds(high=100_000)] = 1
    """Number of machines."""
    fsdp: bool = False
    """Fully sharded data parallel: each process stores only its share of the weights, gradients and
    optimizer state, for networks that are too large for one device."""
    gradient_accumulation_steps: Annotated[int, Bounds(high=100_000)] = 1
    """Forward and backward passes per update, each over its own micro-batch of the batch. Batch
    norms use the statistics of one micro-batch at a time."""
    precision: Precision = "bf16-mixed"
    """Precision, by its Lightning name."""
    label_smoothing: Share = 0.1
    """Label smoothing of the attention loss."""
    cache_visual: bool = True
    """Compute the outputs of a frozen visual front end once and store them on disk (1 kB per frame
    and variant at the full width). False runs the front end on the pixels every time."""
    visual_variants: Annotated[int, Bounds(0, 1000)] = 2
    """Random crops and flips of each clip for which a frozen front end is computed, besides the
    centre crop."""
    visual_corruption_probability: Share = 0.0
    """Fraction of the clips whose video is corrupted in all or a part of its frames, in one to
    three ways (covered, blurred, noisy, dark or too bright, at low resolution, strongly compressed,
    with black or frozen frames), so that the model learns how far it can trust the lips. Centre
    crops that are computed once are never corrupted."""
    average_checkpoints: Annotated[int, Bounds(high=100_000)] = 1
    """A stage ends with the mean of this many last checkpoints."""
    select_best: bool = False
    """A stage ends with the weights of the validation with the lowest word error rate (search
    with one beam, mean over modalities and languages) instead of its last weights."""
    checkpoint_every: Count = 500
    """Updates between checkpoints."""
    validate_every: Count = 500
    """Updates between validations."""
    validation_utterances: Count = 180
    """Utterances per validation, evenly over the languages."""

    def caches(self, stage: StageConfig) -> bool:
        """Return whether ``stage`` reads stored outputs of the visual front end."""
        return self.cache_visual and stage.train != "all"

    @property
    def processes(self) -> int:
        """Number of processes that train together, on all machines."""
        return self.devices * self.num_nodes

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches that a batch is split into."""
        return self.processes * self.gradient_accumulation_steps

    def __post_init__(self) -> None:
        check_settings(self)
        problems = [*_run_problems(self), *_best_problems(self), *_corpus_problems(self)]
        for stage in self.stages:
            problems += [
                f"stage {stage.name[:100]}: {problem}" for problem in _stage_problems(stage)
            ]
        if problems:
            raise ConfigError("; ".join(problems))


def _run_problems(config: TrainConfig) -> Iterator[str]:
    if config.preset not in PRESETS:
        yield f"preset {show(config.preset)} is not one of {', '.join(PRESETS)}"
    if config.prompts is not None and config.prompts < 0:
        yield "prompts must be 0 or more"
    if config.lm_order < 0 or config.lm_order == 1:
        yield "lm_order must be 0 or at least 2"
    if not config.stages:
        yield "there is no stage"
    if not config.corpora:
        yield "there is no corpus"
    for code in config.languages:
        if not is_language_code(code):
            yield f"language {show(code)} is no ISO 639-1 code"
    if not config.languages:
        yield "there is no language"
    if len(set(config.languages)) < len(config.languages):
        yield "a language is listed twice"
    for name in ("devices", "num_nodes", "gradient_accumulation_steps", "average_checkpoints"):
        if getattr(config, name) < 1:
            yield f"{name} must be 1 or more"
    if config.fsdp and any(stage.optimizer == "muon" for stage in config.stages):
        yield "fsdp splits the matrices that muon needs whole: use adamw"


def _best_problems(config: TrainConfig) -> Iterator[str]:
    if not config.select_best:
        return
    if not config.validation:
        yield "select_best needs validation data"
    if config.average_checkpoints > 1:
        yield "select_best and average_checkpoints exclude each other"
    if any(stage.updates < config.validate_every for stage in config.stages):
        yield "select_best needs stages of at least validate_every updates"


def _corpus_problems(config: TrainConfig) -> Iterator[str]:
    for corpus in (*config.corpora, *config.validation):
        if problem := name_problem(corpus.split):
            yield f"corpus {corpus.path}: the split '{show_name(corpus.split)}' {problem}"
        if corpus.repeat < 1:
            yield f"corpus {corpus.path}: repeat must be 1 or more"
    for corpus in config.validation:
        if corpus.split == "test":
            yield f"corpus {corpus.path}: the test split is no validation data"


def _stage_problems(stage: StageConfig) -> Iterator[str]:
    # Its folder is "0-NAME", in which dots and spaces do no harm.
    if problem := name_problem(str(stage.name).replace(".", "_").replace(" ", "_")):
        yield f"the name '{show_name(stage.name)}' {problem}"
    choices = {"train": TRAIN_CHOICES, "optimizer": OPTIMIZERS}
    for name, values in choices.items():
        if getattr(stage, name) not in values:
            yield f"{name} must be one of {', '.join(values)}"
    if set(stage.modalities) - set(MODALITIES) or sum(stage.modalities.values()) <= 0:
        yield "modalities need probabilities of av, audio, video"
    used = {name for name, probability in stage.modalities.items() if probability > 0}
    if stage.train == "reliability" and used != {"av"}:
        yield "train: reliability needs modalities: {av: 1.0}, as only clips with both have scores"
    if not stage.noises or min(stage.noises.values()) <= 0:
        yield "noises need relative frequencies above 0"
    if stage.updates < 1 or stage.batch_frames < 1 or stage.video_batch_frames < 1:
        yield "updates and batch sizes must be 1 or more"
    if not 0 <= stage.warmup + stage.decay <= 1:
        yield "warmup + decay must lie in [0, 1]"
    if not 0 <= stage.ctc_loss_weight <= 1:
        yield "ctc_loss_weight must lie in [0, 1]"
    if stage.snr_db[0] > stage.snr_db[1]:
        yield "snr_db must be [lowest, highest]"


def read_config(path: Path) -> TrainConfig:
    """Read the ``train.yaml`` of a recipe.

    Args:
        path: YAML file with overrides of the defaults.

    Returns:
        The checked settings.

    Raises:
        ConfigError: All mistakes in one line; for an unknown key also the nearest valid one.
    """
    values = {"corpora": [], "stages": [], **read_settings(path)}
    return build_settings(TrainConfig, values, str(path))
