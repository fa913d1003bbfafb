import hashlib

import numpy as np
import pytest

from avsr.corpus import Record, ShardWriter, read_manifest, read_shards
from avsr.corpus.varied import vary_corpus
from avsr.errors import CorpusError

pytest.importorskip("pyworld")
RATE = 16_000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three utterances of a second; a tone and a white frame mark the middle of the first two."""
    root = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    with ShardWriter(root, "train") as writer:
        for number in range(3):
            time = np.arange(RATE) / RATE
            tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20))
            waveform = 0.05 * tone * (np.abs(time - 0.5) < 0.1) + rng.normal(0, 1e-4, RATE)
            mouth = np.full((25, 96, 96), 90, np.uint8)
            mouth[10:15] = 200
            record = Record(
                utterance_id=f"one-{number}",
                media="train/000000.tar",
                end=1.0,
                text="middle",
                language="en",
                split="train",
                speaker="one",
                words=[{"word": "middle", "start": 0.4, "end": 0.6}],
            )
            writer.write(record, waveform, None if number == 2 else mouth)
    return root


def digests(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).digest() for p in files}


@pytest.fixture(scope="module")
def varied(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("varied")
    return out, vary_corpus(source, out, copies=3, shard_size=4, seed=1)


def test_sound_lips_and_words_keep_their_common_time(varied):
    out, records = varied
    samples = list(read_shards(out, "train"))
    assert [sample.record for sample in samples] == records == read_manifest(out / "train.jsonl")
    assert [record.utterance_id for record in records[:4]] == [
        *("one-0-v0", "one-0-v1", "one-0-v2", "one-1-v0")
    ]
    durations = set()
    for sample in samples:
        (word,) = sample.record.words
        middle = (word["start"] + word["end"]) / 2
        power = sample.waveform.astype(float) ** 2
        heard = (power * np.arange(len(power))).sum() / power.sum() / RATE
        assert heard == pytest.approx(middle, abs=0.03)
        assert len(sample.waveform) == round(sample.record.end * RATE)
        durations.add(sample.record.end)
        if sample.mouth is not None:
            assert len(sample.mouth) == round(sample.record.end * 25)
            light = sample.mouth.mean(axis=(1, 2))
            seen = np.flatnonzero(light > (light.max() + light.min()) / 2).mean() + 0.5
            assert seen / 25 == pytest.approx(middle, abs=0.04)
    assert len(durations) > 3
    assert [sample.mouth is None for sample in samples] == [False] * 6 + [True] * 3


def test_copies_differ(varied):
    out, _ = varied
    first, second = list(read_shards(out, "train"))[:2]
    assert len(first.waveform) != len(second.waveform)
    assert first.record.text == second.record.text == "middle"


def test_an_interrupted_run_continues_to_the_same_bytes(source, varied, tmp_path):
    def stop(part, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vary_corpus(source, tmp_path, copies=3, shard_size=4, seed=1, progress=stop)
    assert not (tmp_path / "train.jsonl").exists()
    calls = []
    vary_corpus(
        source, tmp_path, copies=3, shard_size=4, seed=1, progress=lambda *c: calls.append(c)
    )
    assert calls == [("train", 8, 9), ("train", 9, 9)]
    assert digests(tmp_path) == digests(varied[0])


def test_mistakes_are_named(source, varied, tmp_path):
    with pytest.raises(CorpusError, match="copies, shard_size and workers must be at least 1"):
        vary_corpus(source, tmp_path, copies=0)
    with pytest.raises(CorpusError, match="is the corpus itself"):
        vary_corpus(source, source)
    with pytest.raises(CorpusError, match="written with other options"):
        vary_corpus(source, varied[0], copies=2, shard_size=4, seed=1)
    with pytest.raises(CorpusError, match="no shards"):
        vary_corpus(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()
