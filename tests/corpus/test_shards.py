import dataclasses
import io
import tarfile
import time

import av
import numpy as np
import pytest
import soundfile

from avsr.corpus import (
    Record,
    ShardWriter,
    decode_mouth,
    encode_mouth,
    open_shards,
    read_manifest,
    read_shards,
)
from avsr.errors import CorpusError

NAMES = [f"{i:06d}.{kind}" for i in range(3) for kind in ("jsonl", "tar")] + ["train.jsonl"]


def record(number: int, **changes: object) -> Record:
    plain = Record(
        utterance_id=f"u{number}",
        media="talk.mp4",
        start=0.0,
        end=1.0,
        text="один два",
        language="ru",
        split="train",
        speaker="s",
    )
    return dataclasses.replace(plain, **changes)


def mouth(num_frames: int, seed: int = 0) -> np.ndarray:
    """A smooth moving image that uses the whole range of grey."""
    y, x = np.mgrid[:96, :96] / 96
    phase = np.random.default_rng(seed).uniform(0, 6)
    times = np.arange(num_frames)[:, None, None] / 25
    waves = np.sin(6 * x + phase + 3 * times) * np.cos(5 * y - 2 * times)
    return np.round(127.5 + 127.5 * waves).astype(np.uint8)


def sound(number: int) -> np.ndarray:
    return np.random.default_rng(number).uniform(-0.9, 0.9, 16_000).astype(np.float32)


def fill(out, numbers=range(5), **options):
    with ShardWriter(out, "train", shard_size=2, **options) as writer:
        for number in numbers:
            writer.write(record(number), sound(number), mouth(25, number) if number % 2 else None)
    return writer


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_samples_come_back(tmp_path):
    fill(tmp_path)
    assert sorted(contents(tmp_path)) == NAMES
    samples = list(read_shards(tmp_path, "train"))
    assert [sample.record for sample in samples] == [record(number) for number in range(5)]
    assert read_manifest(tmp_path / "train.jsonl") == [record(number) for number in range(5)]
    for number, sample in enumerate(samples):
        assert sample.waveform.dtype == np.int16
        np.testing.assert_allclose(sample.waveform / 32768, sound(number), atol=1 / 32768)
        if number % 2:
            assert sample.mouth.shape == (25, 96, 96)
            difference = sample.mouth.astype(float) - mouth(25, number)
            assert np.abs(difference).mean() < 1.5
            assert abs(difference.mean()) < 0.2
        else:
            assert sample.mouth is None


def test_a_shard_holds_ordinary_files(tmp_path):
    fill(tmp_path, [1])
    with tarfile.open(tmp_path / "train" / "000000.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == ["u1.json", "u1.flac", "u1.mp4"]
        assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
        flac, video = (tar.extractfile(member).read() for member in members[1:])
    assert soundfile.info(io.BytesIO(flac)).samplerate == 16_000
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.frames) == ("h264", 96, 25)
        assert stream.average_rate == 25


def test_webdataset_reads_the_shards(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    fill(tmp_path)
    shards = sorted(str(path) for path in (tmp_path / "train").glob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"u{number}" for number in range(5)]
    assert decode_mouth(samples[1]["mp4"]).shape == (25, 96, 96)


def test_the_same_samples_give_the_same_bytes(tmp_path):
    fill(tmp_path / "a")
    time.sleep(1.1)  # seconds are what headers would note
    fill(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_mouth_video_is_the_same_whatever_memory_held():
    crops = mouth(40) ^ np.random.default_rng(1).integers(0, 32, (40, 96, 96), np.uint8)
    first = encode_mouth(crops)
    for value in range(8):
        stray = [np.full(size, 31 * value, np.uint8) for size in range(1000, 400_000, 9_000)]
        del stray
        assert encode_mouth(crops) == first


def test_mouth_video_that_uses_the_whole_range_is_read_as_it_is():
    crops = mouth(5)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = 96
        stream.pix_fmt = "yuvj420p"
        for crop in crops:
            image = np.concatenate([crop, np.full((48, 96), 128, np.uint8)])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="yuvj420p")))
        container.mux(stream.encode(None))
    assert np.abs(decode_mouth(buffer.getvalue()).astype(float) - crops).mean() < 0.5


def test_an_interruption_leaves_complete_shards_that_are_resumed(tmp_path):
    def interrupted():
        with ShardWriter(tmp_path / "a", "train", shard_size=2) as writer:
            for number in range(3):
                writer.write(record(number), sound(number), None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(contents(tmp_path / "a")) == NAMES[:2]
    with ShardWriter(tmp_path / "a", "train", shard_size=2, resume=True) as writer:
        assert [r.utterance_id for r in writer.records] == ["u0", "u1"]
        for number in range(len(writer.records), 5):
            writer.write(record(number), sound(number), None)
    with ShardWriter(tmp_path / "b", "train", shard_size=2) as writer:
        for number in range(5):
            writer.write(record(number), sound(number), None)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_shards_are_never_mixed_by_accident(tmp_path):
    fill(tmp_path)
    with pytest.raises(CorpusError, match="has shards already"):
        fill(tmp_path, [9])
    with pytest.raises(CorpusError, match=r"'u1' is in .* already"):
        fill(tmp_path, [1], resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utterance_id": "a.b"}, "must not hold dots"),
        ({"utterance_id": "a/b"}, "must not hold dots"),
        ({"utterance_id": ""}, "must not hold dots"),
        ({"end": float("inf")}, "u0 has no end"),
    ],
)
def test_records_that_no_shard_can_hold(tmp_path, changes, message):
    with (
        pytest.raises(CorpusError, match=message),
        ShardWriter(tmp_path, "train") as writer,
    ):
        writer.write(record(0, **changes), sound(0), None)
    assert contents(tmp_path) == {}


def test_long_and_foreign_ids(tmp_path):
    name = "é" * 150
    with ShardWriter(tmp_path, "train") as writer:
        writer.write(record(0, utterance_id=name), sound(0), None)
    assert [s.record.utterance_id for s in read_shards(tmp_path, "train")] == [name]


def test_an_index_says_where_everything_lies(tmp_path):
    fill(tmp_path)
    with_index = list(open_shards(tmp_path, "train"))
    for sample in with_index:
        with tarfile.open(sample.shard) as tar:
            for kind, content in (("flac", sample.audio), ("mp4", sample.mouth)):
                name = f"{sample.record.utterance_id}.{kind}"
                if content is None:
                    assert name not in tar.getnames()
                else:
                    assert tar.extractfile(name).read() == content
    for index in (tmp_path / "train").glob("*.jsonl"):
        index.unlink()
    assert list(open_shards(tmp_path, "train")) == with_index


@pytest.mark.parametrize("line", ["{", "[]", '{"record": {}}', '{"flac": [0, 1]}', '{"flac": 3}'])
def test_a_broken_index_is_named(tmp_path, line):
    fill(tmp_path)
    index = tmp_path / "train" / "000001.jsonl"
    index.write_text(line + "\n")
    with pytest.raises(CorpusError, match=r"000001\.jsonl:1"):
        list(open_shards(tmp_path, "train"))


def test_broken_shards_are_named(tmp_path):
    with pytest.raises(CorpusError, match=r"no shards in .*valid"):
        next(open_shards(tmp_path, "valid"))
    fill(tmp_path)
    path = tmp_path / "train" / "000001.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CorpusError, match=r"000001\.tar is broken"):
        list(read_shards(tmp_path, "train"))


def test_a_broken_file_in_a_shard_is_named(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, content in [("u0.json", record(0).to_json().encode()), ("u0.flac", b"no sound")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / "train").mkdir()
    (tmp_path / "0.tar").rename(tmp_path / "train" / "0.tar")
    with pytest.raises(CorpusError, match=r"0\.tar: utterance u0: a FLAC cannot be decoded"):
        list(read_shards(tmp_path, "train"))
    with pytest.raises(CorpusError, match="mouth video cannot be decoded"):
        decode_mouth(b"no video")


def test_only_mouths_are_encoded():
    for wrong in (np.zeros((0, 96, 96), np.uint8), np.zeros((2, 96, 96)), np.zeros((96, 96))):
        with pytest.raises(ValueError, match="must be"):
            encode_mouth(wrong)
