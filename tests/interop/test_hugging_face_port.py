"""Parity with the Hugging Face port: every stage and the best hypotheses, after ``avsr import``."""

import json
import lzma
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from avsr.audio import audio_features
from avsr.cli import app as cli
from avsr.decoder import EOS, PAD, DecoderConfig
from avsr.encoder import normalize_mouth
from avsr.hub import PUBLIC_MODELS, load_network
from avsr.interop import import_model
from avsr.interop.key_table import PORT_DROPPED, foreign_name, from_port, is_dropped, own_name
from avsr.model.config import PRESETS
from avsr.model.network import AVSRModel
from avsr.search import SearchOptions, beam_search

REFERENCE = os.environ.get("AVSR_REFERENCE")
pytestmark = pytest.mark.skipif(
    not (REFERENCE and (Path(REFERENCE) / "hf_port").is_dir()),
    reason="AVSR_REFERENCE is not set, or has no hf_port",
)

CLIPS = range(3)
CASES = ("av", "audio", "video")
SETTINGS = {
    "beam5": {"beam_size": 5, "length_penalty": 1.0},
    "beam5_sum": {"beam_size": 5},
    "beam5_patient": {"beam_size": 5, "length_penalty": 1.0, "patient": True},
    "beam5_nopad": {"beam_size": 5, "length_penalty": 1.0},
    "beam10_nopad": {"beam_size": 10, "length_penalty": 1.0},
}


@pytest.fixture(scope="module", params=["narrow", "true"])
def port(request, tmp_path_factory):
    """A model of the port after ``avsr import``, and the port's own numbers."""
    (source,) = (Path(REFERENCE) / "hf_port" / request.param).glob("AV-HuBERT-*")
    folder = tmp_path_factory.mktemp("port") / source.name
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix == ".xz":
            (folder / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, folder / path.name)
    out = folder.parent / "out"
    assert cli.main(["import", str(folder), str(out)]) == 0
    with np.load(source.parent / "expected.npz") as file:
        expected = {name: file[name] for name in file.files}
    return SimpleNamespace(
        model=load_network(out, "cpu"), expected=expected, folder=folder, imported=out, encoded={}
    )


def close(actual, expected):
    torch.testing.assert_close(actual, torch.from_numpy(expected), atol=1e-4, rtol=0)


def inputs(port, clip, case="av"):
    """Filterbank and mouth of a clip, a batch of one; None for what the case leaves out."""
    mouth = port.expected[f"mouth_{clip}"]
    waveform = port.expected[f"waveform_{clip}"].astype(np.float32) / 32768
    fbank = torch.from_numpy(audio_features(waveform, len(mouth)))[None]
    pixels = normalize_mouth(torch.from_numpy(mouth))[None]
    return None if case == "video" else fbank, None if case == "audio" else pixels


@torch.no_grad()
def encode(port, clip, case):
    """The encoder's output for a clip; it takes most of the time, so it is computed once."""
    if (clip, case) not in port.encoded:
        port.encoded[clip, case] = port.model.encode(*inputs(port, clip, case))
    return port.encoded[clip, case]


def logits(port, encoded):
    tokens = torch.from_numpy(port.expected["tokens"])[None]
    return port.model.decoder(tokens.expand(len(encoded.memory), -1), encoded.memory)


def test_a_model_that_was_saved_once_is_the_same(port, tmp_path):
    folder = tmp_path / port.folder.name
    shutil.copytree(port.folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.lm_head.weight"]
    save_file(weights, folder / "model.safetensors")
    imported = import_model(folder, tmp_path / "out")
    assert set(imported.dropped) == set(weights) & {
        "model.decoder.embed_positions.weights",
        "model.encoder.mask_emb",
        "model.encoder.label_embs_concat",
    }
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        assert (tmp_path / "out" / name).read_bytes() == (port.imported / name).read_bytes()


@pytest.mark.parametrize("clip", CLIPS)
def test_preprocessing(port, clip):
    fbank, pixels = inputs(port, clip)
    close(fbank[0], port.expected[f"fbank_{clip}"])
    if f"pixels_{clip}" in port.expected:
        close(pixels[0], port.expected[f"pixels_{clip}"])


@torch.no_grad()
def test_every_stage(port):
    encoder, outputs = port.model.encoder, {}
    stages = {
        "frontend": encoder.frontend,
        "video_proj": encoder.video_proj,
        "audio_proj": encoder.audio_proj,
        "fusion_norm": encoder.fusion_norm,
        "fused": encoder.fusion_proj,
        "position": encoder.transformer.position,
        **{f"layer_{i}": layer for i, layer in enumerate(encoder.transformer.layers)},
    }
    handles = [
        module.register_forward_hook(lambda m, a, y, name=name: outputs.update({name: y}))
        for name, module in stages.items()
    ]
    port.model.encode(*inputs(port, 0))
    for handle in handles:
        handle.remove()
    names = {name for name in port.expected if name.startswith("av_0.")}
    compared = {f"av_0.{name}" for name in stages} & names
    assert len(compared) == len(stages)
    for name in compared:
        close(outputs[name.removeprefix("av_0.")].squeeze(0), port.expected[name])


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clip", CLIPS)
def test_features_and_logits(port, case, clip):
    encoded = encode(port, clip, case)
    close(encoded.features[0], port.expected[f"{case}_{clip}.features"])
    close(logits(port, encoded)[0], port.expected[f"{case}_{clip}.logits"])


@torch.no_grad()
def test_batches(port):
    clips = [inputs(port, clip) for clip in CLIPS]
    shortest = min(fbank.shape[1] for fbank, _ in clips)
    same_length = [
        torch.cat([part[:, :shortest] for part in parts]) for parts in zip(*clips, strict=True)
    ]
    close(port.model.encode(*same_length).features, port.expected["equal.features"])
    lengths = torch.tensor([fbank.shape[1] for fbank, _ in clips])
    padding_mask = torch.arange(lengths.max())[None] >= lengths[:, None]
    fbank, mouth = (
        torch.nn.utils.rnn.pad_sequence([part[0] for part in parts], batch_first=True)
        for parts in zip(*clips, strict=True)
    )
    encoded = port.model.encode(fbank, mouth, padding_mask)
    tokens = torch.from_numpy(port.expected["tokens"])[None].expand(len(clips), -1)
    batched = port.model.decoder(tokens, encoded.memory, encoded.memory_padding_mask)
    for clip, length in enumerate(lengths.tolist()):
        close(encoded.features[clip, :length], port.expected[f"av_{clip}.features"])
        close(batched[clip], port.expected[f"av_{clip}.logits"])


def search(port, clip, case, max_length, pad=EOS, **options):
    """The best hypothesis; a ``pad`` of EOS lets the search take every token, as the port does."""
    encoded = encode(port, clip, case)
    with torch.no_grad():
        ((best,),) = beam_search(
            port.model.decoder.step,
            port.model.decoder.start(encoded.memory, encoded.memory_padding_mask),
            sos=EOS,
            eos=EOS,
            pad=pad,
            max_lengths=torch.tensor([max_length - 2]),  # the port counts start and end
            options=SearchOptions(ctc_weight=0.0, min_len=0, **options),
        )
    return best


def best_of(sequence):
    """Tokens between start and end."""
    tokens = np.atleast_2d(sequence)[0].tolist()
    assert tokens[0] == EOS
    end = tokens.index(EOS, 1)
    assert set(tokens[end + 1 :]) <= {PAD}
    return tokens[1:end]


@pytest.mark.parametrize("setting", ["greedy", *SETTINGS])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clip", CLIPS)
def test_the_best_hypothesis(port, case, clip, setting):
    name = f"{case}_{clip}.{setting}"
    limit = len(port.expected[f"mouth_{clip}"]) + 12
    options = SETTINGS.get(setting, {"beam_size": 1})
    pad = PAD if setting.endswith("nopad") else EOS
    best = search(port, clip, case, limit, pad, **options)
    assert list(best.tokens) == best_of(port.expected[f"{name}.sequences"])
    if f"{name}.scores" in port.expected:
        assert math.isclose(best.score, port.expected[f"{name}.scores"][0], abs_tol=1e-4)


@pytest.mark.parametrize("clip", CLIPS)
def test_the_texts(port, clip):
    greedy = search(port, clip, "av", 1024, beam_size=1)
    assert list(greedy.tokens) == best_of(port.expected[f"av_{clip}.readme"])
    limit = len(port.expected[f"mouth_{clip}"]) + 12
    beam = search(port, clip, "av", limit, **SETTINGS["beam5"])
    for best, name in ((greedy, "texts_readme"), (beam, "texts_beam5")):
        assert port.model.tokenizer.decode(best.tokens) == port.expected[name][clip]


@pytest.mark.parametrize(
    ("size", "decoder", "public"),
    [
        ("others", DecoderConfig(layers=6, dim=768, ffn_dim=3072, heads=4), "muavic-es"),
        ("en", PRESETS["large"].decoder, "muavic-en"),
    ],
)
def test_every_name_of_a_file_of_true_size(size, decoder, public):
    files = json.loads((Path(REFERENCE) / "hf_port/names_true_size.json").read_text())
    shapes = {name: tuple(shape) for name, (shape, _) in files[size]["names"].items()}
    renamed = {name: from_port(name) for name in shapes if name not in PORT_DROPPED}
    imported = {own_name(r): shapes[n] for n, r in renamed.items() if not is_dropped(r)}
    weights = AVSRModel.on_meta(replace(PRESETS["large"], decoder=decoder)).state_dict()
    assert imported == {n: tuple(w.shape) for n, w in weights.items() if foreign_name(n)}
    (model,) = [model for model in PUBLIC_MODELS if model.name == public]
    assert model.size == files[size]["bytes"]
