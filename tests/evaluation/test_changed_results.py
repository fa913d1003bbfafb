"""The files of a run that somebody changed: what is not of the manifest is transcribed anew."""

import json

import pytest
from fake_recognizer import FakeRecognizer

from avsr.evaluation import EvaluationConfig, evaluate, read_run, results, write_report


@pytest.mark.parametrize("key", ["language", "reference"])
def test_changed_results(manifest, key):
    def score(snr_db):
        config = EvaluationConfig(
            manifest=str(manifest),
            out=str(manifest.parent / "results"),
            modalities=("audio",),
            snr_db=snr_db,
        )
        folder = evaluate(config, recognizer=FakeRecognizer())
        return folder, results(read_run(folder))["conditions"]

    folder, before = score(("clean", 0))
    for path in (folder / "conditions").iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows[::2]:
            row[key] = "fr"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, after = score(("clean",))
    assert after["audio-clean-auto"] == before["audio-clean-auto"]
    write_report(folder)  # the other condition has other languages, or texts
    assert score(("clean", 0))[1] == before
