"""ECAPA: compared with speechbrain's numbers, stage by stage, and with a plain forward pass."""

import csv
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avsr.audio.mel_decibels import compute_mel_decibels
from avsr.errors import ConfigError
from avsr.interop import import_model
from avsr.interop.ecapa_import import convert_ecapa, label_code, read_labels
from avsr.interop.safe_unpickler import read_checkpoint
from avsr.language.ecapa import Ecapa, EcapaConfig, subtract_mean, valid_frames
from avsr.languages import is_language_code
from avsr.layers.linear import LinearActivation
from avsr.recognition.language_id import ecapa_probabilities, load_language_model

BATCH = ("speech_3s", "batch_row1", "batch_row2")


def make_model(weights, labels=("de", "en", "he")):
    config, converted = convert_ecapa(weights, tuple(labels), "test")
    model = Ecapa(config)
    model.load_state_dict(converted)
    return model.eval()


def plain_scores(weights, x):
    """The definition, with convolutions: (1, filters, T) -> (1, labels)."""

    def norm(name, x):
        mean, var = weights[f"{name}.norm.running_mean"], weights[f"{name}.norm.running_var"]
        scale = weights[f"{name}.norm.weight"] / (var + 1e-5).sqrt()
        shape = (1, -1, 1) if x.dim() == 3 else (1, -1)
        shift = weights[f"{name}.norm.bias"] - mean * scale
        return x * scale.view(shape) + shift.view(shape)

    def conv(name, x, dilation=1):
        weight = weights[f"{name}.weight"]
        x = F.pad(x, [dilation * (weight.shape[2] // 2)] * 2, mode="reflect")
        return F.conv1d(x, weight, weights[f"{name}.bias"], dilation=dilation)

    def unit(name, x, dilation=1):
        return norm(f"{name}.norm", conv(f"{name}.conv.conv", x, dilation).relu())

    m = "embedding_model"
    x = unit(f"{m}.blocks.0", x - x.mean(2, keepdim=True))
    outputs = []
    for i in (1, 2, 3):
        name = f"{m}.blocks.{i}"
        first, *others = unit(f"{name}.tdnn1", x).chunk(4, 1)
        groups = [first]
        for j, group in enumerate(others):
            part = group + groups[-1] if j else group
            groups.append(unit(f"{name}.res2net_block.blocks.{j}", part, i + 1))
        y = unit(f"{name}.tdnn2", torch.cat(groups, 1))
        gate = conv(f"{name}.se_block.conv1.conv", y.mean(2, keepdim=True)).relu()
        x = x + y * conv(f"{name}.se_block.conv2.conv", gate).sigmoid()
        outputs.append(x)
    x = unit(f"{m}.mfa", torch.cat(outputs, 1))
    mean, std = x.mean(2, keepdim=True), x.std(2, correction=0, keepdim=True)
    context = torch.cat([x, mean.expand_as(x), std.expand_as(x)], 1)
    attention = conv(f"{m}.asp.conv.conv", unit(f"{m}.asp.tdnn", context).tanh()).softmax(2)
    mean = (attention * x).sum(2)
    std = (attention * (x - mean[..., None]) ** 2).sum(2).clamp(min=1e-12).sqrt()
    pooled = norm(f"{m}.asp_bn", torch.cat([mean, std], 1))
    x = conv(f"{m}.fc.conv", pooled[..., None])[..., 0]
    if "classifier.weight" in weights:
        return F.cosine_similarity(x, weights["classifier.weight"])[None]
    x = norm("classifier.norm", F.leaky_relu(x))
    block = "classifier.DNN.block_0"
    x = F.linear(x, weights[f"{block}.linear.w.weight"], weights[f"{block}.linear.w.bias"])
    x = norm(f"{block}.norm", F.leaky_relu(x))
    x = F.linear(x, weights["classifier.out.w.weight"], weights["classifier.out.w.bias"])
    return x.log_softmax(1)


@pytest.mark.parametrize("hidden", [10, None])
@torch.no_grad()
def test_equal_to_the_definition(speechbrain, hidden):
    shapes = speechbrain.shapes(3, hidden=hidden)
    weights = {k: torch.from_numpy(speechbrain.weight(k, s)) for k, s in shapes.items()}
    model = make_model(weights)
    for frames in (5, 60):
        fbank = 20 * torch.randn(1, frames, 12, generator=torch.Generator().manual_seed(frames))
        torch.testing.assert_close(
            model(fbank), plain_scores(weights, fbank.transpose(1, 2)), atol=1e-5, rtol=1e-5
        )


def test_partial_frames_are_valid():
    lengths = torch.tensor([1.0, 0.69, 0.41])
    assert valid_frames(lengths, 301).sum(1).tolist() == [301, 208, 124]
    assert valid_frames(torch.tensor([1.0, 0.6]), 5, 1e-6).sum(1).tolist() == [5, 3]


def test_labels_of_one_code_are_added():
    config = EcapaConfig(
        labels=("zh-CN", "zh-TW", "en"), languages=("zh", "zh", "en"), channels=8, hidden=4
    )
    probs = Ecapa(config).language_probs(torch.tensor([[0.2, 0.3, 0.5]]).log())
    assert config.codes == ("zh", "en")
    torch.testing.assert_close(probs, torch.tensor([[0.5, 0.5]]))


def test_a_wrong_config_says_everything_that_is_wrong():
    with pytest.raises(ConfigError, match="groups 8 must divide channels 12; labels and languages"):
        EcapaConfig(labels=("a",), languages=(), channels=12)
    with pytest.raises(ConfigError, match="kernels must be three odd numbers"):
        EcapaConfig(labels=("a",), languages=("a",), kernels=(5, 2, 1))
    with pytest.raises(ConfigError, match="sizes must be whole numbers"):
        EcapaConfig(labels=("a",), languages=("a",), embedding=0)
    assert EcapaConfig(labels=("a",), languages=("a",)).min_samples == 640


@pytest.fixture(scope="module")
def folder(reference_dir):
    folder = reference_dir / "voxlingua107"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    return folder


@pytest.fixture(scope="module")
def inputs(folder):
    with np.load(folder / "inputs.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def stages(folder):
    with np.load(folder / "small_stages.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def load_small(folder):
    """The model in a folder of the reference, and its labels."""
    weights = {
        f"{file}.{key}": weight
        for file in ("embedding_model", "classifier")
        for key, weight in read_checkpoint(folder / f"{file}.ckpt").items()
    }
    labels = read_labels(folder / "label_encoder.txt")
    return make_model(weights, labels), labels


def to_fbank(waveforms):
    """int16 (S,) or (B, S) -> (B, T, 60)."""
    rows = np.atleast_2d(waveforms).astype(np.float32) / 32768
    return torch.stack([torch.from_numpy(compute_mel_decibels(row, 60)) for row in rows])


def record(model, fbank, lengths=None):
    """Scores and all stages that the reference has, (B, ...) in its layout."""
    outputs = {}

    def keep(name, transposed=False):
        def hook(module, arguments, output):
            output = output.detach()
            outputs[name] = output.transpose(1, 2) if transposed else output

        return hook

    valid = None if lengths is None else valid_frames(lengths, fbank.shape[1])
    hooks = {
        "block0": (model.blocks[0], True),
        "block1/tdnn1": (model.blocks[1].tdnn1, True),
        "block1/res2net_block": (model.blocks[1].res2net, True),
        "block1/tdnn2": (model.blocks[1].tdnn2, True),
        "block1/se_gate": (model.blocks[1].gate, True),
        "block1": (model.blocks[1], True),
        "block2": (model.blocks[2], True),
        "block3": (model.blocks[3], True),
        "mfa": (model.aggregation, True),
        "asp_logits": (model.pooling.out, True),
        "pooled": (model.pooling, False),
        "pooled_norm": (model.pooling_norm, False),
        "embedding": (model.projection, False),
    }
    if hasattr(model.head, "hidden"):
        hooks |= {
            "cls_norm": (model.head.norm, False),
            "hidden": (model.head.hidden_norm, False),
            "logits": (model.head.out, False),
        }
    handles = [m.register_forward_hook(keep(name, t)) for name, (m, t) in hooks.items()]
    handles.append(model.pooling.norm.register_forward_hook(keep("asp_tdnn")))
    with torch.inference_mode():
        outputs["log_probs"] = model(fbank, lengths)
        for handle in handles:
            handle.remove()
        outputs["fbank"], outputs["normalized"] = fbank, subtract_mean(fbank, lengths)
        outputs["attention"] = model.pooling.attention(outputs["mfa"].mT, valid).mT
    batch, frames = fbank.shape[:2]
    outputs["asp_tdnn"] = outputs["asp_tdnn"].view(batch, frames, -1).mT
    outputs["block1/se_block"] = outputs["block1/tdnn2"] * outputs["block1/se_gate"]
    outputs["score"], outputs["index"] = outputs["log_probs"].max(-1)
    if valid is not None:
        outputs["mask"] = valid
    return outputs


def tolerance(name):
    name = name.rpartition("/")[2] if not name.startswith("block") else "block"
    if name in ("fbank", "normalized"):
        return 5e-3
    return {"block": 1e-3, "mfa": 1e-3, "asp_logits": 1e-3, "asp_tdnn": 1e-3}.get(
        name, 1e-4 if name.startswith("pooled") or name == "attention" else 5e-5
    )


def compare(outputs, stages, prefix):
    """Compare all stages with the reference; return the names of those that it has."""
    names = {name.removeprefix(prefix) for name in stages if name.startswith(prefix)}
    for name in names & set(outputs):
        expected, actual = stages[prefix + name], outputs[name]
        actual = actual.reshape(expected.shape)
        if actual.is_floating_point():
            difference = (actual - expected).abs().max()
            assert difference <= tolerance(name), (prefix + name, difference)
        else:
            assert torch.equal(actual, expected), prefix + name
    return names


# Stages that need more than a hook, tested here or with the filterbank.
ELSEWHERE = {"power_spectrum", "mel_energies", "block0/conv"}


def test_every_stage_equals_the_reference(folder, inputs, stages):
    model, labels = load_small(folder / "small")
    texts = json.loads((folder / "labels.json").read_text())["small"]
    clips = [name for name in inputs if f"{name}/log_probs" in stages and name != "batch"]
    assert len(clips) == 7
    for clip in clips:
        outputs = record(model, to_fbank(inputs[clip]))
        names = compare(outputs, stages, f"{clip}/")
        assert names - set(outputs) <= ELSEWHERE, clip
        assert [labels[i] for i in outputs["index"]] == texts[clip]
    lengths = torch.from_numpy(inputs["batch_rel_lengths"])
    outputs = record(model, to_fbank(inputs["batch"]), lengths)
    names = compare(outputs, stages, "batch/")
    assert names <= set(outputs)
    assert [labels[i] for i in outputs["index"]] == texts["batch"]
    outputs = record(model, to_fbank(inputs["batch"]))
    assert compare(outputs, stages, "batch_without_lengths/") == {"embedding", "log_probs", "index"}


def test_the_first_convolution_equals_the_reference(folder, inputs, stages, monkeypatch):
    model, _ = load_small(folder / "small")
    convolution = model.blocks[0].conv
    assert isinstance(convolution, LinearActivation)
    monkeypatch.setattr(convolution, "activation", "none")
    for clip in ("half_second", "shortest_640"):
        outputs = []
        handle = convolution.register_forward_hook(lambda m, a, y, out=outputs: out.append(y))
        with torch.inference_mode():
            model.blocks[0](subtract_mean(to_fbank(inputs[clip])))
        handle.remove()
        torch.testing.assert_close(
            outputs[0][0].T, stages[f"{clip}/block0/conv"], atol=1e-3, rtol=0
        )


def test_other_scales_and_rates_equal_the_reference(folder, inputs, stages):
    model, labels = load_small(folder / "small")
    texts = json.loads((folder / "labels.json").read_text())["small"]
    unscaled = inputs["speech_3s"].astype(np.float32)
    for name, waveform in [
        ("speech_3s_unscaled", unscaled),
        *(
            (name, stages[f"{name}/waveform_16k"].numpy())
            for name in ("resample/stereo_44100", "resample/mono_8000")
        ),
    ]:
        fbank = torch.from_numpy(compute_mel_decibels(waveform, 60))[None]
        with torch.inference_mode():
            scores = model(fbank)[0]
        torch.testing.assert_close(scores, stages[f"{name}/log_probs"], atol=5e-5, rtol=0)
        assert [labels[int(scores.argmax())]] == texts[name]


def test_cosines_equal_the_reference(folder, inputs, stages):
    model, labels = load_small(folder / "small_cosine")
    texts = json.loads((folder / "labels.json").read_text())["small_cosine"]
    for clip in ("speech_3s", "half_second", "silence_1s", "batch"):
        lengths = torch.from_numpy(inputs["batch_rel_lengths"]) if clip == "batch" else None
        with torch.inference_mode():
            scores = model(to_fbank(inputs[clip]), lengths)
        expected = stages[f"cosine/{clip}/scores"].reshape(scores.shape)
        torch.testing.assert_close(scores, expected, atol=5e-5, rtol=0)
        assert [labels[i] for i in scores.argmax(-1)] == texts[clip]


@pytest.mark.parametrize(("name", "prefix"), [("small", ""), ("small_cosine", "cosine/")])
def test_an_imported_model_equals_the_reference(folder, inputs, stages, tmp_path, name, prefix):
    import_model(folder / name, tmp_path / "lid")
    model = load_language_model(tmp_path / "lid", "cpu")
    key = "scores" if prefix else "log_probs"
    for clip in ("speech_3s", "half_second", "silence_1s"):
        with torch.inference_mode():
            scores = model(to_fbank(inputs[clip]))[0]
        expected = stages[f"{prefix}{clip}/{key}"]
        torch.testing.assert_close(scores, expected, atol=5e-5, rtol=0)
        probs = ecapa_probabilities(model, inputs[clip].astype(np.float32) / 32768)
        expected = (expected * (30 if prefix else 1)).softmax(-1)
        assert probs["he"] == pytest.approx(float(expected[8]), abs=1e-3)
        assert list(probs)[8:10] == ["he", "jv"]


@pytest.fixture(scope="module")
def true_model(folder, speechbrain):
    """The model of true size, its weights by the seed rule, and its labels."""
    weights = {}
    for file in ("embedding_model", "classifier"):
        with (folder / f"hub/keys_{file}.tsv").open() as rows:
            for row in csv.DictReader(rows, delimiter="\t"):
                shape = () if row["shape"] == "scalar" else tuple(map(int, row["shape"].split("x")))
                weight = speechbrain.weight(f"{file}.{row['key']}", shape)
                assert weight.sum(dtype=np.float64) == pytest.approx(float(row["sum"]), rel=1e-6)
                weights[f"{file}.{row['key']}"] = torch.from_numpy(weight)
    labels = read_labels(folder / "hub/label_encoder.txt")
    return make_model(weights, labels), labels


@pytest.mark.parametrize(
    "clip", ["speech_3s", "half_second", "silence_1s", "shortest_640", "batch"]
)
def test_the_true_size_equals_the_reference(folder, inputs, true_model, clip):
    model, labels = true_model
    texts = json.loads((folder / "labels.json").read_text())["true"]
    with np.load(folder / "true_outputs.npz") as arrays:
        expected = {k.removeprefix(f"{clip}/"): arrays[k] for k in arrays if k.startswith(clip)}
    lengths = torch.from_numpy(inputs["batch_rel_lengths"]) if clip == "batch" else None
    outputs = record(model, to_fbank(inputs[clip]), lengths)
    for name in ("embedding", "logits", "log_probs", "score"):
        actual = outputs[name].numpy().reshape(expected[name].shape)
        np.testing.assert_allclose(actual, expected[name], atol=1e-4, err_msg=name)
    assert outputs["index"].tolist() == np.atleast_1d(expected["index"]).tolist()
    assert [labels[i] for i in outputs["index"]] == texts[clip]
    rows = range(len(outputs["index"]))
    for name in ("block0", "block1", "block2", "block3", "mfa"):
        actual = np.stack([outputs[name][i, :8, :8] for i in rows])
        corner = expected[f"{name}_corner"]
        np.testing.assert_allclose(actual.reshape(corner.shape), corner, atol=1e-3, err_msg=name)


def test_the_published_codes_are_known(folder):
    labels = read_labels(folder / "hub/label_encoder.txt")
    assert len(labels) == 107
    theirs = [label.partition(":")[0] for label in labels]
    codes = [label_code(label) for label in labels]
    assert len(set(codes)) == 107
    assert all(map(is_language_code, codes))
    changed = {a: b for a, b in zip(theirs, codes, strict=True) if a != b}
    assert changed == {"iw": "he", "jw": "jv", "no": "nb"}
