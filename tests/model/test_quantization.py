"""bf16 and int8: arithmetic by hand, every way of storing against every way of computing."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from avsr.cli import app as cli
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ModelError
from avsr.hub import load_network
from avsr.interop import convert_model, export_fairseq
from avsr.layers.linear import LinearActivation, PackedLinear
from avsr.model.config import ModelConfig
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.model.quantization import BFloat16Linear, Int8Linear, linear_layers, quantize
from avsr.model.weights import choose_precision, stored_precision

ROOT = Path(__file__).parents[2]
CONFIG = ModelConfig(
    encoder=AVHubertConfig(layers=2, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=2),
    decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
    classifier_channels=8,
    vocabulary_size=20,
    languages=("de", "en"),
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same model in directories called fp32, bf16 and int8."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    save_directory(
        AVSRModel(CONFIG, tokenizer).eval(), folder / "fp32", card="# card\n", half=False
    )
    for precision in ("bf16", "int8"):
        folders = [str(folder / "fp32"), str(folder / precision)]
        assert cli.main(["export", *folders, "--precision", precision]) == 0
    return folder


@torch.no_grad()
def outputs(model):
    """Outputs for noise: features, CTC scores, language logits, scores of two decoder steps."""
    generator = torch.Generator().manual_seed(1)
    fbank = torch.randn(2, 9, 104, generator=generator)
    mouth = torch.randn(2, 9, 88, 88, generator=generator)
    mask = torch.arange(9)[None] >= torch.tensor([[9], [6]])
    encoded = model.encode(fbank, mouth, mask)
    state = model.decoder.start(encoded.memory, encoded.memory_padding_mask, torch.tensor([0, 1]))
    log_probs, state = model.decoder.step(torch.tensor([2, 2]), state)
    after, _ = model.decoder.step(torch.tensor([5, 6]), state)
    return [
        encoded.features[~mask],
        model.ctc_log_probs(encoded)[~mask],
        model.language_logits(encoded),
        log_probs,
        after,
    ]


def test_int8_keeps_every_weight_within_half_a_step():
    weight = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)) * torch.logspace(
        -3, 2, 6
    ).unsqueeze(1)
    weight[3] = 0.0
    rows, scale = quantize(weight)
    assert rows.dtype == torch.int8
    assert (rows[[0, 1, 2, 4, 5]].abs().amax(1) == 127).all()
    assert ((rows * scale[:, None] - weight).abs() <= 0.5001 * scale[:, None]).all()
    assert not rows[3].any()


@pytest.mark.parametrize("few_rows", [True, False])
def test_an_int8_layer_computes_what_integers_do(few_rows):
    generator = torch.Generator().manual_seed(0)
    rows, scale = quantize(torch.randn(40, 64, generator=generator))
    bias = torch.randn(40, generator=generator)
    layer = Int8Linear(nn.Linear(64, 40), rows, scale, bias, few_rows)
    x = torch.randn(3, 5, 64, generator=generator) * torch.tensor([1e-3, 1.0, 300.0])[:, None, None]
    x[1, 2] = 0.0
    levels = float(layer.levels)
    peak = x.abs().amax(-1, keepdim=True).clamp(min=1e-12).double()
    whole = np.floor(x.double() * levels / peak + 0.5).long()
    exact = (whole @ rows.long().T) * scale.double() * peak / levels + bias
    y = layer(x)
    assert y.dtype == torch.float32
    # A value between two levels may go either way in fp32: one level of one input.
    near = 1e-5 * exact.abs().amax() + scale.max() * 128 * peak / levels
    assert ((y - exact).abs() <= near).all()
    assert float((y - exact).abs().median()) < 1e-4
    for i in range(3):
        for j in range(5):
            torch.testing.assert_close(layer(x[i, j]), y[i, j], rtol=1e-6, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_activations_are_applied(activation):
    layer = LinearActivation(24, 40, activation)
    x = torch.randn(7, 24, generator=torch.Generator().manual_seed(0))
    for low in (
        Int8Linear(layer, layer.weight, None, layer.bias),
        BFloat16Linear(layer, layer.weight, layer.bias),
        PackedLinear(layer, layer.weight, layer.bias, torch.bfloat16),
    ):
        torch.testing.assert_close(low(x), layer(x), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("stored_in", ["fp32", "bf16", "int8"])
def test_every_precision_computes_nearly_the_same(stored, stored_in):
    assert stored_precision(stored / stored_in / "model.safetensors") == stored_in
    exact = outputs(load_network(stored / "fp32", "cpu", "fp32"))
    for precision in ("fp32", "bf16", "int8"):
        model = load_network(stored / stored_in, "cpu", precision)
        assert model.precision == precision
        if precision == "bf16":  # as on GPUs
            unpacked = load_directory(stored / stored_in, precision)
            for one, other in zip(outputs(unpacked), outputs(model), strict=True):
                torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)
        for actual, expected in zip(outputs(model), exact, strict=True):
            assert actual.dtype == torch.float32
            error = float((actual - expected).norm() / expected.norm())
            assert error <= (1e-6 if stored_in == precision == "fp32" else 0.03), (precision, error)
            assert stored_in == precision == "fp32" or error > 0
    assert load_network(stored / stored_in, "cpu").precision == stored_in


def test_a_stored_model_is_what_a_conversion_gives(stored):
    for precision in ("bf16", "int8"):
        stored_so = outputs(load_network(stored / precision, "cpu"))
        converted = outputs(load_network(stored / "fp32", "cpu", precision))
        for one, other in zip(stored_so, converted, strict=True):
            assert torch.equal(one, other)


def test_int8_takes_a_byte_for_each_weight_and_says_so(stored):
    plain = load_file(stored / "fp32/model.safetensors")
    weights = load_file(stored / "int8/model.safetensors")
    layers = linear_layers(AVSRModel.on_meta(CONFIG))
    assert "encoder.transformer.layers.1.ffn_in" in layers
    assert {"decoder.layers.0.cross_attention.key", "ctc"} <= set(layers)
    assert not any(name.startswith("classifier") for name in layers)
    for name, weight in plain.items():
        matrix = name.removesuffix(".weight") in layers and name.endswith(".weight")
        assert weights[name].dtype == (torch.int8 if matrix else weight.dtype)
    assert len(weights) == len(plain) + len(layers)
    assert "int8" in (stored / "int8/README.md").read_text()


def test_impossible_requests_are_refused_in_a_line(stored, tmp_path, capsys):
    with pytest.raises(ModelError, match="precision 'int4' is not one of"):
        load_network(stored / "fp32", "cpu", "int4")
    with pytest.raises(ModelError, match="cannot be saved: load it in fp32"):
        save_directory(load_network(stored / "int8", "cpu"), tmp_path / "again", card="")
    plain = tmp_path / "plain"
    encoder = dataclasses.replace(CONFIG.encoder, prompts=0)
    encoder_only = AVSRModel(dataclasses.replace(CONFIG, encoder=encoder, parts=("encoder",)))
    save_directory(encoder_only, plain, card="")
    convert_model(plain, plain / "int8", "int8")
    with pytest.raises(ModelError, match="export the model that it was made from"):
        export_fairseq(plain / "int8", tmp_path / "out")
    with pytest.raises(ModelError, match="into another directory"):
        convert_model(stored / "fp32", stored / "fp32", "int8")
    path, gpu = stored / "int8/model.safetensors", torch.device("cuda")
    with pytest.raises(ModelError, match="CPUs only"):
        choose_precision("int8", path, gpu)
    assert choose_precision("auto", path, gpu) == "bf16"
    assert choose_precision("auto", stored / "fp32/model.safetensors", gpu) == "auto"
    both = ["export", "tiny", str(tmp_path / "x"), "--format", "fairseq", "--precision", "int8"]
    assert cli.main(both) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_a_matrix_without_its_scale_is_a_broken_file(stored, tmp_path):
    weights = load_file(stored / "int8/model.safetensors")
    del weights["ctc.weight_scale"]
    for path in (stored / "int8").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"ctc\.weight is in int8 and has no scale"):
        load_network(tmp_path, "cpu")


def test_the_bundled_model_writes_the_same_in_every_precision(capsys):
    clip = ROOT / "demo/examples/de.mp4"
    texts = []
    for precision in ("fp32", "bf16", "int8"):
        assert cli.main(["transcribe", str(clip), "--precision", precision, "--device", "cpu"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].split("  ")[2].strip()
    assert texts[0] == texts[1] == texts[2]
