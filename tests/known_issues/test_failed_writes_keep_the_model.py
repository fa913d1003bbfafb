"""A write that failed left new small files beside old weights; old files of another kind won later.

All files are now written before the first is replaced, and those of other kinds are deleted.
"""

import contextlib
import resource
import shutil

import pytest
import torch

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ModelError
from avsr.interop import convert_model, export_fairseq, import_model
from avsr.language.ecapa import Ecapa, EcapaConfig
from avsr.model.config import ModelConfig
from avsr.model.directory import load_directory, save_directory
from avsr.model.ecapa_directory import write_ecapa
from avsr.model.network import AVSRModel


def make_model(dim):
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=1, dim=dim, ffn_dim=48, heads=4, frontend_width=4, prompts=0, position_kernel=8
        ),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        vocabulary_size=20,
        languages=("de",),
        parts=("encoder", "decoder"),
    )
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    return AVSRModel(config, tokenizer).eval()


@contextlib.contextmanager
def full_disk():
    """No file gets larger than the small files of a model, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*")}


def write_language_model(model, out):
    config = EcapaConfig(labels=("de", "en"), languages=("de", "en"))
    write_ecapa(out, config, Ecapa(config).state_dict(), "card")


WRITERS = {
    "save": lambda source, out: save_directory(make_model(32), out, card="new"),
    "export": lambda source, out: convert_model(source, out, "int8"),
    "import": lambda source, out: import_model(source / "fairseq", out),
    "language": write_language_model,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_old_model_stays_whole(tmp_path, writer):
    source, out = tmp_path / "source", tmp_path / "out"
    save_directory(make_model(32), source, card="source")
    export_fairseq(source, source / "fairseq")
    save_directory(make_model(64), out, card="old")
    before = contents(out)
    with full_disk(), pytest.raises(ModelError, match="cannot write") as error:
        WRITERS[writer](source, out)
    assert "\n" not in str(error.value)
    assert contents(out) == before
    load_directory(out)
    with full_disk(), pytest.raises(ModelError, match="cannot write"):
        WRITERS[writer](source, tmp_path / "none")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}
    WRITERS[writer](source, out)
    assert contents(out)["README.md"] != before["README.md"]
    assert not {path.name for path in out.iterdir() if path.name.startswith(".")}


def test_a_failed_fairseq_export_keeps_the_old_one(tmp_path):
    save_directory(make_model(32), tmp_path / "source", card="source")
    export_fairseq(tmp_path / "source", tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    before = contents(tmp_path / "out")
    with full_disk(), pytest.raises(ModelError, match="cannot write"):
        export_fairseq(tmp_path / "source", tmp_path / "out")
    assert contents(tmp_path / "out") == before
    export_fairseq(tmp_path / "source", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == before.keys()


def test_a_file_that_cannot_be_replaced_is_found_before_any_is(tmp_path):
    save_directory(make_model(32), tmp_path / "out", card="old")
    (tmp_path / "out/README.md").unlink()
    (tmp_path / "out/README.md").mkdir()
    before = (tmp_path / "out/config.json").read_bytes()
    with pytest.raises(ModelError, match=r"cannot write .*out: Is a directory"):
        save_directory(make_model(64), tmp_path / "out", card="new")
    assert (tmp_path / "out/config.json").read_bytes() == before


def test_files_of_another_kind_do_not_stay(tmp_path):
    save_directory(make_model(32), tmp_path / "out", card="old")
    shutil.copytree(tmp_path / "out", tmp_path / "new")
    for name in ("encoder.onnx", "step.onnx.data", "lm.safetensors", "reliability.json"):
        (tmp_path / "out" / name).write_bytes(b"old")
    (tmp_path / "out/notes.txt").write_text("mine")
    save_directory(make_model(32), tmp_path / "out", card="old")
    assert {*contents(tmp_path / "out")} == {*contents(tmp_path / "new"), "notes.txt"}
    write_language_model(None, tmp_path / "out")
    assert {*contents(tmp_path / "out")} == {
        *("config.json", "model.safetensors", "README.md", "notes.txt")
    }
