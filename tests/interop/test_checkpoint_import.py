"""Every kind of foreign model comes in whole, goes out again, and nothing bad comes with it."""

import importlib.util
import io
import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

import avsr
from avsr.audio import audio_features
from avsr.cli import app as cli
from avsr.decoder import EOS, Tokenizer
from avsr.errors import LanguageError, ModelError
from avsr.hub import load_network
from avsr.interop import check_port, export_fairseq, import_model
from avsr.interop.key_table import foreign_name, is_dropped, own_name
from avsr.interop.vocabulary import SPECIAL, arrange_pieces, read_dictionary
from avsr.media import read_waveform
from avsr.model.config import PARTS, PRESETS
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.recognition.recognizer import Recognizer
from avsr.search import SearchOptions

FOX = ["the quick brown fox jumps", "over the lazy dog", "five dozen liquor jugs"] * 10
KINDS = {
    "cfg": lambda foreign: foreign.fairseq(),
    "omegaconf": lambda foreign: foreign.fairseq(settings="omegaconf"),
    "args": lambda foreign: foreign.fairseq(settings="args"),
    "beside": lambda foreign: foreign.fairseq(inside=False),
    "folder": lambda foreign: foreign.fairseq(inside=False).parent,
    "old format": lambda foreign: foreign.fairseq(_use_new_zipfile_serialization=False),
    "port": lambda foreign: foreign.hugging_face(),
    "port, saved once": lambda foreign: foreign.hugging_face(saved=1),
}

VOICE = Path(__file__).parents[2] / "demo/examples/de.mp4"


def same(actual, expected):
    names = {name for name, weight in expected.items() if weight.numel()}
    assert names == {name for name, weight in actual.items() if weight.numel()}
    return all(torch.equal(actual[name], expected[name]) for name in names)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fine_tuned_model_comes_in_whole(foreign, tmp_path, kind):
    imported = import_model(KINDS[kind](foreign), tmp_path / "out")
    model = load_network(tmp_path / "out", "cpu")
    assert same(model.state_dict(), foreign.model.state_dict())
    assert model.config == foreign.model.config == imported.config
    assert model.tokenizer.encode("ein satz") == foreign.model.tokenizer.encode("ein satz")
    left_out = {"encoder.w2v_model.mask_emb", "encoder.w2v_model.label_embs_concat"}
    if kind.startswith("port"):
        left_out = {"model.encoder.mask_emb", "model.encoder.label_embs_concat"}
        left_out |= {"model.decoder.embed_positions.weights"}
        left_out |= {"model.lm_head.weight"} if kind == "port" else set()
        assert left_out == set(imported.dropped)
    assert left_out <= set(imported.dropped)
    assert "Licence: non-commercial use only" in (tmp_path / "out/README.md").read_text()


def test_the_imported_model_says_what_its_decoder_and_encoder_say(foreign, tmp_path):
    import_model(foreign.fairseq(), tmp_path / "out")
    model = load_network(tmp_path / "out", "cpu")
    fbank, mouth, tokens = torch.randn(1, 5, 104), torch.randn(1, 5, 88, 88), torch.tensor([[2, 7]])
    with torch.no_grad():
        one, other = (
            m.decoder(tokens, m.encode(fbank, mouth).memory) for m in (model, foreign.model)
        )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_half_precision_stays_half_on_disk(foreign, tmp_path):
    half = {name: w.half() if w.is_floating_point() else w for name, w in foreign.weights.items()}
    import_model(foreign.fairseq(weights=half), tmp_path / "out")
    stored = load_file(tmp_path / "out/model.safetensors")
    assert stored["decoder.embedding.weight"].dtype == torch.float16
    assert load_network(tmp_path / "out", "cpu").decoder.embedding.weight.dtype == torch.float32


def test_a_pre_trained_model_is_an_encoder(foreign, tmp_path):
    imported = import_model(foreign.pretrained(), tmp_path / "out")
    assert "encoder.w2v_model.final_proj.bias" in imported.dropped
    encoder = load_directory(tmp_path / "out").encoder
    assert same(encoder.state_dict(), foreign.model.encoder.state_dict())
    with pytest.raises(ModelError, match=r"pre-trained encoder, .* 'init: .*out'"):
        load_network(tmp_path / "out")


def test_an_export_comes_back_bit_for_bit(foreign, tmp_path):
    half = {name: w.half() if w.is_floating_point() else w for name, w in foreign.weights.items()}
    for name, weights in [("full", foreign.weights), ("half", half)]:
        import_model(foreign.fairseq(f"{name}/model.pt", weights=weights), tmp_path / name / "in")
        exported = export_fairseq(tmp_path / name / "in", tmp_path / name / "exported")
        assert [path.name for path in exported.files] == [
            "checkpoint_best.pt",
            "dict.en.txt",
            "tokenizer.model",
        ]
        content = torch.load(exported.files[0], weights_only=True)["model"]
        dropped = set(weights) - set(content)
        assert dropped == {"encoder.w2v_model.mask_emb", "encoder.w2v_model.label_embs_concat"}
        import_model(tmp_path / name / "exported", tmp_path / name / "back")
        for file in ("model.safetensors", "config.json", "tokenizer.model"):
            one, other = (tmp_path / name / d / file for d in ("in", "back"))
            assert one.read_bytes() == other.read_bytes()


def test_an_export_names_what_it_leaves_out_and_refuses_prompts(foreign, tmp_path):
    with pytest.raises(ModelError, match="4 language prompts in every layer"):
        export_fairseq(Path(avsr.__file__).parent / "assets/tiny", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
    whole = AVSRModel(
        replace(foreign.model.config, parts=PARTS),
        foreign.model.tokenizer,
    )
    save_directory(whole, tmp_path / "whole", card="")
    exported = export_fairseq(tmp_path / "whole", tmp_path / "exported")
    assert set(exported.left_out) == {
        "language classifier",
        "CTC head",
        "language embedding of the decoder",
    }


class Malicious:
    """Creates a file when it is unpickled in earnest."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["zip", "zip, protocol 4", "old format", "bare pickle"])
def test_a_malicious_file_is_refused_and_does_nothing(tmp_path, capsys, form):
    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    content = {"model": {"weight": torch.zeros(1)}, "task_state": Malicious(marker)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(Malicious(marker)))
    elif form == "old format":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(content, path, pickle_protocol=4 if "4" in form else 2)
    assert cli.main(["import", str(path), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert (
        error
        == f"avsr: {path} is refused: it asks for {os.name}.system, which no checkpoint needs\n"
    )
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
    # The same content in the hands of pickle itself would have acted.
    pickle.loads(pickle.dumps(Malicious(marker)))
    assert marker.exists()


def broken(name, foreign, folder):
    """A file that is wrong in one way."""
    good = foreign.fairseq("good.pt")
    path = folder / "bad.pt"
    weights = dict(foreign.weights)
    if name == "truncated":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif name == "text":
        path.write_text("Dear reader,\n" * 100)
    elif name == "empty":
        path.touch()
    elif name == "missing":
        pass
    elif name == "list":
        torch.save([1, 2], path)
    elif name == "no model":
        torch.save({"state": {}}, path)
    elif name == "another network":
        torch.save({"model": {"w2v_encoder.proj.weight": torch.zeros(2, 2)}}, path)
    elif name == "post-norm":
        content = torch.load(good, weights_only=False, pickle_module=Lenient)
        content["cfg"]["model"]["w2v_args"]["model"]["layer_norm_first"] = False
        torch.save({"model": weights, "cfg": content["cfg"]}, path)
    elif name == "heads":
        torch.save({"model": weights}, path)
    else:
        del weights["decoder.layers.0.fc1.bias"]
        weights["extra.weight"] = torch.zeros(1)
        key = "encoder.w2v_model.encoder.layers.1.fc2.weight"
        weights[key] = torch.zeros(3, 3)
        path = foreign.fairseq("bad.pt", weights=weights)
    return path


class Lenient:
    """A pickle module that knows no fairseq."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if module.startswith(("fairseq", "sentencepiece")):
                return type(name, (), {"__setstate__": lambda self, state: None})
            return super().find_class(module, name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("truncated", "is not a checkpoint, or is truncated"),
        ("text", "is not a checkpoint, or is truncated"),
        ("empty", "is not a checkpoint, or is truncated"),
        ("missing", "no checkpoint "),
        ("list", "it holds a list"),
        ("no model", "it has no weights called 'model'"),
        ("another network", "is not an AV-HuBERT: .* begin with w2v_encoder.proj.weight"),
        ("post-norm", "of another architecture: layer_norm_first is False, not True"),
        ("heads", "give their number with --encoder-heads"),
        (
            "keys",
            r"missing decoder\.layers\.0\.fc1\.bias; unexpected extra\.weight; "
            r"encoder\.w2v_model\.encoder\.layers\.1\.fc2\.weight has shape \(3, 3\), not \(32",
        ),
    ],
)
def test_a_bad_file_is_one_line_and_status_2(foreign, tmp_path, capsys, name, complaint):
    path = broken(name, foreign, tmp_path)
    assert cli.main(["import", str(path), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("avsr: ")
    assert error.count("\n") == 1
    assert str(path) in error
    assert re.search(complaint, error)
    assert not (tmp_path / "out").exists()


def test_a_bad_directory_of_the_port_is_one_line(foreign, tmp_path):
    folder = foreign.hugging_face()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"is not a model of the .* port: it has no config\.json"):
        import_model(tmp_path / "empty", tmp_path / "out")
    settings = (folder / "config.json").read_text()
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is broken"):
        import_model(folder, tmp_path / "out")
    (folder / "config.json").write_text(settings)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=r"model\.safetensors is broken"):
        import_model(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"scale_embedding": True},
            "of another .*: scale_embedding is True, not None",
        ),
        ({"layer_norm_eps": 1e-12}, "layer_norm_eps is 1e-12, not 1e-05"),
        ({"modality_fuse": "add"}, "modality_fuse is add, not concat"),
        ({"resnet_relu_type": "relu", "hidden_act": "relu"}, "is relu, not prelu; hidden_act is"),
        ({"activation_function": "gelu"}, "activation_function is gelu, not relu"),
        ({"decoder_attention_heads": "left out"}, "it has no decoder_attention_heads"),
        ({"decoder_attention_heads": 5}, "decoder: dim 64 must be even and divisible by heads"),
        (
            {"num_hidden_layers": 3, "d_model": 32},
            "hidden_layers is 3, its weights have 2; d_m",
        ),
        ({"vocab_size": 1000}, "vocab_size is 1000, its weights have 24"),
    ],
)
def test_a_port_that_computes_something_else_is_one_line(foreign, tmp_path, changes, complaint):
    with pytest.raises(ModelError, match=complaint) as caught:
        import_model(foreign.hugging_face(**changes), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_names_that_the_port_does_not_have_are_named_as_its_file_does(foreign, tmp_path):
    folder = foreign.hugging_face()
    weights = load_file(folder / "model.safetensors")
    layer = "model.encoder.encoder.layers.1."
    weights[layer + "fc1.bias"] = weights.pop(layer + "feed_forward.intermediate_dense.bias")
    save_file(weights, folder / "model.safetensors")
    complaint = f"missing {layer}feed_forward.intermediate_dense.bias; unexpected {layer}fc1.bias"
    with pytest.raises(ModelError, match=re.escape(complaint)):
        import_model(folder, tmp_path / "out")
    del weights["model.decoder.embed_tokens.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"it has no model\.decoder\.embed_tokens\.weight"):
        import_model(folder, tmp_path / "out")


def test_weights_of_impossible_shapes_are_one_line(foreign, tmp_path):
    folder = foreign.hugging_face()
    weights = load_file(folder / "model.safetensors")
    position = "model.encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    for name in (position, "model.decoder.embed_tokens.weight"):
        for shape in ([], [0], [5, 0, 3], [1, 2]):
            with pytest.raises(ModelError):
                check_port(folder, {**weights, name: torch.empty(shape)})


def test_an_output_that_cannot_be_written_is_one_line(foreign, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ModelError, match=r"cannot write .*out: File exists"):
        import_model(foreign.fairseq(), tmp_path / "out")


def test_heads_may_be_named(foreign, tmp_path):
    torch.save({"model": foreign.weights}, tmp_path / "model.pt")
    (tmp_path / "tokenizer.model").write_bytes(foreign.model.tokenizer.model)
    imported = import_model(tmp_path / "model.pt", tmp_path / "out", encoder_heads=2)
    assert imported.config.encoder == foreign.model.config.encoder


def test_a_wrong_vocabulary_is_one_line(foreign, tmp_path):
    path = foreign.fairseq(inside=False)
    dictionary = tmp_path / "dict.txt"
    dictionary.write_text("".join(f"{piece} 1\n" for piece in [*foreign.symbols[4:], "zzz"]))
    with pytest.raises(ModelError, match=r"do not belong together: 1 pieces .*'zzz'"):
        import_model(path, tmp_path / "out", dictionary=dictionary)
    other = Tokenizer.train(FOX, 32)
    (tmp_path / "other.model").write_bytes(other.model)
    with pytest.raises(ModelError, match="do not belong together"):
        import_model(path, tmp_path / "out", tokenizer=tmp_path / "other.model")
    (path.parent / "dict.de.txt").unlink()
    with pytest.raises(ModelError, match="has 24 tokens, its vocabulary 32"):
        import_model(path, tmp_path / "out", tokenizer=tmp_path / "other.model")
    (path.parent / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match="give it with --tokenizer"):
        import_model(path, tmp_path / "out")
    (tmp_path / "other.model").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a sentencepiece model"):
        import_model(path, tmp_path / "out", tokenizer=tmp_path / "other.model")
    assert not (tmp_path / "out").exists()


def test_pieces_get_the_order_of_the_dictionary():
    """A model of sentencepiece's own order of special symbols, without <pad>."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(FOX),
        model_writer=writer,
        vocab_size=32,
        minloglevel=2,
        num_threads=1,
    )
    plain = sentencepiece.SentencePieceProcessor(model_proto=writer.getvalue())
    pieces = [plain.id_to_piece(i) for i in range(32)]
    symbols = [*SPECIAL, *reversed([p for p in pieces if p not in SPECIAL]), "madeupword0000"]
    tokenizer = arrange_pieces(writer.getvalue(), symbols, "x")
    assert tokenizer.pieces(range(len(tokenizer))) == symbols
    cut = plain.encode("the lazy fox", out_type=str)
    assert tokenizer.encode("the lazy fox") == [symbols.index(piece) for piece in cut]
    assert tokenizer.decode(tokenizer.encode("the lazy fox")) == "the lazy fox"


@pytest.mark.parametrize(
    ("name", "text"),
    [("dict.txt", "a\n"), ("dict.txt", ""), ("vocab.json", '{"a": 0}'), ("vocab.json", "[1]")],
)
def test_a_broken_dictionary_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=f"{name} is not a dictionary"):
        read_dictionary(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("es_avsr/checkpoint_best.pt", ("es",)),
        ("x_avsr/checkpoint_best.pt", ("ar", "de", "el", "es", "fr", "it", "pt", "ru")),
        ("large_vox_433h.pt", ("en",)),
    ],
)
def test_languages_come_from_muavics_names(foreign, tmp_path, name, languages):
    imported = import_model(foreign.fairseq(name), tmp_path / "out")
    assert imported.config.languages == languages
    imported = import_model(foreign.fairseq(name), tmp_path / "out", languages=["fr"])
    assert imported.config.languages == ("fr",)
    with pytest.raises(LanguageError, match="unknown language 'xx'"):
        import_model(foreign.fairseq(name), tmp_path / "out", languages=["xx"])


def test_an_import_transcribes_a_video_by_the_normal_command(foreign, tmp_path, capsys):
    video = Path(__file__).parents[2] / "demo/examples/en.mp4"
    assert cli.main(["import", str(foreign.fairseq()), str(tmp_path / "out")]) == 0
    capsys.readouterr()
    arguments = ["transcribe", "--json", "--model", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.main([*arguments, str(video)]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["language"] == "de"
    assert result["language_probs"] == {"de": 1.0}
    assert result["modality"] == "av"
    assert result["words"] == []  # without CTC no times are known
    assert f"{tmp_path / 'out'}: licence: non-commercial use only" in err


def test_an_import_ranks_hypotheses_by_the_mean_of_their_tokens(foreign, tmp_path):
    import_model(foreign.fairseq(), tmp_path / "out")
    model = load_network(tmp_path / "out", "cpu")
    # One token is always the likeliest and the end the next: each token costs the sum.
    embedding, norm = model.decoder.embedding.weight.data, model.decoder.norm
    norm.weight.data.zero_()
    embedding[EOS] = 0.9 * embedding[(embedding @ norm.bias).argmax()]
    waveform = read_waveform(VOICE)[:16_000]
    with torch.no_grad():
        encoded = model.encode(torch.from_numpy(audio_features(waveform, 25))[None], None)
        by_mean, by_sum = (
            model.decode(
                encoded,
                torch.tensor([0]),
                torch.tensor([25]),
                None,
                SearchOptions(length_penalty=penalty, min_len=0),
            )[0][0]
            for penalty in (1.0, 0.0)
        )
    assert len(by_mean.tokens) > len(by_sum.tokens)
    text = Recognizer(model).transcribe_arrays(waveform, None).text
    assert text == model.tokenizer.decode(by_mean.tokens)


def test_a_model_of_many_languages_without_classifier_does_not_name_one(foreign, tmp_path):
    import_model(foreign.fairseq(), tmp_path / "out", languages=["de", "fr"])
    recognizer = Recognizer(load_network(tmp_path / "out", "cpu"))
    waveform = read_waveform(VOICE)
    assert recognizer.transcribe_arrays(waveform, None).language == "unknown"
    assert recognizer.transcribe_arrays(waveform, None).language_probs == {}
    assert recognizer.transcribe_arrays(waveform, None, language="fr").language == "fr"


@pytest.mark.parametrize("size", ["base", "large"])
def test_every_name_of_a_real_file_is_known(reference_dir, size):
    """The benchmark's random files have the names and shapes of real ones; all are imported."""
    lines = (reference_dir / f"keys_{size}.txt").read_text().split("# ---- module tree")[0]
    rows = [row.split("\t") for row in lines.splitlines() if row and not row.startswith("#")]
    shapes = {name: tuple(map(int, re.findall(r"\d+", shape))) for name, shape, _ in rows}
    path = Path(__file__).parents[2] / "benchmarks/imports.py"
    spec = importlib.util.spec_from_file_location("benchmarks_imports", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.foreign_shapes(size) == shapes
    weights = AVSRModel.on_meta(PRESETS[size]).state_dict()
    imported = {own_name(name): shape for name, shape in shapes.items() if not is_dropped(name)}
    assert imported == {n: tuple(weight.shape) for n, weight in weights.items() if foreign_name(n)}
