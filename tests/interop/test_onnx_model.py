"""The files of ``avsr export --format onnx`` give the same results as the network."""

import dataclasses

import numpy as np
import pytest
import torch

from avsr.cli import app as cli
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ModelError
from avsr.hub import load_network
from avsr.interop.onnx_export import export_onnx
from avsr.interop.onnx_model import load_onnx
from avsr.model.config import ModelConfig
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.recognition.recognizer import Recognizer
from avsr.search import SearchOptions

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

LENGTHS = (12, 7)
CONFIG = ModelConfig(
    encoder=AVHubertConfig(layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=2),
    decoder=DecoderConfig(layers=2, dim=24, ffn_dim=48, heads=2),
    classifier_channels=8,
    vocabulary_size=20,
    languages=("de", "en"),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model directory, and the ONNX directory exported from it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    save_directory(
        AVSRModel(CONFIG, tokenizer).eval(), folder / "plain", card="Licence: none\n", half=False
    )
    export = ["export", str(folder / "plain"), str(folder / "onnx"), "--format", "onnx"]
    assert cli.main(export) == 0
    return folder / "plain", folder / "onnx"


def inputs():
    """Return filterbank, mouth crops and padding mask of two clips."""
    generator = torch.Generator().manual_seed(1)
    fbank = torch.randn(2, max(LENGTHS), 104, generator=generator)
    mouth = torch.randn(2, max(LENGTHS), 88, 88, generator=generator)
    mask = torch.arange(max(LENGTHS))[None] >= torch.tensor(LENGTHS)[:, None]
    return fbank, mouth, mask


def test_every_graph_has_its_file_and_no_weights_are_left_over(pair):
    names = {path.name for path in pair[1].iterdir()}
    graphs = {f"{n}.onnx" for n in ("frontend", "encoder", "classifier", "ctc", "memory", "step")}
    assert names == graphs | {"config.json", "tokenizer.model", "README.md"}


@torch.no_grad()
@pytest.mark.parametrize("modality", ["av", "audio", "video"])
def test_a_batch_gives_the_same_hypotheses(pair, modality):
    fbank, mouth, mask = inputs()
    outputs = []
    for directory in pair:
        model = load_network(directory, "cpu")
        encoded = model.encode(
            None if modality == "video" else fbank, None if modality == "audio" else mouth, mask
        )
        ctc = model.ctc_log_probs(encoded)
        options = SearchOptions(beam_size=4, nbest=4, max_len_a=0.5, max_len_b=2)
        hypotheses = model.decode(
            encoded, torch.tensor([1, 0]), torch.tensor(LENGTHS), ctc, options
        )
        outputs.append((encoded.features[~mask], model.language_logits(encoded), hypotheses))
    for one, other in zip(outputs[0][:2], outputs[1][:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(outputs[0][2], outputs[1][2], strict=True):
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=1e-3)


def test_a_recording_gets_the_same_transcript(pair):
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(640 * 15).astype(np.float32) * 0.1
    mouth = rng.integers(0, 255, (15, 96, 96), np.uint8)
    for arrays in ((waveform, mouth), (waveform, None), (None, mouth)):
        one, other = (Recognizer(load_network(d, "cpu")).transcribe_arrays(*arrays) for d in pair)
        assert one.text == other.text
        assert one.language == other.language
        for ours, theirs in zip(one.words, other.words, strict=True):
            assert (ours.text, ours.start, ours.end) == (theirs.text, theirs.start, theirs.end)
            assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-4)


def test_rows_of_unequal_numbers_are_decoded_too(pair):
    fbank, mouth, mask = inputs()
    rows = torch.tensor([0, 1, 1])
    log_probs = []
    with torch.no_grad():
        for directory in pair:
            model = load_network(directory, "cpu")
            encoded = model.encode(fbank, mouth, mask)
            state = model.decoder.start(
                encoded.memory, encoded.memory_padding_mask, torch.tensor([0, 1])
            )
            _, state = model.decoder.step(torch.tensor([2, 2]), state)
            log_probs.append(model.decoder.step(torch.tensor([4, 5, 6]), state.select(rows))[0])
    torch.testing.assert_close(*log_probs, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_refused_in_a_line(pair, tmp_path):
    plain, onnx = pair
    with pytest.raises(
        ModelError, match="is in ONNX: it runs on the CPU only, in no other precision"
    ):
        load_network(onnx, "cpu", "int8")
    with pytest.raises(ModelError, match=r"it has no model\.safetensors"):
        load_directory(onnx)
    assert cli.main(["export", str(plain), str(plain), "--format", "onnx"]) == 2
    for path in onnx.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "step.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"step\.onnx cannot be opened by onnxruntime"):
        load_network(tmp_path, "cpu")


def test_a_graph_that_differs_is_no_model(pair, tmp_path, monkeypatch):
    from avsr.interop import onnx_export as graphs

    plain, onnx = pair
    monkeypatch.setattr(  # the file of another network, with other weights
        graphs,
        "_write",
        lambda graph, inputs, axes, path: path.write_bytes((onnx / path.name).read_bytes()),
    )
    torch.manual_seed(1)
    other = AVSRModel(CONFIG, load_directory(plain).tokenizer).eval()
    save_directory(other, tmp_path / "other", card="", half=False)
    assert set(graphs.export_onnx(plain, tmp_path / "same")) >= {"frontend", "step"}
    with pytest.raises(ModelError, match=r"frontend\.onnx differs from torch by"):
        graphs.export_onnx(tmp_path / "other", tmp_path / "out")
    with pytest.raises(ModelError):
        load_network(tmp_path / "out", "cpu")


@torch.no_grad()
def test_scores_of_reliability_are_the_same(tmp_path):
    encoder = dataclasses.replace(CONFIG.encoder, reliability=True)
    config = dataclasses.replace(CONFIG, encoder=encoder, parts=("encoder",))
    model = AVSRModel(config).eval()
    torch.nn.init.normal_(model.encoder.reliability.out.weight, std=3.0)
    save_directory(model, tmp_path / "plain", card="Licence: none\n", half=False)
    export_onnx(tmp_path / "plain", tmp_path / "onnx")
    fbank, mouth, mask = inputs()
    models = [load_directory(tmp_path / "plain"), load_onnx(tmp_path / "onnx")]
    outputs = [model.encode(fbank, mouth, mask) for model in models]
    ours, theirs = (output.reliability[~mask] for output in outputs)
    assert ours.std() > 0.1
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    ours, theirs = (output.features[~mask] for output in outputs)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    for one in ((fbank, None, mask), (None, mouth, mask)):
        ours, theirs = (model.encode(*one) for model in models)
        assert theirs.reliability is None
        torch.testing.assert_close(
            theirs.features[~mask], ours.features[~mask], rtol=1e-4, atol=1e-4
        )
