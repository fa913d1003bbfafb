"""A language-ID model of the hub, by its short name, in a set of models."""

from pathlib import Path

import avsr
from avsr.cli import app as cli

VIDEO = str(Path(__file__).parents[2] / "demo/examples/ar.mp4")


def test_the_short_name_is_downloaded_imported_and_asked(hub, speechbrain, offline, capsys):
    folder = hub.add("speechbrain/lang-id-voxlingua107-ecapa")
    speechbrain.write(folder, ["ja: Japanese", "en: English"], probs=[0.97, 0.03], filters=60)
    assert next(iter(avsr.detect_language(VIDEO, model="voxlingua107"))) == "ja"
    offline()
    assert cli.main(["transcribe", "--model-set", "muavic", VIDEO]) == 1
    out, err = capsys.readouterr()
    assert "Japanese (0.97): no model of this set speaks it; --language forces one" in err
    assert out == ""
