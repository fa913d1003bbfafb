"""An empty checkpoint said "stopped" (EOFError), a cut one "unexpected": training never went on.

The newest whole file is taken instead, and one line names the broken one.
"""

import errno
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.cli import app as cli
from avsr.errors import ConfigError, WriteError
from avsr.model.directory import load_directory
from avsr.model.network import AVSRModel
from avsr.training import checkpoints, run
from avsr.training.checkpoints import find_checkpoint, load_final
from avsr.training.config import read_config
from avsr.training.dataset import read_utterances
from avsr.training.recognition_task import RecognitionTask
from avsr.training.stage import average_checkpoints
from avsr.training.visual_cache import cache_visual_features
from tests.training.conftest import SMALL, corpus, recipe, stage, weights  # noqa: F401

STAGES = [stage(updates=4, modalities={"audio": 1.0}, noise_probability=0.0)]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("hello"),
    "other": lambda path: torch.save({"a": torch.zeros(2)}, path),
    "list": lambda path: torch.save([1], path),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Folder of two runs: one that was stopped after two of its four updates, and a whole one."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def stopped(recipe, tmp_path, kept, monkeypatch):  # noqa: F811
    """The recipe of a run that was stopped; the run is a copy, as it may lie anywhere."""
    if not (kept / "run").exists():
        step = RecognitionTask.training_step

        def stop_in_step_3(self, batch, batch_index):
            if batch.step == 3:
                raise ZeroDivisionError
            return step(self, batch, batch_index)

        monkeypatch.setattr(RecognitionTask, "training_step", stop_in_step_3)
        with pytest.raises(ZeroDivisionError):
            run.train(recipe("run", STAGES), workers=0)
        monkeypatch.setattr(RecognitionTask, "training_step", step)
        run.train(recipe("whole", STAGES), workers=0)
        for name in ("run", "whole"):
            (tmp_path / name).rename(kept / name)
    shutil.copytree(kept / "run", tmp_path / "run")
    return recipe("run", STAGES)


@pytest.fixture
def ended(recipe, tmp_path, kept, stopped):  # noqa: F811
    """The recipe of the whole run, a copy too."""
    shutil.copytree(kept / "whole", tmp_path / "whole")
    return recipe("whole", STAGES)


def go_on(path, capsys):
    """Train on; return the lines on stderr that avsr has written."""
    capsys.readouterr()
    assert cli.main(["train", str(path), "--workers", "0"]) == 0
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("avsr: ")]


def check_same(folder, kept):
    result, whole = weights(folder), weights(kept / "whole/model")
    for name, value in whole.items():
        torch.testing.assert_close(result[name], value, msg=name, rtol=0, atol=1e-6)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_whole_checkpoint_is_found(stopped, tmp_path, caplog, damage):
    folder = tmp_path / "run/0-all"
    assert find_checkpoint(folder) == (folder / "last.ckpt", 2)
    assert not caplog.messages
    DAMAGES[damage](folder / "last.ckpt")
    shutil.copy(folder / "last.ckpt", folder / "step=10.ckpt")
    assert find_checkpoint(folder) == (folder / "step=2.ckpt", 2)
    (line,) = caplog.messages
    assert line.startswith(f"{folder / 'last.ckpt'} is broken (")
    assert line.endswith(": training goes on from step=2.ckpt")
    DAMAGES[damage](folder / "step=2.ckpt")
    assert find_checkpoint(folder) == (None, 0)
    assert "no other checkpoint is whole: the stage begins anew" in caplog.messages[-1]


def test_a_run_with_a_broken_checkpoint_ends_as_one_without(stopped, tmp_path, kept, capsys):
    cut(tmp_path / "run/0-all/last.ckpt")
    (line,) = go_on(stopped, capsys)
    assert "last.ckpt is broken (" in line
    check_same(tmp_path / "run/model", kept)


def test_a_checkpoint_that_may_not_be_read_is_not_passed_over(stopped, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(ConfigError, match=r"last.ckpt: cannot be read \(Permission denied\)"):
        find_checkpoint(tmp_path / "run/0-all")


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_final_weights_are_not_taken(ended, tmp_path, caplog, damage):
    final = tmp_path / "whole/0-all/final.pt"
    DAMAGES[damage](final)
    network = load_directory(tmp_path / "whole/model")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert not load_final(final, network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    (line,) = caplog.messages
    assert line.startswith(f"{final} is broken (")


def test_files_of_a_whole_run_are_made_anew(ended, tmp_path, kept, capsys):
    final = tmp_path / "whole/0-all/final.pt"
    before = torch.load(final, weights_only=True)
    final.write_bytes(b"")
    (tmp_path / "whole/0-all/metrics.csv").write_bytes(b"step,a\n\xff\xfe,b\n")
    (tmp_path / "whole/model/model.safetensors").write_bytes(b"")
    first, second = go_on(ended, capsys)[:2]
    assert "final.pt is broken (" in first
    assert "metrics.csv is broken (" in second
    after = torch.load(final, weights_only=True)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    check_same(tmp_path / "whole/model", kept)
    (tmp_path / "whole/tokenizer.model").write_bytes(b"")
    assert cli.main(["train", str(ended), "--workers", "0"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "tokenizer.model is broken" in error
    assert "--fresh" in error


def test_a_mean_of_broken_checkpoints_is_one_line(ended, tmp_path):
    path = tmp_path / "whole/0-all/step=4.ckpt"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"step=4.ckpt is broken: delete .*0-all, to train"):
        average_checkpoints([path])


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "shape"])
def test_the_cache_of_the_front_end_is_made_anew(recipe, tmp_path, caplog, damage):  # noqa: F811
    config = read_config(recipe("run", STAGES))
    data, _ = read_utterances(config.corpora, config.languages)
    model = AVSRModel(SMALL).eval()

    def read():
        parts = cache_visual_features(model, data, tmp_path / "train", variants=2, seed=1)
        return np.concatenate(parts, 1)

    before = read()
    (cache,) = tmp_path.glob("train-visual-*.npy")
    content = cache.read_bytes()
    if damage == "shape":
        np.save(cache, before[:, 1:])
    else:
        DAMAGES[damage](cache)
    np.testing.assert_array_equal(read(), before)
    assert cache.read_bytes() == content
    (line,) = caplog.messages
    assert line.startswith(f"{cache} is broken (")


def test_a_checkpoint_never_lies_on_another_disk(recipe, tmp_path, monkeypatch):  # noqa: F811
    other = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    elsewhere = other / f"avsr-test-{os.getpid()}"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    written = []
    real = checkpoints.replace_bytes
    monkeypatch.setattr(
        checkpoints,
        "replace_bytes",
        lambda path, data: (written.append(path.name), real(path, data)),
    )
    elsewhere.chmod(0o500)
    try:
        run.train(recipe("run", [stage(updates=2, modalities={"audio": 1.0})]), workers=0)
        assert not list(elsewhere.iterdir())
    finally:
        elsewhere.rmdir()
    assert written == ["step=2.ckpt", "last.ckpt", "final.pt"]


def test_a_full_disk_is_one_line_and_loses_nothing(stopped, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        assert cli.main(["train", str(stopped), "--workers", "0"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("step=4.ckpt: cannot be written (File too large)")
    folder = tmp_path / "run/0-all"
    assert find_checkpoint(folder) == (folder / "last.ckpt", 2)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_full_disk_under_a_logger_is_one_line(recipe, tmp_path, monkeypatch):  # noqa: F811
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run, "run_stage", fail)
    with pytest.raises(WriteError, match=r"run: cannot be written .* free some space"):
        run.train(recipe("run", STAGES), workers=0)


def test_a_folder_that_may_not_be_written_is_one_line(recipe, tmp_path, capsys):  # noqa: F811
    (tmp_path / "run").write_text("a file")
    assert cli.main(["train", str(recipe("run", STAGES)), "--workers", "0"]) == 2
    assert capsys.readouterr().err.endswith("run: cannot be written (File exists)\n")
