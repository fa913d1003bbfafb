"""A corpus of a few random utterances and recipes that train a small network on it."""

import numpy as np
import pytest
import yaml

from avsr.corpus import Record, ShardWriter
from avsr.decoder import DecoderConfig
from avsr.encoder import AVHubertConfig
from avsr.hub import load_network
from avsr.model.config import PRESETS, ModelConfig

SMALL = ModelConfig(
    encoder=AVHubertConfig(
        layers=1,
        dim=32,
        ffn_dim=48,
        heads=4,
        frontend_width=4,
        position_kernel=8,
        prompts=2,
        dropout=0.0,
    ),
    decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
    classifier_channels=8,
)
TEXTS = {"de": "ein satz", "en": "a line", "fr": "un mot"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("valid", 3)):
        with ShardWriter(folder, split) as writer:
            for i in range(count):
                language = list(TEXTS)[i % 3]
                record = Record(
                    utterance_id=f"{split}-{i}",
                    media="x.tar",
                    start=0.0,
                    end=0.4,
                    text=TEXTS[language],
                    language=language,
                    split=split,
                    speaker="s",
                    phones=[{"phone": language[0], "start": 0.1, "end": 0.3}],
                )
                mouth = rng.integers(0, 255, (10, 96, 96), np.uint8) if i < 9 else None
                writer.write(record, rng.normal(0, 0.1, 6400).clip(-1, 1), mouth)
    return folder


@pytest.fixture
def plots():
    """Let runs draw their plots, which take longer than their training."""


@pytest.fixture
def recipe(corpus, tmp_path, monkeypatch, request):
    """``recipe(out, stages, ...)`` writes a recipe. Its runs draw no plots and little babble."""
    monkeypatch.setitem(PRESETS, "tiny", SMALL)
    monkeypatch.setattr("avsr.augmentation.noise_sources.POOL_BABBLE", 2)
    if "plots" not in request.fixturenames:
        for name in ("plot_balance", "plot_curves", "plot_languages"):
            monkeypatch.setattr(f"avsr.training.run.{name}", lambda *_: None)

    def write(out, stages, **more):
        path = tmp_path / "train.yaml"
        values = {
            "out": str(tmp_path / out),
            "languages": list(TEXTS),
            "vocabulary_size": 18,
            "precision": "32-true",
            "corpora": [{"path": str(corpus)}],
            "validation": [{"path": str(corpus), "split": "valid"}],
            "checkpoint_every": 2,
            "validate_every": 2,
            "stages": stages,
        }
        path.write_text(yaml.safe_dump(values | more))
        return path

    return write


def weights(directory):
    return load_network(directory, "cpu").state_dict()


def stage(name="all", updates=4, **more):
    return {
        "name": name,
        "updates": updates,
        "batch_frames": 60,
        "video_batch_frames": 60,
        "phone_loss_weight": 1.0,
        "guide_loss_weight": 0.1,
    } | more
