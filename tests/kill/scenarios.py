"""Commands that are killed, what they work on, and what must be the same in the end."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from avsr.corpus import Record, ShardWriter, write_manifest
from avsr.decoder import Tokenizer
from avsr.interop import export_fairseq, import_model
from avsr.model.config import PRESETS, ModelConfig
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from tests.training.conftest import SMALL, TEXTS, stage

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
PRESETS["tiny"] = SMALL  # the sizes of the network that is trained here
Results = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A command in a folder of its own."""

    name: str
    make: Callable[[Path], None]
    """Makes what the command works on; called once, in the folder of which each run gets a copy."""
    arguments: Callable[[Path], list[str]]
    """The command."""
    results: Callable[[Path], Results]
    """What must be the same as after an uninterrupted run."""
    check: Callable[[Path], None] = lambda folder: None
    """Raises an exception if what is there right after the kill is not whole."""


def read_files(folder: Path, patterns: tuple[str, ...]) -> Results:
    """Return the contents of files by their names."""
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def clip_records(splits: dict[str, str]) -> list[Record]:
    """Records of the examples of languages, by language and split."""
    return [
        Record(
            utterance_id=language, media=f"{language}.mp4", text="ein satz", language=language,
            split=split, speaker="s",
        )
        for language, split in splits.items()
    ]  # fmt: skip


def make_clips(folder: Path) -> None:
    """Two talking heads and their manifest."""
    for language in ("de", "fr"):
        shutil.copy(EXAMPLES / f"{language}.mp4", folder)
    write_manifest(folder / "clips.jsonl", clip_records({"de": "train", "fr": "valid"}))


def make_corpus(folder: Path) -> None:
    """Noise as speech and lips, and a recipe that trains a small network on it."""
    rng = np.random.default_rng(0)
    with ShardWriter(folder / "corpus", "train") as writer:
        for i in range(12):
            language = list(TEXTS)[i % 3]
            record = Record(
                utterance_id=f"u{i}", media="x", end=0.4, text=TEXTS[language], language=language,
                split="train", speaker="s",
            )  # fmt: skip
            mouth = rng.integers(0, 255, (10, 96, 96), np.uint8)
            writer.write(record, rng.normal(0, 0.1, 6400).clip(-1, 1), mouth)
    recipe = {
        "out": "run",
        "languages": list(TEXTS),
        "vocabulary_size": 18,
        "precision": "32-true",
        "corpora": [{"path": "corpus"}],
        "visual_variants": 1,
        "checkpoint_every": 2,
        "average_checkpoints": 2,
        "stages": [
            stage("all", updates=6, modalities={"audio": 1.0}),
            stage("joint", updates=2, train="frozen-frontend"),
        ],
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(recipe))


def weights_of(folder: Path) -> Results:
    """Weights, rounded: sums of another order may differ in the last bit."""
    return {
        name: (value.float() * 1e5).round().numpy().tobytes()
        for name, value in load_file(folder / "model.safetensors").items()
    }


def training_results(folder: Path) -> Results:
    files = ("run/*/metrics.csv", "run/tokenizer.model", "run/model/config.json", "run/model/lm*")
    return weights_of(folder / "run/model") | read_files(folder, files)


def check_training(folder: Path) -> None:
    if (folder / "run/model").exists():
        load_directory(folder / "run/model")


def make_models(folder: Path) -> None:
    """The model that is there, and a checkpoint of another to import over it."""
    for number, language in enumerate(("de", "fr")):
        torch.manual_seed(number)
        config = dataclasses.replace(
            ModelConfig(),
            encoder=dataclasses.replace(SMALL.encoder, prompts=0),
            decoder=SMALL.decoder,
            vocabulary_size=18,
            languages=(language,),
            parts=("encoder", "decoder"),
        )
        tokenizer = Tokenizer.train([*TEXTS.values()] * 4, 18)
        model = AVSRModel(config, tokenizer)
        save_directory(model, folder / language, card=f"Licence: {language}\n", half=False)
        export_fairseq(folder / language, folder / f"{language}.fairseq")
    import_model(folder / "de.fairseq", folder / "model")


def check_models(folder: Path) -> None:
    """The model is the old or the new one."""
    model = load_directory(folder / "model")
    (language,) = model.config.languages
    state = load_directory(folder / language).state_dict()
    for name, value in model.state_dict().items():
        if not torch.equal(value, state[name]):
            raise AssertionError(f"names of {language} with other weights: {name}")


SCENARIOS = [
    Scenario(
        name="prepare",
        make=make_clips,
        arguments=lambda folder: ["prepare", "manifest", "clips.jsonl", "out"],
        results=lambda folder: read_files(folder / "out", ("*.jsonl", "*.json", "*/*")),
    ),
    Scenario(
        name="train",
        make=make_corpus,
        arguments=lambda folder: ["train", "train.yaml", "--workers", "0"],
        results=training_results,
        check=check_training,
    ),
    Scenario(
        name="evaluate",
        make=make_clips,
        arguments=lambda folder: [
            *("evaluate", "clips.jsonl", "--out", "out", "--cache", "cache", "--batch-size", "1"),
            *("--modality", "av,audio", "--snr", "clean", "--beam-size", "1"),
        ],
        results=lambda folder: read_files(
            folder / "out", ("*/conditions/*", "*/results.json", "*/noise.json")
        ),
    ),
    Scenario(
        name="import",
        make=make_models,
        arguments=lambda folder: ["import", "fr.fairseq", "model"],
        results=lambda folder: read_files(folder / "model", ("*",)),
        check=check_models,
    ),
    Scenario(
        name="transcribe",
        make=make_clips,
        arguments=lambda folder: ["transcribe", "de.mp4", "-o", "de.srt", "--burn-in", "burnt.mp4"],
        results=lambda folder: read_files(folder, ("de.srt", "burnt.mp4")),
    ),
]


def other_disk() -> Path:
    """A folder on another file system than the work, if there is one."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="avsr-kill-", dir=shared if usable else None))
