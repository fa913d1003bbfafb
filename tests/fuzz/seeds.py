"""Small good inputs of every kind, which the fuzz changes."""

import contextlib
import csv
import itertools
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import skimage.data
import soundfile
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from avsr.corpus import Record, ShardWriter, write_manifest
from avsr.decoder import BOS, EOS, DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.evaluation import EvaluationConfig, evaluate, write_report
from avsr.hub import ASSETS
from avsr.interop import export_fairseq, import_model
from avsr.model.config import ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.model.reliability import MIN_CLIPS, STATISTICS, fit_reliability
from avsr.search import NgramModel
from tests.conftest import write_clip, write_speechbrain_folder

SMALL = ModelConfig(
    encoder=AVHubertConfig(
        layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, position_kernel=8, prompts=2
    ),
    decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
    classifier_channels=8,
    vocabulary_size=18,
    languages=("de", "en", "fr"),
)
TEXTS = {"de": "ein satz", "en": "a line", "fr": "un mot"}
MEDIA = {  # name: video codec, sound codec
    "a.mp4": ("libx264", "aac"),
    "b.mov": ("mpeg4", "pcm_s16le"),
    "c.mkv": ("libx264", "flac"),
    "d.webm": ("libvpx", "libopus"),
    "e.avi": ("mpeg4", "libmp3lame"),
    "f.ts": ("mpeg2video", "mp2"),
    "g.mpg": ("mpeg1video", "mp2"),
    "h.flv": ("flv", "libmp3lame"),
    "i.wmv": ("wmv2", "libmp3lame"),
    "k.wav": (None, "pcm_s16le"),
    "l.mp3": (None, "libmp3lame"),
    "m.flac": (None, "flac"),
    "n.ogg": (None, "libopus"),
    "o.m4a": (None, "aac"),
    "p.mka": (None, "ac3"),
}


def make_seeds(folder: Path) -> None:
    """Write media, models, shards, the run of an evaluation, manifests and recipes to a folder."""
    torch.manual_seed(0)
    random = Random(0)
    _make_media(folder / "media")
    tokenizer = Tokenizer.train([*TEXTS.values()] * 10, SMALL.vocabulary_size)
    network = AVSRModel(SMALL, tokenizer).eval()
    texts = [tokenizer.encode(text) for text in TEXTS.values()] * 5
    network.language_models = {
        code: NgramModel.train(
            texts, order=2, vocabulary_size=SMALL.vocabulary_size, bos=BOS, eos=EOS, min_count=1
        )
        for code in SMALL.languages
    }
    rows = [{name: random.gauss(0, 1) for name in STATISTICS} for _ in range(MIN_CLIPS)]
    network.reliability = fit_reliability([rows])
    save_directory(network, folder / "small", card="Licence: none\n")
    (folder / "model").symlink_to("small")
    write_speechbrain_folder(folder / "speechbrain")
    import_model(folder / "speechbrain", folder / "language")
    encoder = replace(SMALL.encoder, prompts=0)
    config = replace(SMALL, encoder=encoder, languages=("de",), parts=("encoder", "decoder"))
    plain = AVSRModel(config, tokenizer).eval()
    save_directory(plain, folder / "plain", card="Licence: none\n")
    export_fairseq(folder / "plain", folder / "fairseq")
    _make_port(folder / "port", plain)
    _make_corpus(folder / "corpus")
    _make_texts(folder)
    with contextlib.chdir(folder):
        config = EvaluationConfig(
            manifest="manifest.jsonl",
            model="small",  # the name of a folder called "model" would be its parent's
            out="runs",
            modalities=("audio",),
            snr_db=("clean", 0),
            limit=2,
        )
        run = evaluate(config, device="cpu")
        write_report(run)


def _make_media(folder: Path) -> None:
    folder.mkdir(parents=True)
    face = skimage.data.astronaut()[:240, 60:380]
    for name, (video, audio) in MEDIA.items():
        write_clip(
            folder / name,
            event=0.1,
            duration=0.6,
            video_codec=video,
            audio_codec=audio,
            audio_rate=48_000 if audio == "libopus" else 44_100,
            rate=Fraction(25),
            picture=face if name in ("a.mp4", "d.webm") else None,
        )
    speech, rate = soundfile.read(ASSETS / "noise" / "speech.flac", frames=16_000)
    for name in ("k.wav", "m.flac"):
        soundfile.write(folder / name, speech, rate)
    frames = [Image.fromarray(np.roll(face[::4, ::4], shift, 1)) for shift in range(6)]
    frames[0].save(folder / "j.gif", save_all=True, append_images=frames[1:], duration=100)


def _make_port(folder: Path, network: AVSRModel) -> None:
    """Write a directory of the Hugging Face port."""
    from avsr.interop.key_table import foreign_name, to_port

    folder.mkdir()
    weights = {
        to_port(foreign): weight.contiguous()
        for name, weight in network.state_dict().items()
        if (foreign := foreign_name(name))
    }
    save_file(weights, folder / "model.safetensors")
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps(heads))
    assert network.tokenizer is not None
    (folder / "sentencepiece.bpe.model").write_bytes(network.tokenizer.model)
    pieces = network.tokenizer.pieces(range(SMALL.vocabulary_size))
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))


def _make_corpus(folder: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("valid", 3)):
        with ShardWriter(folder, split) as writer:
            for i, language in zip(range(count), itertools.cycle(TEXTS), strict=False):
                record = Record(
                    utterance_id=f"{split}-{i}",
                    media="x.tar",
                    start=0.0,
                    end=0.4,
                    text=TEXTS[language],
                    language=language,
                    split=split,
                    speaker=f"{split}-s",
                    phones=[{"phone": language[0], "start": 0.1, "end": 0.3}],
                    words=[{"word": "ein", "start": 0.1, "end": 0.3}],
                )
                mouth = random.integers(0, 255, (10, 96, 96), np.uint8) if i < 4 else None
                writer.write(record, random.normal(0, 0.1, 6400).clip(-1, 1), mouth)


def _make_texts(folder: Path) -> None:
    records = [
        Record(
            utterance_id=f"u{i}",
            media=f"media/{name}",
            text="ein satz",
            language=language,
            split=split,
            speaker=split,
            start=0.1 * i,
            end=0.5,
            title="A title",
            words=[{"word": "ein", "start": 0.0, "end": 0.2}],
        )
        for i, (name, language, split) in enumerate(
            [("a.mp4", "de", "train"), ("k.wav", "en", "train"), ("m.flac", "fr", "valid")]
        )
    ]
    write_manifest(folder / "manifest.jsonl", records)
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = [json.loads(record.to_json()) for record in records]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"words": json.dumps(row["words"])} for row in rows)
    stage = {
        "name": "all",
        "updates": 2,
        "train": "all",
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "warmup": 0.1,
        "decay": 0.5,
        "batch_frames": 60,
        "video_batch_frames": 60,
        "modalities": {"av": 0.5, "audio": 0.25, "video": 0.25},
        "noises": {"babble": 1.0},
        "noise_probability": 0.5,
        "mask_probability": 0.5,
        "snr_db": [-5, 5],
        "balance": True,
        "phone_loss_weight": 1.0,
        "guide_loss_weight": 0.1,
        "offset_probability": 0.5,
        "offset_ms": 80,
        "reliability_loss_weight": 1.0,
        "wrong_lips_probability": 0.2,
        "lips_drop_probability": 0.2,
        "sound_drop_probability": 0.2,
    }
    recipe = {
        "out": "out",
        "init": "model",
        "languages": list(TEXTS),
        "vocabulary_size": 18,
        "lm_order": 2,
        "reliability": True,
        "seed": 1,
        "devices": 1,
        "precision": "32-true",
        "corpora": [{"path": "corpus", "split": "train", "repeat": 1}],
        "validation": [{"path": "corpus", "split": "valid"}],
        "checkpoint_every": 2,
        "validate_every": 2,
        "average_checkpoints": 1,
        "stages": [stage],
    }
    evaluation = {
        "manifest": "manifest.jsonl",
        "model": "model",
        "out": "results",
        "split": "train",
        "languages": ["en"],
        "limit": 1,
        "modalities": ["audio"],
        "language_modes": ["auto"],
        "noises": ["babble"],
        "snr_db": ["clean", 0],
        "snr_over": "clip",
        "video_corruptions": ["clean"],
        "seed": 0,
        "beam_size": 2,
        "ctc_weight": 0.3,
        "lm_weight": 0.0,
        "precision": "fp32",
        "sync": True,
        "batch_size": 2,
        "cache": "cache",
    }
    models = {"models": {"de": "model", "en": "model"}, "language_id": "language"}
    for name, values in {"train": recipe, "evaluate": evaluation, "set": models}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
