"""What a training run needs to know. A recipe's YAML holds overrides of these defaults only."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsr.errors import ConfigError
from avsr.languages import LANGUAGES, is_language_code
from avsr.model.config import PRESETS
from avsr.settings import build_settings, read_settings
from avsr.transcript import MODALITIES

TRAINED = ("all", "prompts", "frozen-frontend", "frozen-encoder")
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Shards to train on, as ``avsr synthesize`` and ``avsr prepare`` write them."""

    path: str
    """Folder of the corpus, relative to the folder that ``avsr train`` is started in."""
    split: str = "train"
    """Split of it to read."""
    repeat: int = 1
    """How often its utterances stand in an epoch."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stretch of training with its own weights in the loss and its own schedule."""

    name: str
    """Name of the stage, for logs and checkpoints."""
    updates: int
    """Optimizer steps."""
    train: str = "all"
    """``all``; ``prompts``: language prompts and classifier only (the paper's first stage);
    ``frozen-frontend``: all but the visual front end, whose outputs are computed once;
    ``frozen-encoder``: all but the encoder, whose prompts train."""
    optimizer: str = "adamw"
    """``adamw``, or ``muon`` (Jordan et al. 2024): steps of orthogonal matrices for the weights of
    the transformers' layers, at four times the learning rate, and AdamW for the rest. Learns more
    from an update, and pays where batches are large."""
    learning_rate: float = 1e-3
    """Peak of the tri-stage schedule."""
    warmup: float = 0.1
    """Share of the updates in which the learning rate rises."""
    decay: float = 0.5
    """Share of the updates, at the end, in which it falls to 5 % of the peak."""
    batch_frames: int = 1600
    """Most frames (padding included) in a batch without pixels."""
    video_batch_frames: int = 800
    """Most frames in a batch whose pixels go through the visual front end."""
    modalities: dict[str, float] = field(
        default_factory=lambda: {"av": 0.5, "audio": 0.25, "video": 0.25}
    )
    """Modality dropout: probability of a batch with both, sound only, lips only (AV-HuBERT:
    modality dropout 0.5, of which half drops the sound)."""
    ctc_weight: float = 0.1
    """alpha of the paper's loss."""
    language_weight: float = 10.0
    """beta of the paper's loss."""
    balance: bool = True
    """Weigh each sample by gamma, the inverse root of its language's share of the batch."""
    phone_weight: float = 0.0
    """Weight of a cross-entropy that names the phone of every half frame, from utterances whose
    phone times are known; its linear head is used in training only."""
    guide_weight: float = 0.0
    """Weight of guided attention (Tachibana et al. 2018): half of the heads of the decoder's last
    two layers are told to look at the frames of the token to come, from utterances whose word
    times are known."""
    noise_probability: float = 0.25
    """Share of utterances with noise mixed into their sound."""
    noises: dict[str, float] = field(default_factory=lambda: {"babble": 1.0})
    """Kinds of noise and how often each is taken: ``babble`` (30 other utterances), ``speech``
    (one), or the path of a folder with sound files."""
    mask_probability: float = 1.0
    """Share of utterances whose filterbank gets one mask in time and one in frequency
    (SpecAugment), and of those whose lips get one in time; 0 where a small model has more to learn
    than it can overfit."""
    snr_db: tuple[float, float] = (0.0, 0.0)
    """Range of the signal-to-noise ratio in dB, drawn evenly."""
    offset_probability: float = 0.0
    """Share of utterances whose lips come early or late, as they do in many videos."""
    offset_ms: float = 200.0
    """By how much at most, drawn evenly in whole frames."""


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
    """Stages, one after the other."""
    init: str | None = None
    """Model directory (or hf://owner/name) to start from: its sizes, weights and tokenizer; None
    starts afresh. What an imported AV-HuBERT lacks (prompts, classifier and CTC head; decoder and
    tokenizer too, if it was only pre-trained) is new, of the preset's sizes and for the recipe's
    languages."""
    init_encoder: str | None = None
    """Model directory whose encoder, all but its prompts, replaces the network's: a pre-trained
    AV-HuBERT of the preset's sizes."""
    init_frontend: str | None = None
    """Model directory whose visual front end, with its projection, replaces the network's."""
    preset: str = "tiny"
    """Sizes of a new network."""
    prompts: int | None = None
    """Language prompts in every layer of a new network; None: the preset's number, 0: none, so
    that the classifier sees plain features."""
    languages: tuple[str, ...] = LANGUAGES
    """Codes of the languages, in the order of the classifier's outputs."""
    vocabulary_size: int = 512
    """Tokens of the sentencepiece model that a new network gets from the training texts."""
    lm_order: int = 5
    """Most tokens of the n-grams that are counted in the training texts, for a language model per
    language that goes with the model; 0: none."""
    lm_min_count: int = 2
    """N-grams of three tokens or more that are rarer are left out of it."""
    seed: int = 1
    """Seed of everything random."""
    devices: int = 1
    """GPUs of each machine, or processes on CPUs. A batch is shared by all of them, so that
    ``batch_frames`` and the loss do not depend on their number."""
    num_nodes: int = 1
    """Machines."""
    sharding: bool = False
    """Each process keeps its share of the weights, gradients and optimizer state only (fully
    sharded data parallel), for networks that are too large for one device."""
    passes: int = 1
    """Forward and backward passes per update, each over a part of the batch (gradient
    accumulation); batch norms see one part at a time."""
    precision: str = "bf16-mixed"
    """Lightning's name of the precision."""
    label_smoothing: float = 0.1
    """Of the attention loss."""
    cache_visual: bool = True
    """Compute the outputs of a visual front end that rests once and keep them on disk (1 kB a
    frame and variant at the full width); false sends the pixels through it every time."""
    visual_variants: int = 2
    """Random crops and flips of each clip that a frozen front end computes, beside the centre."""
    visual_corruption_probability: float = 0.0
    """Share of clips whose picture is damaged (covered, blurred, coarse, black or still at times),
    so that lips are trusted as far as they can be read; of those computed once, the centre crop is
    spared."""
    average_checkpoints: int = 1
    """A stage ends with the mean of its last so many checkpoints."""
    select_best: bool = False
    """A stage ends with the weights of the validation with the lowest word error rate (search of
    one beam, mean over modalities and languages) instead of its last."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    validate_every: int = 500
    """Updates between validations."""
    validation_utterances: int = 180
    """Utterances per validation, evenly over the languages."""

    def caches(self, stage: StageConfig) -> bool:
        """Whether a stage reads kept outputs of the visual front end."""
        return self.cache_visual and stage.train != "all"

    @property
    def processes(self) -> int:
        """Processes that train together, on all machines."""
        return self.devices * self.num_nodes

    @property
    def parts(self) -> int:
        """Parts that a batch is cut into."""
        return self.processes * self.passes

    def __post_init__(self) -> None:
        problems = []
        if self.preset not in PRESETS:
            problems.append(f"preset '{self.preset}' is not one of {', '.join(PRESETS)}")
        if self.prompts is not None and self.prompts < 0:
            problems.append("prompts must be 0 or more")
        if self.lm_order < 0 or self.lm_order == 1:
            problems.append("lm_order must be 0 or at least 2")
        if not self.stages:
            problems.append("there is no stage")
        if not self.corpora:
            problems.append("there is no corpus")
        for code in self.languages:
            if not is_language_code(code):
                problems.append(f"language '{code}' is no ISO 639-1 code")
        if len(set(self.languages)) < len(self.languages):
            problems.append("a language stands twice")
        if min(self.devices, self.num_nodes, self.passes, self.average_checkpoints) < 1:
            problems.append("devices, num_nodes, passes and average_checkpoints must be 1 or more")
        if self.select_best and not self.validation:
            problems.append("select_best needs validation data")
        if self.select_best and self.average_checkpoints > 1:
            problems.append("select_best and average_checkpoints exclude each other")
        if self.select_best and any(s.updates < self.validate_every for s in self.stages):
            problems.append("select_best needs stages of at least validate_every updates")
        if self.sharding and any(stage.optimizer == "muon" for stage in self.stages):
            problems.append("sharding cuts the matrices that muon needs whole: take adamw")
        for corpus in (*self.corpora, *self.validation):
            if corpus.repeat < 1:
                problems.append(f"corpus {corpus.path}: repeat must be 1 or more")
        for corpus in self.validation:
            if corpus.split == "test":
                problems.append(f"corpus {corpus.path}: the test split is no validation data")
        for stage in self.stages:
            where = f"stage {stage.name}"
            if stage.train not in TRAINED:
                problems.append(f"{where}: train must be one of {', '.join(TRAINED)}")
            if stage.optimizer not in OPTIMIZERS:
                problems.append(f"{where}: optimizer must be one of {', '.join(OPTIMIZERS)}")
            if set(stage.modalities) - set(MODALITIES) or sum(stage.modalities.values()) <= 0:
                problems.append(f"{where}: modalities need probabilities of av, audio, video")
            if not stage.noises or min(stage.noises.values()) <= 0:
                problems.append(f"{where}: noises need shares above 0")
            if stage.updates < 1 or stage.batch_frames < 1 or stage.video_batch_frames < 1:
                problems.append(f"{where}: updates and batch sizes must be 1 or more")
            if not 0 <= stage.warmup + stage.decay <= 1:
                problems.append(f"{where}: warmup + decay must lie in [0, 1]")
            if not 0 <= stage.ctc_weight <= 1:
                problems.append(f"{where}: ctc_weight must lie in [0, 1]")
            if stage.snr_db[0] > stage.snr_db[1]:
                problems.append(f"{where}: snr_db must be [lowest, highest]")
        if problems:
            raise ConfigError("; ".join(problems))


def read_config(path: Path) -> TrainConfig:
    """Read a recipe's ``train.yaml``; raise ConfigError in one line for what is wrong with it."""
    values = read_settings(path)
    kinds = {"corpora": CorpusConfig, "validation": CorpusConfig, "stages": StageConfig}
    for name, kind in kinds.items():
        entries = values.get(name, [])
        if not isinstance(entries, list):
            raise ConfigError(f"{path}: {name} must be a list")
        built: list[Any] = []
        for i, entry in enumerate(entries):
            if isinstance(entry, dict) and "snr_db" in entry:
                entry = {**entry, "snr_db": tuple(entry["snr_db"])}
            built.append(build_settings(kind, entry, f"{path}: {name}[{i}]"))
        values[name] = tuple(built)
    if "languages" in values:
        values["languages"] = tuple(values["languages"])
    return build_settings(TrainConfig, values, str(path))
