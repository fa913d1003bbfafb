import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsr.decoder import BOS, EOS, DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import AvsrError, ConfigError, ModelError
from avsr.hub import load_network
from avsr.model.config import PRESETS, ModelConfig
from avsr.model.device import resolve_device
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.search import NgramModel, SearchOptions, WeightedScorer
from avsr.search.ngram import NgramPrefixes

CONFIG = ModelConfig(
    encoder=AVHubertConfig(layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=2),
    decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
    classifier_channels=8,
    vocabulary_size=20,
    languages=("de", "en"),
)


@pytest.fixture
def directory(tmp_path):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    model = AVSRModel(CONFIG, tokenizer).eval()
    save_directory(model, tmp_path / "model", card="# card\n", half=False)
    return tmp_path / "model"


@torch.no_grad()
def test_a_saved_model_is_the_same_model(directory):
    torch.manual_seed(0)
    model = AVSRModel(CONFIG).eval()
    loaded = load_network(directory, "cpu")
    fbank = torch.randn(1, 6, 104)
    one, other = (m.language_logits(m.encode(fbank, None)) for m in (model, loaded))
    torch.testing.assert_close(one, other)
    assert loaded.config == CONFIG
    assert loaded.tokenizer.encode("satz")
    names = sorted(p.name for p in directory.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "tokenizer.model"]


@torch.no_grad()
def test_half_precision_halves_the_file(directory, tmp_path):
    model = load_network(directory, "cpu")
    save_directory(model, tmp_path / "half", card="", half=True)
    sizes = [(d / "model.safetensors").stat().st_size for d in (directory, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_network(tmp_path / "half", "cpu").state_dict()
    for name, weight in model.state_dict().items():
        rounded = weight.half().float() if weight.is_floating_point() else weight
        torch.testing.assert_close(loaded[name], rounded, atol=0, rtol=0)  # in fp32 again


def test_language_models_go_with_the_model(directory):
    model = load_network(directory, "cpu")
    count = NgramModel.train
    options = {"order": 2, "bos": BOS, "eos": EOS}
    lm = count([model.tokenizer.encode("a sentence")], vocabulary_size=20, **options)
    model.language_models = {"en": lm}
    save_directory(model, directory, card="")
    read = load_network(directory, "cpu").language_models
    assert list(read) == ["en"]
    assert read["en"].log_prob([5, 6, EOS]) == lm.log_prob([5, 6, EOS])
    model.language_models = {"en": count([[5]], vocabulary_size=19, **options), "pt": lm}
    save_directory(model, directory, card="")
    with pytest.raises(ModelError, match=r"lm\.safetensors does not fit the model: en, pt"):
        load_network(directory, "cpu")


@torch.no_grad()
def test_a_model_takes_more_scorers(directory):
    model = load_network(directory, "cpu")
    ngrams = NgramModel.train([[7, 9]], order=2, vocabulary_size=20, bos=BOS, eos=EOS)

    def start(codes, options, device):
        assert (codes, options.beam_size) == (["en", "de"], 2)
        prefixes = NgramPrefixes.start([ngrams] * len(codes), 20, EOS, device)
        return WeightedScorer("planted", prefixes, 1e6, num_candidates=20)

    model.scorers.append(start)
    encoded = model.encode(torch.randn(2, 6, 104), None)
    options = SearchOptions(beam_size=2, ctc_weight=0)
    nbest = model.decode(encoded, torch.tensor([1, 0]), torch.tensor([6, 6]), None, options)
    assert [hypotheses[0].tokens for hypotheses in nbest] == [(7, 9), (7, 9)]
    assert nbest[0][0].scores["planted"] == pytest.approx(ngrams.log_prob([7, 9, EOS]))


def test_all_that_does_not_fit_is_named_together(directory):
    weights = load_file(directory / "model.safetensors")
    weights["ctc.weight"] = torch.zeros(3, 3)
    weights["extra"] = torch.zeros(1)
    del weights["ctc.bias"]
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(ModelError, match=r"missing ctc\.bias.*unexpected extra.*ctc\.weight has"):
        load_network(directory)


def test_broken_directories_are_refused_in_one_line(directory, tmp_path):
    cases = []
    with pytest.raises(ModelError) as error:
        load_network(tmp_path / "nowhere")
    cases.append(error)
    with pytest.raises(ModelError, match="it has no") as error:
        load_network(tmp_path)
    cases.append(error)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"colour": 1}))
    with pytest.raises(ConfigError, match="unknown key 'colour'") as error:
        load_network(directory)
    cases.append(error)
    (directory / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is broken") as error:
        load_network(directory)
    cases.append(error)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="is broken") as error:
        load_network(directory)
    cases.append(error)
    assert all("\n" not in str(case.value) for case in cases)
    assert all(isinstance(case.value, AvsrError) for case in cases)


def test_an_unknown_device_is_refused():
    with pytest.raises(ModelError, match="device 'tpu9' is not available"):
        resolve_device("tpu9")
    assert resolve_device("cpu").type == "cpu"


def test_a_model_without_tokenizer_is_not_saved(tmp_path):
    with pytest.raises(ModelError, match="without tokenizer"):
        save_directory(AVSRModel(CONFIG), tmp_path / "m", card="")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("preset", "millions"), [("base", (160, 175)), ("large", (477, 500)), ("tiny", (8, 12.5))]
)
def test_presets_have_the_papers_size(preset, millions):
    with torch.device("meta"):
        model = AVSRModel(PRESETS[preset])
    assert millions[0] <= sum(p.numel() for p in model.parameters()) / 1e6 <= millions[1]


def test_a_model_on_meta_has_shapes_only_and_loads_no_compiler():
    code = (
        "import sys\n"
        "from avsr.model.config import PRESETS\n"
        "from avsr.model.network import AVSRModel\n"
        "model = AVSRModel.on_meta(PRESETS['base'])\n"
        "assert {w.device.type for w in model.state_dict().values()} == {'meta'}\n"
        "assert not model.decoder.positions.is_meta\n"
        "print('torch._dynamo' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
    whole, on_meta = AVSRModel(CONFIG).state_dict(), AVSRModel.on_meta(CONFIG).state_dict()
    assert {n: (w.shape, w.dtype) for n, w in whole.items()} == {
        n: (w.shape, w.dtype) for n, w in on_meta.items()
    }


def test_full_precision_is_mapped_and_not_read(directory):
    model = load_directory(directory)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not list mapped files")
    assert str(directory / "model.safetensors") in maps.read_text()
    with torch.no_grad():  # the mapping is private: a change stays in memory
        before = (directory / "model.safetensors").read_bytes()
        model.ctc.weight.add_(1.0)
    assert (directory / "model.safetensors").read_bytes() == before


def test_the_licence_is_logged_once(directory, caplog):
    caplog.set_level(logging.INFO, "avsr.hub")
    (directory / "README.md").write_text("# Card\n\nLicence: for friends only\n")
    load_network(directory, "cpu")
    load_network(directory, "cpu")
    assert caplog.messages == [f"{directory}: licence: for friends only"]
    (directory / "README.md").unlink()
    load_network(directory, "cpu")
    assert "its card does not say" in caplog.messages[-1]


def test_parts_are_known_and_have_an_encoder():
    for parts in (("decoder",), ("encoder", "smell")):
        with pytest.raises(ConfigError, match="parts must be an encoder and others of"):
            ModelConfig(parts=parts)
