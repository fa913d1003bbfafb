"""Damaged caches and lists of avsr's own ended in "unexpected", or their utterances were lost.

They are made anew, with one line that names the file.
"""

import shutil

import numpy as np
import pytest

from avsr.corpus import Record, read_manifest
from avsr.corpus.resumable import ResumableSplit
from avsr.corpus.shards import ShardFile, encode_sample
from avsr.evaluation import clips
from avsr.synthetic import corpus as synthetic


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[: min(600, path.stat().st_size // 2)])


def text(path):
    path.write_text("hello")


DAMAGES = pytest.mark.parametrize("damage", [empty, cut, text])


@DAMAGES
def test_kept_lips(tmp_path, monkeypatch, caplog, damage):
    lips = clips.Lips(np.zeros((5, 96, 96), np.uint8), np.ones(5, bool), np.ones(5, bool))
    monkeypatch.setattr(clips, "track", lambda path, edges: lips)
    (tmp_path / "clip.mp4").touch()
    for _ in range(2):
        clips.cached_track(tmp_path / "clip.mp4", tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    assert not caplog.messages
    damage(cached)
    again = clips.cached_track(tmp_path / "clip.mp4", tmp_path / "cache")
    np.testing.assert_array_equal(again.mouth, lips.mouth)
    (line,) = caplog.messages
    assert line.startswith(f"{cached} is broken (")
    clips.cached_track(tmp_path / "clip.mp4", tmp_path / "cache")
    assert len(caplog.messages) == 1


@pytest.fixture
def split(tmp_path):
    """Two finished shards of three utterances, of which one failed."""
    shards = ResumableSplit(tmp_path, "train", 3, 2)
    for number, names in enumerate(["a", "c"]):
        with ShardFile(shards.shard_path(number)) as tar:
            for name in names:
                record = Record(
                    utterance_id=name, media=shards.media(number), end=0.4, text="a", language="en",
                    split="train", speaker="s",
                )  # fmt: skip
                tar.write(encode_sample(record, np.zeros(6400, np.float32), None))
        lists = {".failed": '{"utterance_id": "b"}\n' if number == 0 else ""}
        shards.finish_shard(number, tar.records, lists)
    return shards


def test_whole_shards_are_kept(split, caplog):
    split.repair(".failed")
    assert [split.has_shard(number) for number in split.shards] == [True, True]
    split.finish()
    split.repair(".failed")
    assert split.is_finished
    assert not caplog.messages


@DAMAGES
@pytest.mark.parametrize("suffix", [".jsonl", ".failed"])
def test_lists_of_a_shard(split, caplog, damage, suffix):
    damage(split.part(0, suffix))
    split.repair(".failed")
    assert [split.has_shard(number) for number in split.shards] == [False, True]
    (line,) = caplog.messages
    assert line.endswith("the shard is made anew")


@DAMAGES
def test_a_shard(split, caplog, damage):
    damage(split.shard_path(0))
    split.repair(".failed")
    assert [split.has_shard(number) for number in split.shards] == [False, True]
    (line,) = caplog.messages
    assert "000000.tar is broken" in line


def test_a_shard_that_is_gone(split, caplog):
    split.finish()
    split.shard_path(1).unlink()
    split.repair(".failed")
    assert not split.is_finished
    (line,) = caplog.messages
    assert line.endswith("000001.tar is missing: the split is made anew")


@pytest.mark.parametrize("video", [0.0, 1.0])
def test_synthetic_clips(tmp_path, caplog, video):
    options = {
        "languages": ["de"],
        "hours": 0.0,
        "valid_hours": 0.0,
        "clips": 2,
        "valid_clips": 0,
        "video_fraction": video,
    }
    synthetic.synthesize(tmp_path / "out", seed=1, **options)
    made = sorted((tmp_path / "out/clips").iterdir())
    before = [path.read_bytes() for path in made]
    for damage in (empty, cut):
        manifest = read_manifest(tmp_path / "out/test.jsonl")
        (tmp_path / "out/test.jsonl").unlink()
        caplog.clear()
        damage(made[0])
        synthetic.synthesize(tmp_path / "out", seed=1, **options)
        assert [path.read_bytes() for path in made] == before
        assert read_manifest(tmp_path / "out/test.jsonl") == manifest
        (line,) = caplog.messages
        assert line.startswith(f"{made[0]} is broken (")
    shutil.rmtree(tmp_path / "out")
