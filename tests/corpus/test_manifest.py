import dataclasses
import json
import math
import re

import pytest

from avsr.corpus import Record, read_manifest, resolve_media, write_manifest
from avsr.errors import CorpusError

FULL = Record(
    utterance_id="talk-0001",
    media="clips/talk.mp4",
    start=1.25,
    end=3.5,
    text="l'été\u2028à Łódź",  # a line separator that is no newline
    language="fr",
    split="train",
    speaker="anna",
    words=[{"word": "l'été", "start": 0.1, "end": 0.4}],
    phones=[{"phone": "e", "start": 0.1, "end": 0.2}],
    title='Une "histoire"',
    description="two\nlines",
    location="Paris",
)
SHORT = Record(utterance_id="b", media="/b.mp4", text="", language="en", split="test", speaker="x")


def test_written_records_come_back(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [FULL, SHORT])
    assert read_manifest(tmp_path / "m.jsonl") == [FULL, SHORT]
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
    assert len((tmp_path / "m.jsonl").read_text(encoding="utf-8").split("\n")) == 3


def test_a_table_holds_the_same_records(tmp_path):
    write_manifest(tmp_path / "m.csv", [FULL, SHORT])
    assert read_manifest(tmp_path / "m.csv") == [FULL, dataclasses.replace(SHORT, text="")]


def test_a_table_from_a_spreadsheet_reads(tmp_path):
    table = "utterance_id,media,text,language,split,speaker\r\na,a.mp4,été,fr,train,anna\r\n"
    (tmp_path / "m.csv").write_text("\ufeff" + table, encoding="utf-8", newline="")
    (record,) = read_manifest(tmp_path / "m.csv")
    assert (record.text, record.start, record.end) == ("été", 0.0, math.inf)


def test_values_that_are_not_known_are_left_out():
    assert json.loads(SHORT.to_json()) == {
        "utterance_id": "b",
        "media": "/b.mp4",
        "start": 0.0,
        "text": "",
        "language": "en",
        "split": "test",
        "speaker": "x",
    }
    assert SHORT.end == math.inf


def test_a_failed_write_keeps_the_old_manifest(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [SHORT])
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(tmp_path / "m.jsonl", [FULL, dataclasses.replace(SHORT, start=math.nan)])
    assert read_manifest(tmp_path / "m.jsonl") == [SHORT]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "record b has a text that is not text"),
        ({"text": "a\0b"}, r"record b has a text with the control character '\x00'"),
        ({"start": 2, "end": 1}, "record b does not satisfy 0 <= start < end (start 2, end 1)"),
        ({"start": -1}, "record b does not satisfy 0 <= start < end"),
        ({"start": "0"}, "record b has a start or end that is not a number"),
        ({"utterance_id": "a.b"}, "record a.b has an id that is empty or holds a dot"),
        ({"words": [{"word": "x"}]}, "record b has words that are not a list"),
        ({"phones": [{"phone": 1}]}, 'record b has phones that are not a list of {"phone"'),
        ({"colour": 1}, "record b has the unknown field colour"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path, change, message):
    path = tmp_path / "m.jsonl"
    values = {**json.loads(SHORT.to_json()), **change}
    path.write_text(FULL.to_json() + "\n\n" + json.dumps(values) + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=re.escape(f"{path}:3: {message}")):
        read_manifest(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"utterance_id": "q", "media": "x"}', "record q misses language, misses speaker"),
        ("{broken", "not JSON"),
        ("[1]", "a JSON list: write one object per line"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, message):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_manifest(tmp_path / "m.jsonl")


def test_the_same_id_twice_is_refused(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [FULL, SHORT, SHORT])
    with pytest.raises(CorpusError, match=r":3: record b is in line 2 already"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere\.jsonl: No such file"):
        read_manifest(tmp_path / "nowhere.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_manifest(tmp_path / "b.jsonl")


def test_media_count_from_the_manifest(tmp_path):
    assert resolve_media(tmp_path / "m.jsonl", FULL) == tmp_path / "clips" / "talk.mp4"
    assert str(resolve_media(tmp_path / "m.jsonl", SHORT)) == "/b.mp4"


def test_the_grid_manifest_is_read(grid_dir):
    records = read_manifest(grid_dir / "manifest.jsonl")
    assert len({record.utterance_id for record in records}) == len(records) == 900
    assert resolve_media(grid_dir / "manifest.jsonl", records[0]).is_file()
