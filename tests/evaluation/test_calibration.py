"""``avsr calibrate`` on tones and an untrained model, which hears words in them."""

import json
import shutil

import pytest

from avsr.cli.app import main
from avsr.errors import CorpusError, ModelError
from avsr.evaluation import calibration
from avsr.evaluation.calibration import calibrate
from avsr.hub import load_network
from avsr.model import reliability
from avsr.model.directory import load_directory, save_directory


@pytest.fixture
def folder(untrained, tmp_path, monkeypatch):
    """A copy of the model, which five clips are enough for."""
    monkeypatch.setattr(calibration, "MIN_CLIPS", 5)
    return shutil.copytree(untrained, tmp_path / "model")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_statistics_are_written_and_read_and_kept(folder, manifest, lips, capsys):
    assert run("calibrate", folder, manifest, "--advice", "Go on.") == 0
    assert "reliability.json  6 clips" in capsys.readouterr().out
    written = json.loads((folder / reliability.FILE).read_text())
    assert written["advice"] == "Go on."
    assert written["data"] == [{"manifest": "test.jsonl", "split": None, "limit": None, "clips": 6}]
    model = load_directory(folder)
    assert model.reliability.clips == 6
    save_directory(model, folder.parent / "again", card="")
    assert json.loads((folder.parent / "again" / reliability.FILE).read_text()) == written
    # The advice stays where none is given.
    assert run("calibrate", folder, manifest, "--split", "test") == 0
    written = json.loads((folder / reliability.FILE).read_text())
    assert (written["advice"], written["data"][0]["clips"]) == ("Go on.", 5)


def test_the_clips_that_it_is_made_from_are_reliable(folder, manifest, lips):
    model = load_network(folder, "cpu")
    seen = []
    fitted = calibrate(model, [manifest], progress=lambda *told: seen.append(told))
    assert seen[-1] == ("clips", 6, 6)
    assert fitted.clips == 6
    reader = calibration.ClipReader(manifest.parent)
    for _, rows in calibration._collect(model, reader, calibration.read_manifest(manifest)):
        assert all(fitted.judge(row).reliable for row in rows)


def test_too_few_clips_are_refused(untrained, manifest, tmp_path, capsys):
    folder = shutil.copytree(untrained, tmp_path / "model")
    with pytest.raises(CorpusError, match="6 clips with words are too few"):
        calibrate(load_network(folder, "cpu"), [manifest])
    assert run("calibrate", folder, manifest) == 2
    assert "6 clips with words are too few" in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / reliability.FILE).exists()


@pytest.mark.parametrize("model", ["tiny", "hf://owner/name", "no/such/model"])
def test_only_a_directory_can_be_calibrated(model, manifest, capsys):
    assert run("calibrate", model, manifest) == 2
    error = capsys.readouterr().err
    assert f"{model} is no model directory that can be written into" in error
    assert error.count("\n") == 1


def test_statistics_of_a_part_that_the_model_lacks_are_refused(folder, manifest, lips):
    assert run("calibrate", folder, manifest) == 0
    settings = json.loads((folder / "config.json").read_text())
    settings["parts"].remove("ctc")
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="does not fit the model, which has no ctc"):
        load_directory(folder)
