"""A shard could make its reader open other files, and a broken clip ended in 45 lines."""

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.corpus import Record, open_shard, read_shards
from avsr.corpus.codecs import decode_audio, encode_audio, encode_mouth
from avsr.errors import CorpusError, MediaError
from avsr.evaluation.clips import ClipReader
from avsr.training.collate import BatchLoader, TrainingBatches
from avsr.training.dataset import Utterances

SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n"
RECORD = Record(
    utterance_id="u0",
    media="train/0.tar",
    start=0.0,
    end=1.0,
    text="one",
    language="en",
    split="train",
    speaker="s",
)


def write_shard(folder: Path, *, flac: bytes | None = None, mp4: bytes | None = None) -> Path:
    path = folder / "train" / "0.tar"
    path.parent.mkdir()
    sound = (
        encode_audio(0.1 * np.sin(np.arange(16_000, dtype=np.float32))) if flac is None else flac
    )
    mouth = encode_mouth(np.zeros((25, 96, 96), np.uint8)) if mp4 is None else mp4
    members = {"u0.json": RECORD.to_json().encode(), "u0.flac": sound, "u0.mp4": mouth}
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def concat_of(folder: Path) -> bytes:
    other = folder / "secret.mp4"
    other.write_bytes(encode_mouth(np.full((25, 96, 96), 77, np.uint8)))
    return f"ffconcat version 1.0\nfile {other}\n".encode()


@pytest.mark.parametrize("kind", ["concat", "sdp", "cut", "noise", "larger", "empty"])
def test_a_mouth_video_that_is_none_names_shard_and_utterance(tmp_path, kind):
    whole = encode_mouth(np.zeros((25, 96, 96), np.uint8))
    content = {
        "concat": concat_of(tmp_path),
        "sdp": SDP,
        "cut": whole[: len(whole) // 2],
        "noise": np.random.default_rng(0).bytes(5_000),
        "larger": encode_mouth(np.zeros((2, 128, 96), np.uint8)),
        "empty": b"",
    }[kind]
    shard = write_shard(tmp_path, mp4=content)
    where = r"0\.tar: utterance u0: a mouth video cannot be "
    with pytest.raises(CorpusError, match=where) as error:
        list(read_shards(tmp_path, "train"))
    assert "\n" not in str(error.value)
    with pytest.raises(CorpusError, match=where):
        Utterances(open_shard(shard), ["en"]).mouth(0)
    with pytest.raises(MediaError, match=where):  # this clip fails, the evaluation goes on
        ClipReader(tmp_path).lips(RECORD)
    assert ClipReader(tmp_path).sound(RECORD) is not None


def test_sound_that_is_none_names_shard_and_utterance(tmp_path):
    shard = write_shard(tmp_path, flac=b"fLaC and no more")
    where = r"0\.tar: utterance u0: a FLAC cannot be decoded"
    with pytest.raises(CorpusError, match=where):
        Utterances(open_shard(shard), ["en"]).waveform(0)
    with pytest.raises(MediaError, match=where):
        ClipReader(tmp_path).sound(RECORD)


def test_samples_that_only_the_header_promises_take_no_memory():
    encoded = bytearray(encode_audio(np.zeros(16_000, np.float32)))
    rate_and_more = struct.unpack(">Q", encoded[18:26])[0]  # the last 36 bits: number of samples
    encoded[18:26] = struct.pack(">Q", rate_and_more | (1 << 36) - 1)
    with pytest.raises(MemoryError):
        soundfile.read(io.BytesIO(encoded), dtype="int16")
    with pytest.raises(CorpusError, match="a FLAC cannot be decoded"):
        decode_audio(bytes(encoded))


def test_stereo_is_refused():
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((1600, 2)), 16_000, format="FLAC")
    with pytest.raises(CorpusError, match="2 channels"):
        decode_audio(buffer.getvalue())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_of_the_training_gives_the_one_line(tmp_path, workers):
    data = Utterances(open_shard(write_shard(tmp_path, mp4=b"no video")), ["en"])
    batches = TrainingBatches([0], lambda plan, index, parts: data.mouth(plan))  # type: ignore[arg-type, list-item]
    with pytest.raises(CorpusError, match=r"0\.tar: utterance u0") as error:
        list(BatchLoader(batches, batch_size=None, num_workers=workers))
    assert "\n" not in str(error.value)
