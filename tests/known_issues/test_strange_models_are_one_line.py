"""Strange values in the files of a model were believed, or ended in a Python error.

Each is now refused in one line, before anything is written.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsr.cli import app as cli
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import AvsrError, ModelError
from avsr.hub import load_network
from avsr.interop import import_model
from avsr.interop.ecapa_import import read_labels
from avsr.interop.key_table import foreign_name, to_port
from avsr.interop.vocabulary import read_dictionary
from avsr.model.config import ModelConfig
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.model.reliability import STATISTICS, fit_reliability, read_reliability

DEEP = "[" * 100_000
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}


def make_model():
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=0, position_kernel=8
        ),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        vocabulary_size=20,
        languages=("de",),
        parts=("encoder", "decoder"),
    )
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    return AVSRModel(config, tokenizer).eval()


@pytest.fixture
def port(tmp_path):
    """A directory of the Hugging Face port."""
    folder = tmp_path / "port"
    folder.mkdir()
    model = make_model()
    weights = {
        to_port(foreign_name(name)): weight.contiguous()
        for name, weight in model.state_dict().items()
        if foreign_name(name)
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(HEADS))
    (folder / "sentencepiece.bpe.model").write_bytes(model.tokenizer.model)
    pieces = model.tokenizer.pieces(range(20))
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    return folder


@pytest.fixture
def own(tmp_path):
    """A model directory."""
    save_directory(make_model(), tmp_path / "own", card="card")
    return tmp_path / "own"


def refusal(port):
    out = port.parent / "out"
    with pytest.raises(ModelError) as caught:
        import_model(port, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


@pytest.mark.parametrize("heads", ["1.0", "true", "NaN", '"4"', "null", "0", "-2", "[4]", "1e400"])
@pytest.mark.parametrize("name", HEADS)
def test_heads_are_whole_numbers(port, name, heads):
    text = json.dumps(HEADS | {name: "?"}).replace('"?"', heads)
    (port / "config.json").write_text(text)
    assert f"{name} is " in (message := refusal(port))
    assert message.endswith(", not a whole number above 0")


@pytest.mark.parametrize("key", ["heads", "layers", "prompts"])
def test_sizes_of_a_model_directory_are_whole_numbers(own, key):
    settings = json.loads((own / "config.json").read_text())
    settings["encoder"][key] = float(settings["encoder"][key])
    (own / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=rf"encoder: {key} is \d\.0, not a whole number"):
        load_directory(own)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "bool", "complex64"])
def test_weights_are_floats(port, dtype):
    weights = load_file(port / "model.safetensors")
    changed = {name: weight.to(getattr(torch, dtype)) for name, weight in weights.items()}
    save_file(changed, port / "model.safetensors")
    assert f" is in {dtype}, no floats" in refusal(port)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floats_of_any_size_are_taken(port, dtype):
    weights = load_file(port / "model.safetensors")
    changed = {name: weight.to(getattr(torch, dtype)) for name, weight in weights.items()}
    save_file(changed, port / "model.safetensors")
    import_model(port, port.parent / "out")
    load_directory(port.parent / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_are_finite(port, value):
    weights = load_file(port / "model.safetensors")
    changed = {name: weight.float() * value for name, weight in weights.items()}
    save_file(changed, port / "model.safetensors")
    assert " is not finite" in refusal(port)


def test_deep_files_are_broken_ones(port, own, tmp_path):
    (port / "config.json").write_text(DEEP)
    assert "config.json is broken: " in refusal(port)
    (port / "vocab.json").write_text(DEEP)
    with pytest.raises(ModelError, match="is not a dictionary"):
        read_dictionary(port / "vocab.json")
    (own / "config.json").write_text(DEEP)
    with pytest.raises(ModelError, match=r"config\.json is broken"):
        load_directory(own)


def test_weights_in_several_parts_are_named(port):
    (port / "model.safetensors").rename(port / "model-00001-of-00001.safetensors")
    (port / "model.safetensors.index.json").write_text("{}")
    assert refusal(port).endswith("its weights are in several parts, which avsr does not read")


@pytest.mark.parametrize("label", ["", " "])
def test_labels_are_not_empty(tmp_path, label):
    path = tmp_path / "label_encoder.txt"
    path.write_text(f"'de' => 0\n'{label}' => 1\n{'=' * 16}\n")
    with pytest.raises(ModelError, match=r"is no file of labels: .* is no label"):
        read_labels(path)


def calibration():
    rows = [dict.fromkeys(STATISTICS, 1.0), dict.fromkeys(STATISTICS, 2.0)] * 30
    return json.loads(fit_reliability([rows]).to_json())


def changed(**values):
    return json.dumps(calibration() | values)


def statistic(text):
    content = calibration()
    content["statistics"]["token_score"]["spread"] = "?"
    return json.dumps(content).replace('"?"', text)


@pytest.mark.parametrize(
    "text",
    [
        *("{}", "[]", "3", DEEP, '{"format": 1}', "\ufeff{}"),
        *(
            statistic(text)
            for text in ("0", "-1", "NaN", "Infinity", "1e400", "null", "true", DEEP)
        ),
        statistic("1" * 400),
        changed(clips="?").replace('"?"', "1e400"),
        changed(clips=None),
        changed(threshold=float("nan")),
        changed(threshold=float("-inf")),
        changed(advice=None),
        changed(advice="one\ntwo"),
        changed(advice="one\u2028two"),
        changed(statistics=[]),
        changed(statistics={"token_score": 3}),
        changed(statistics={"word\nx": {"median": 0, "spread": 1, "limit": 0}}),
        changed(data={}),
    ],
)
def test_a_strange_calibration_is_a_broken_one(tmp_path, text):
    (tmp_path / "reliability.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        read_reliability(tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{tmp_path / 'reliability.json'} is broken: ")
    assert message.endswith("; delete it or run 'avsr calibrate'")


def test_advice_becomes_one_line(tmp_path):
    rows = [dict.fromkeys(STATISTICS, 1.0)] * 60
    (tmp_path / "reliability.json").write_text(fit_reliability([rows], "one\ntwo").to_json())
    assert read_reliability(tmp_path).advice == "one two"


def test_a_broken_calibration_is_replaced(own, monkeypatch, capsys):
    (own / "reliability.json").write_text("{}")
    with pytest.raises(AvsrError, match="is broken"):
        load_network(own, "cpu")
    rows = [dict.fromkeys(STATISTICS, 1.0)] * 60
    monkeypatch.setattr(
        "avsr.evaluation.calibration.calibrate",
        lambda network, manifests, *, advice, **options: fit_reliability([rows], advice),
    )
    assert cli.main(["calibrate", str(own), "valid.jsonl"]) == 0, capsys.readouterr().err
    assert read_reliability(own).clips == 60
