"""Six utterances of one second, lips without video, and a model that knows nothing."""

import numpy as np
import pytest
import soundfile
import torch
from fake_recognizer import RATE, tone

from avsr.corpus import Record, write_manifest
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.evaluation import clips
from avsr.model.config import ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel


@pytest.fixture
def manifest(tmp_path):
    """Tones of different pitch in two languages."""
    records = []
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.flac", tone(number), RATE)
        records.append(
            Record(
                utterance_id=f"u{number}",
                media=f"{number}.flac",
                text=f"Word {number}.",
                language=("en", "de")[number % 2],
                split="test" if number < 5 else "valid",
                speaker="s",
            )
        )
    write_manifest(tmp_path / "test.jsonl", records)
    return tmp_path / "test.jsonl"


@pytest.fixture
def lips(monkeypatch):
    """One crop per frame, its grey the frame's number; gives the files read, and [face found]."""
    calls = []

    def track(path, edges=()):
        calls.append(path.name)
        crops = np.arange(25, dtype=np.uint8)[:, None, None] * np.ones((1, 96, 96), np.uint8)
        found = np.full(25, face_found[0])
        return clips.Lips(crops, found, found)

    face_found = [True]
    monkeypatch.setattr(clips, "track", track)
    return calls, face_found


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Directory of a small model with random weights for German and English."""
    torch.manual_seed(1)
    config = ModelConfig(
        encoder=AVHubertConfig(layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=2),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        classifier_channels=8,
        vocabulary_size=20,
        languages=("de", "en"),
    )
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    directory = tmp_path_factory.mktemp("models") / "untrained"
    save_directory(AVSRModel(config, tokenizer).eval(), directory, card="# Untrained\n")
    return directory
