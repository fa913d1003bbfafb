"""Every recipe parses, and dry-runs on a miniature of its corpus in that corpus's layout."""

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import yaml

from avsr.cli import app as cli
from avsr.corpus import read_manifest
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.evaluation.config import read_evaluation_config
from avsr.languages import MUAVIC_LANGUAGES
from avsr.media import write_video
from avsr.model.config import PRESETS, ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.synthetic import synthesize
from avsr.training.config import read_config

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FOLDERS = sorted(path.name for path in RECIPES.iterdir() if path.is_dir())
SMALL = ModelConfig(
    encoder=AVHubertConfig(
        layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, position_kernel=8, prompts=2
    ),
    decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
    classifier_channels=8,
)


def texts(count, words, seed=0):
    """Make random sentences, enough for a large vocabulary."""
    rng = np.random.default_rng(seed)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    return [
        " ".join("".join(rng.choice(letters, rng.integers(3, 8))) for _ in range(words))
        for _ in range(count)
    ]


def save_model(folder, vocabulary_size=60, sentences=None):
    """Write a model directory of SMALL sizes."""
    tokenizer = Tokenizer.train(sentences or texts(60, 20), vocabulary_size)
    config = ModelConfig(
        encoder=SMALL.encoder,
        decoder=SMALL.decoder,
        classifier_channels=8,
        vocabulary_size=vocabulary_size,
    )
    save_directory(AVSRModel(config, tokenizer), folder, card="small")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder to work in, where every preset is small."""
    monkeypatch.chdir(tmp_path)
    for name in PRESETS:
        monkeypatch.setitem(PRESETS, name, SMALL)
    return tmp_path


def dry_run(recipe, capsys):
    assert cli.main(["train", str(RECIPES / recipe), "--dry-run"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_recipe_is_whole_and_its_parts_fit(folder):
    for name in ("train.yaml", "evaluate.yaml", "README.md", "RESULTS.md"):
        assert (RECIPES / folder / name).is_file(), name
    for path in (RECIPES / folder).glob("*.yaml"):
        if path.name != "evaluate.yaml":
            read_config(path)
    training = read_config(RECIPES / folder / "train.yaml")
    evaluation = read_evaluation_config(RECIPES / folder / "evaluate.yaml")
    assert evaluation.model in (None, f"{training.out}/model")
    assert set(evaluation.languages or training.languages) == set(training.languages)
    assert list(evaluation.conditions())


@pytest.mark.parametrize("folder", [name for name in FOLDERS if name.startswith("muavic")])
def test_muavic(folder, home, muavic, capsys):
    for language in MUAVIC_LANGUAGES:
        for split, count in (("train", 5), ("valid", 1)):
            names = [f"t{i}/t{i}_0000" for i in range(count)]
            sentences = texts(count, 100, seed=hash_of(language))
            muavic.write_list(
                home / "muavic", language, split, list(zip(names, sentences, strict=True))
            )
            for name in names:
                muavic.write_segment(home / "muavic", language, split, name)
    save_model(home / "models/avhubert-large")
    assert cli.main(["prepare", "muavic", "muavic", "data/muavic"]) == 0
    plan = dry_run(f"{folder}/train.yaml", capsys)
    assert "joint: " in plan
    assert not (home / "runs").exists()


def hash_of(language):
    return int.from_bytes(language.encode(), "big")


def test_grid(home, capsys):
    portrait = skimage.data.astronaut()[:300, 90:390]
    sound = np.random.default_rng(0).normal(0, 0.1, 640 * 12).clip(-1, 1).astype(np.float32)
    clip = home / "clip.mp4"
    write_video(clip, iter([portrait] * 12), waveform=sound)
    kinds = ("blps", "bgrw", "abiw", "abcdefghijklmnopqrstuvxyz", "z123456789", "anps")
    sentences = [
        "".join(kind[(7 * i + k) % len(kind)] for k, kind in enumerate(kinds)) for i in range(40)
    ]
    for speaker, names in (
        ("s3", sentences),
        *((f"s{k}", sentences[:1]) for k in (1, 2, 20, 22, 33, 34)),
    ):
        (home / "grid" / speaker).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(clip, home / "grid" / speaker / f"{name}.mpg")
    save_model(home / "avsr/assets/tiny")
    splits = ["--valid-speakers", "s2,s22", "--test-speakers", "s1,s20,s33,s34"]
    assert cli.main(["prepare", "grid", "grid", "data/grid", *splits]) == 0
    assert "joint: 8000 updates" in dry_run("grid/train.yaml", capsys)


def test_synthetic(home, capsys):
    synthesize("data/synthetic", hours=0.02, valid_hours=0.005, clips=0)
    synthesize("data/synthetic-sound", hours=0.02, valid_hours=0.005, clips=0, video_fraction=0)
    for copy in ("synthetic-rare", "grid"):
        shutil.copytree("data/synthetic", f"data/{copy}")
    for copy in ("synthetic-rare-sound", "grid-sound"):
        shutil.copytree("data/synthetic-sound", f"data/{copy}")
    records = [
        r
        for name in ("synthetic", "synthetic-sound")
        for r in read_manifest(f"data/{name}/train.jsonl")
    ]
    for run in ("sound", "lips"):
        save_model(home / "runs" / run / "model", 200, [record.text for record in records])
    for recipe in sorted((RECIPES / "synthetic").glob("*.yaml")):
        if recipe.name != "evaluate.yaml":
            assert "updates of" in dry_run(f"synthetic/{recipe.name}", capsys)


def test_the_ablation_changes_one_thing_at_a_time(tmp_path):
    spec = importlib.util.spec_from_file_location("ablation", RECIPES / "synthetic/ablation.py")
    ablation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablation)
    recipes = {}
    for variant in ablation.VARIANTS:
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(ablation.recipe(Path("out"), Path("data"), variant, 2, 50)))
        recipes[variant] = dataclasses.asdict(read_config(path))
    paper = recipes.pop("the paper's")
    differences = {
        variant: {k for k, v in recipe.items() if v != paper[k]}
        | {k for k, v in recipe["stages"][1].items() if v != paper["stages"][1][k]}
        for variant, recipe in recipes.items()
    }
    assert differences == {
        "attention only": {"stages", "ctc_loss_weight"},
        "without gamma": {"stages", "balance"},
        "without prompts": {"prompts"},
    }
    rows = [
        {
            "average": {"wer": w},
            "by_language": {code: {"wer": w} for code in ablation.LANGUAGES},
        }
        for w in (0.2, 0.4)
    ]
    assert ablation.table({"x": rows}, "wer").splitlines()[-1].endswith("| 30.0 ± 14.1 |")
