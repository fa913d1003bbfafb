"""Import of language-ID models: names, sizes, labels, and what is refused."""

import csv
import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.cli import app as cli
from avsr.errors import ModelError
from avsr.hub import load_network
from avsr.interop import ecapa_import, import_model
from avsr.interop.ecapa_import import convert_ecapa, label_code, read_labels
from avsr.model.ecapa_directory import load_ecapa
from avsr.recognition.language_id import ecapa_probabilities, load_language_model


@pytest.fixture
def source(tmp_path, speechbrain):
    speechbrain.write(tmp_path / "source")
    return tmp_path / "source"


def test_the_directory_has_all_that_the_folder_says(source, tmp_path):
    out = tmp_path / "lid"
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    imported = import_model(source, out)
    assert imported.kind == "ECAPA language identification, speechbrain folder"
    assert imported.licence == "apache-2.0"
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((out / "config.json").read_text())
    assert config["architecture"] == "ecapa"
    assert config["languages"] == ["de", "en", "he"]
    assert config["labels"] == ["de: German", "en: English", "iw: Hebrew"]
    assert config["kernels"] == [5, 3, 3, 3, 1]
    assert (config["filters"], config["channels"], config["groups"]) == (12, 16, 4)
    digest = hashlib.sha256((source / "classifier.ckpt").read_bytes()).hexdigest()
    assert config["sources"]["classifier.ckpt"] == digest
    assert set(config["sources"]) == {
        "embedding_model.ckpt",
        "classifier.ckpt",
        "label_encoder.txt",
    }
    assert "Licence: apache-2.0" in (out / "README.md").read_text()


@pytest.mark.parametrize("hidden", [10, None])
@torch.no_grad()
def test_loading_gives_the_same_scores(tmp_path, speechbrain, hidden):
    weights = speechbrain.write(tmp_path / "source", hidden=hidden)
    _, converted = convert_ecapa(weights, ("de", "en", "he"), "test")
    import_model(tmp_path / "source", tmp_path / "lid")
    plain = load_ecapa(tmp_path / "lid")
    packed = load_ecapa(tmp_path / "lid", packed=True)
    assert plain.config.temperature == (1.0 if hidden else 1 / 30)
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(weight, converted[name], rtol=0, atol=0)
    fbank = 20 * torch.randn(1, 40, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(plain(fbank), packed(fbank), atol=1e-5, rtol=1e-5)


def test_nothing_is_unpickled_when_it_is_loaded(source, tmp_path, monkeypatch):
    import_model(source, tmp_path / "lid")
    shutil.rmtree(source)
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(pickle, "load", None)
    model = load_language_model(tmp_path / "lid", "cpu")
    probs = ecapa_probabilities(model, np.zeros(100, np.float32))  # shorter than the least
    assert sum(probs.values()) == pytest.approx(1.0)
    assert list(probs) == ["de", "en", "he"]


@pytest.mark.parametrize("labels", [["en", "fr"], ["en"], ["speech", "no speech", "noise"]])
def test_few_or_other_labels_are_kept(tmp_path, speechbrain, labels):
    speechbrain.write(tmp_path / "source", labels)
    imported = import_model(tmp_path / "source", tmp_path / "lid")
    assert list(imported.config.languages) == labels


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("iw: Hebrew", "he"),
        ("jw", "jv"),
        ("nn: Norwegian Nynorsk", "nn"),
        ("zh_CN", "zh"),
        ("Chinese_Taiwan", "zh"),
        ("Chinese_Hongkong", "yue"),
        ("Frisian", "fy"),
        ("Kinyarwanda", "rw"),
        ("Hakha_Chin", "Hakha_Chin"),
        ("Kabyle", "Kabyle"),
        ("no speech", "no speech"),
        ("no_speech", "no_speech"),
        ("xq", "xq"),
    ],
)
def test_labels_become_codes_where_one_is_known(label, code):
    assert label_code(label) == code


def change(path, **weights):
    """Change, add or (None) remove weights of a file."""
    content = torch.load(path, weights_only=True)
    for name, weight in weights.items():
        name = name.replace("__", ".")
        if weight is None:
            del content[name]
        else:
            content[name] = weight
    torch.save(content, path)


def break_labels(text):
    return lambda source: (source / "label_encoder.txt").write_text(text)


def break_weights(file, **weights):
    return lambda source: change(source / file, **weights)


def flip_a_bit(source):
    content = bytearray((source / "embedding_model.ckpt").read_bytes())
    content[len(content) // 2] ^= 1  # within the weights
    (source / "embedding_model.ckpt").write_bytes(content)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (flip_a_bit, r"embedding_model\.ckpt is damaged: the checksum of .* differs"),
        (lambda s: (s / "classifier.ckpt").unlink(), r"classifier\.ckpt: cannot be read \(No such"),
        (lambda s: (s / "label_encoder.txt").unlink(), r"it has no label_encoder\.txt"),
        (lambda s: (s / "classifier.ckpt").write_bytes(b"x"), "is not a checkpoint"),
        (lambda s: torch.save({"w": Evil()}, s / "classifier.ckpt"), "is refused: it asks for"),
        (lambda s: torch.save({"w": 1}, s / "classifier.ckpt"), "other things than tensors"),
        (break_labels("'en' => 0\n'de' => 1\n"), "is no file of labels"),
        (break_labels(f"'en' => 0\n'de' => 2\n{'=' * 16}\n"), "its indices are not 0, 1, 2"),
        (break_labels(f"'en' => 0\n'de' => 0\n{'=' * 16}\n"), "its index is taken"),
        (break_labels(f"__import__('os') => 0\n{'=' * 16}\n"), "is no file of labels"),
        (break_labels(f"'en' => 0\n{'=' * 16}\n"), "has 1 labels, but its classifier scores 3"),
        (
            break_weights("embedding_model.ckpt", fc__conv__bias=None),
            r"missing embedding_model\.fc\.conv\.bias",
        ),
        (
            break_weights("embedding_model.ckpt", fc__conv__weight=None),
            r"is of another architecture: it has no embedding_model\.fc\.conv\.weight",
        ),
        (
            break_weights("classifier.ckpt", DNN__block_1__linear__w__bias=torch.zeros(3)),
            r"unexpected classifier\.DNN\.block_1\.linear\.w\.bias",
        ),
        (
            break_weights(
                "embedding_model.ckpt", blocks__2__tdnn2__conv__conv__bias=torch.zeros(3)
            ),
            r"blocks\.2\.tdnn2\.conv\.conv\.bias has shape \(3,\), not \(16,\)",
        ),
        (
            break_weights("embedding_model.ckpt", mfa__conv__conv__weight=torch.zeros(24, 48, 2)),
            "kernels must be three odd numbers",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    source, tmp_path, monkeypatch, spoil, complaint
):
    monkeypatch.chdir(tmp_path)
    spoil(source)
    with pytest.raises(ModelError, match=complaint) as error:
        import_model(source, tmp_path / "lid")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "lid").exists()
    assert not Path("evil").exists()


def test_a_broken_download_is_found(source, tmp_path):
    blob = tmp_path / "blobs" / ("0" * 64)  # the cache of the hub names files by their SHA-256
    blob.parent.mkdir()
    (source / "classifier.ckpt").rename(blob)
    (source / "classifier.ckpt").symlink_to(blob)
    with pytest.raises(
        ModelError, match=r"classifier\.ckpt is damaged: delete .*0000 and download"
    ):
        import_model(source, tmp_path / "lid")
    right = blob.with_name(hashlib.sha256(blob.read_bytes()).hexdigest())
    blob.rename(right)
    (source / "classifier.ckpt").unlink()
    (source / "classifier.ckpt").symlink_to(right)
    import_model(source, tmp_path / "lid")


def test_the_published_files_are_known_by_their_digests(source, tmp_path, monkeypatch):
    digests = {
        name: hashlib.sha256((source / name).read_bytes()).hexdigest()
        for name in ("embedding_model.ckpt", "classifier.ckpt")
    }
    monkeypatch.setattr(ecapa_import, "VOXLINGUA107", digests)
    imported = import_model(source, tmp_path / "lid")
    assert imported.kind.endswith("the published VoxLingua107 weights")
    assert imported.licence == "Apache-2.0"


def test_a_folder_of_speechbrains_own_is_imported(source, tmp_path):
    (source / "label_encoder.txt").rename(source / "label_encoder.ckpt")
    assert import_model(source, tmp_path / "lid").config.languages == ("de", "en", "he")


def test_it_is_no_model_that_writes_text(source, tmp_path, capsys):
    out = str(tmp_path / "lid")
    assert cli.main(["import", str(source), out]) == 0
    assert "de, en, he" in capsys.readouterr().out
    with pytest.raises(ModelError, match="is a language-ID model, which writes no text"):
        load_network(out)
    assert cli.main(["transcribe", "--model", out, "demo/examples/en.mp4"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["import", str(source), out, "--languages", "de"]) == 2
    assert "leave out the options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change_config", "complaint"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"channels": 20}, "does not fit its config"),
        ({"labels": ["de"]}, "labels and languages must be of the same number"),
        ({"kernels": 3}, r"config\.json is broken"),
        ({"architecture": "other"}, "is no language-ID model"),
    ],
)
def test_a_broken_directory_is_refused(source, tmp_path, change_config, complaint):
    import_model(source, tmp_path / "lid")
    config = json.loads((tmp_path / "lid/config.json").read_text())
    (tmp_path / "lid/config.json").write_text(json.dumps(config | change_config))
    with pytest.raises(ModelError, match=complaint):
        load_ecapa(tmp_path / "lid")


def test_names_are_those_of_the_published_files(reference_dir):
    folder = reference_dir / "voxlingua107/hub"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    weights = {}
    for file in ("embedding_model", "classifier"):
        with (folder / f"keys_{file}.tsv").open() as rows:
            for row in csv.DictReader(rows, delimiter="\t"):
                shape = [] if row["shape"] == "scalar" else map(int, row["shape"].split("x"))
                weights[f"{file}.{row['key']}"] = torch.empty(tuple(shape), device="meta")
    assert len(weights) == 245
    config, _ = convert_ecapa(weights, read_labels(folder / "label_encoder.txt"), "hub")
    assert (config.channels, config.pooled_channels, config.groups) == (1024, 3072, 8)
    assert (config.gate_channels, config.embedding, config.hidden) == (128, 256, 512)
