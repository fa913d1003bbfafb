"""A kill while the files of a model were replaced left new names over old weights, and loaded.

The files are now put beside the old ones in one step; the first to load the model moves them.
"""

import os

import pytest
import torch

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ModelError
from avsr.hub import find_model
from avsr.interop import export_fairseq, import_model
from avsr.model.config import ModelConfig
from avsr.model.directory import is_language_id, load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.runtime import atomic_files


def make_model(language):
    torch.manual_seed(language == "ru")
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=0, position_kernel=8
        ),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        vocabulary_size=20,
        languages=(language,),
        parts=("encoder", "decoder"),
    )
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    return AVSRModel(config, tokenizer).eval()


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def models():
    return {language: make_model(language) for language in ("de", "ru")}


@pytest.fixture
def stop(monkeypatch):
    """`stop(n)`: the n-th step of a replacement does not happen, nor any after it."""

    def prepare(steps):
        left = iter(range(steps))

        def step(real):
            def count(*arguments, **options):
                if next(left, None) is None:
                    raise KilledError
                return real(*arguments, **options)

            return count

        for name in ("replace", "rename", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, step(getattr(os, name)))
        monkeypatch.setattr(atomic_files.shutil, "rmtree", lambda *_, **__: None)

    yield prepare
    monkeypatch.undo()


def check_whole(folder, models):
    """It is one of two models, with its own weights."""
    model = load_directory(folder)
    expected = models[model.config.languages[0]]
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(
            model.state_dict()[name], weight.half().to(weight.dtype), rtol=0, atol=0
        )
    return model.config.languages[0]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 7])
def test_whatever_the_moment(tmp_path, models, stop, monkeypatch, steps):
    save_directory(models["de"], tmp_path / "model", card="old")
    (tmp_path / "model/lm.safetensors.old").write_text("mine")
    stop(steps)
    with pytest.raises(KilledError):
        save_directory(models["ru"], tmp_path / "model", card="new", training="{}")
    monkeypatch.undo()
    language = check_whole(tmp_path / "model", models)
    assert language == ("de" if steps < 2 else "ru")
    assert (tmp_path / "model/training.json").exists() == (language == "ru")
    left = {path.name for path in (tmp_path / "model").iterdir() if path.name.startswith(".")}
    assert len(left) == (language == "de")  # what was written until then; no process has ended


def test_every_reader_finishes_the_move(tmp_path, models, stop, monkeypatch):
    for number, read in enumerate([find_model, is_language_id, load_directory]):
        folder = tmp_path / str(number)
        save_directory(models["de"], folder, card="old")
        stop(3)
        with pytest.raises(KilledError):
            save_directory(models["ru"], folder, card="new")
        monkeypatch.undo()
        assert (folder / atomic_files.PENDING).exists()
        read(folder)
        assert not (folder / atomic_files.PENDING).exists()
        assert check_whole(folder, models) == "ru"


def test_an_import_finishes_the_move_of_its_source(tmp_path, models, stop, monkeypatch):
    for language, model in models.items():
        save_directory(model, tmp_path / language, card=language)
    export_fairseq(tmp_path / "de", tmp_path / "fairseq")
    stop(2)
    with pytest.raises(KilledError):
        export_fairseq(tmp_path / "ru", tmp_path / "fairseq")
    monkeypatch.undo()
    import_model(tmp_path / "fairseq", tmp_path / "out")
    load_directory(tmp_path / "out")
    assert (tmp_path / "fairseq/dict.ru.txt").exists()


def test_a_folder_that_may_only_be_read_is_one_line(tmp_path, models, stop, monkeypatch):
    save_directory(models["de"], tmp_path / "model", card="old")
    stop(3)
    with pytest.raises(KilledError):
        save_directory(models["ru"], tmp_path / "model", card="new")
    monkeypatch.undo()

    def refuse(source, target):
        raise PermissionError(13, "Permission denied", source)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ModelError, match=r"model: writing this model was interrupted, and .* here"):
        load_directory(tmp_path / "model")
