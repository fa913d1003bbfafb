import dataclasses
import json

import numpy as np
import pytest
import soundfile

from avsr.cli import app as cli
from avsr.corpus import Record, read_manifest, validate_manifest, write_manifest
from avsr.errors import CorpusError

GOOD = Record(
    utterance_id="a", media="a.wav", start=0.0, end=1.0, text="ja", language="de", split="train",
    speaker="anna",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"text": " "}, "has an empty text"),
        ({"language": "xx"}, "has the language 'xx', which is not an ISO 639-1 code"),
        ({"language": "en"}, "has the language 'en', not one of de, nl"),
        ({"split": "dev"}, "has the split 'dev', not one of train, valid, test"),
        ({"split": "valid"}, "is valid, but speaker 'anna' is already in train"),
        ({"start": 1.5, "end": 2.0}, "starts at 1.5 s, but a.wav has 1.00 s"),
        ({"end": 1.5}, "ends at 1.5 s, but a.wav has 1.00 s"),
        ({"media": "b.wav"}, "has media that cannot be used: "),
    ],
)
def test_a_broken_record_is_named_with_its_bound(folder, change, problem):
    broken = dataclasses.replace(GOOD, utterance_id="b", **change)
    write_manifest(folder / "m.jsonl", [GOOD, broken])
    count, entries = validate_manifest(folder / "m.jsonl", languages=["de", "nl"])
    assert count == 2
    assert [(entry.utterance_id, entry.line) for entry in entries] == [("b", 2)]
    assert entries[0].problems[0].startswith(problem)


def test_every_broken_record_is_named_not_only_the_first(folder, capsys):
    good = GOOD.to_json()
    lines = [good, good, "{", json.dumps({"utterance_id": "c"}), good.replace('"a"', '"d"')]
    path = folder / "m.jsonl"
    path.write_text("\n".join(lines))
    assert cli.main(["validate", str(path)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{path}:2: record a is in line 1 already"
    assert printed[1].startswith(f"{path}:3: not JSON")
    assert printed[2].startswith(f"{path}:4: record c misses language, misses media")
    assert printed[3:] == ["5 records, 3 broken"]


def test_a_valid_manifest_exits_0_also_without_its_media(folder, capsys):
    write_manifest(folder / "m.csv", [GOOD, dataclasses.replace(GOOD, utterance_id="b")])
    assert cli.main(["validate", str(folder / "m.csv")]) == 0
    (folder / "a.wav").unlink()
    assert cli.main(["validate", str(folder / "m.csv"), "--no-media"]) == 0
    assert capsys.readouterr().out == "2 records, 0 broken\n" * 2


def test_a_table_with_too_many_cells_or_none_is_refused(folder):
    path = folder / "m.csv"
    write_manifest(path, [GOOD])
    path.write_text(path.read_text() + "b,a.wav,0,1,yes,en,train,x,,,,,,surplus\n")
    with pytest.raises(CorpusError, match=r"m\.csv:3: record b has more cells than the first row"):
        read_manifest(path)
    path.write_text(path.read_text().splitlines()[0] + "\nb,a.wav,zero,1,yes,en,train,x\n")
    with pytest.raises(CorpusError, match="start or end that is not a number"):
        read_manifest(path)
