"""Splits that are written shard by shard: their layout, and that corpora are not mixed."""

import json

import pytest

from avsr.corpus import Record, read_manifest
from avsr.corpus.resumable import ResumableSplit, claim_output
from avsr.errors import CorpusError


def record(name: str) -> Record:
    return Record(
        utterance_id=name, media="m", text="a", language="en", split="train", speaker="s", end=1.0
    )


def test_the_last_shard_holds_the_remainder(tmp_path):
    split = ResumableSplit(tmp_path, "train", 7, 3)
    assert [list(split.indices(shard)) for shard in split.shards] == [[0, 1, 2], [3, 4, 5], [6]]
    assert split.media(2) == "train/000002.tar"
    assert split.shard_path(2) == tmp_path / "train/000002.tar"


def test_lists_of_shards_become_the_manifest_in_order(tmp_path):
    split = ResumableSplit(tmp_path, "train", 3, 2)
    split.finish_shard(1, [record("c")], {".failed": "second"})
    assert [split.has_shard(shard) for shard in split.shards] == [False, True]
    assert not split.is_finished
    split.finish_shard(0, [record("a"), record("b")], {".failed": "first "})
    assert split.merge_lists(".failed") == "first second"
    records = [record("a"), record("b"), record("c")]
    assert split.finish() == records
    assert split.is_finished
    assert read_manifest(tmp_path / "train.jsonl") == records
    assert not split.part(0).exists()


def test_a_claim_is_written_once_and_then_compared(tmp_path):
    path = tmp_path / "plan.json"
    claim_output(path, {"seed": 1, "size": 2})
    assert json.loads(path.read_text()) == {"seed": 1, "size": 2}
    claim_output(path, {"seed": 1, "size": 2})
    with pytest.raises(CorpusError, match=r"plan.json was written with other options \(size\)"):
        claim_output(path, {"seed": 1, "size": 3})
    assert json.loads(path.read_text())["size"] == 2


def test_only_the_options_of_a_section_must_match_and_may_have_defaults(tmp_path):
    path = tmp_path / "plan.json"
    claim_output(path, {"options": {"seed": 1}, "versions": "old"}, section="options")
    new = {"options": {"seed": 1, "words": 50}, "versions": "new"}
    claim_output(path, new, section="options", defaults={"words": 50})
    assert json.loads(path.read_text())["versions"] == "old"
    with pytest.raises(CorpusError, match=r"\(words\)"):
        claim_output(path, new, section="options", defaults={"words": 99})


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"options": 3}'])
def test_a_broken_claim_is_named(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(CorpusError, match=r"plan.json is broken"):
        claim_output(path, {"options": {"seed": 1}}, section="options")
