"""What stood in a shard or its index was believed: strange ones ended in Python errors.

Each is one line that names the shard and the line or the utterance.
"""

import dataclasses
import gzip
import io
import json
import os
import tarfile

import numpy as np
import pytest

from avsr.cli import app as cli
from avsr.corpus import Record, ShardWriter, encode_mouth, open_shard, open_shards, read_manifest
from avsr.corpus.codecs import encode_audio
from avsr.errors import CorpusError
from avsr.evaluation import EvaluationConfig, Prediction, evaluate, read_run
from avsr.training.config import CorpusConfig
from avsr.training.dataset import read_utterances

RECORD = Record(
    utterance_id="a", media="train/000000.tar", end=1.0, text="one", language="en", split="train",
    speaker="s",
)  # fmt: skip
JSON = RECORD.to_json().encode()
FLAC = encode_audio(np.zeros(16_000, np.float32))
MP4 = encode_mouth(np.zeros((25, 96, 96), np.uint8))


@pytest.fixture
def shard(tmp_path):
    """A shard with one utterance and its index."""
    with ShardWriter(tmp_path, "train") as writer:
        writer.write(RECORD, np.zeros(16_000), None)
    return tmp_path / "train" / "000000.tar"


def write_tar(path, members, **options):
    """Write a tar of (name or TarInfo, content)."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content) if isinstance(name, str) else info.size
            tar.addfile(info, io.BytesIO(content))
    path.with_suffix(".jsonl").unlink(missing_ok=True)


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def index_line(**changes):
    return {"record": json.loads(JSON), "flac": [512, 10], **changes}


@pytest.mark.parametrize(
    "line",
    [
        "1",
        "null",
        "[" * 100_000,
        "9" * 10_000,
        '{"record": "a\udc80"',
        index_line(record=1),
        index_line(record=[]),
        index_line(record={}),
        index_line(record={**json.loads(JSON), "text": 1}),
        index_line(record={**json.loads(JSON), "utterance_id": ["a"]}),
        index_line(record={**json.loads(JSON), "split": "../x"}),
        index_line(record={**json.loads(JSON), "end": 10**400}),
        index_line(record={**json.loads(JSON), "end": None}),
        index_line(record={**json.loads(JSON), "end": 400_000.0}),
        index_line(record={**json.loads(JSON), "words": [1]}),
        index_line(record={k: v for k, v in json.loads(JSON).items() if k != "end"}),
        index_line(flac=None),
        index_line(flac=5),
        index_line(flac="12"),
        index_line(flac=[1]),
        index_line(flac=[1, 2, 3]),
        index_line(flac=[1.5, 2]),
        index_line(flac=[True, False]),
        index_line(flac=["0", "1"]),
        index_line(flac={"0": 0, "1": 1}),
        index_line(flac=[-5, 3]),
        index_line(flac=[0, -3]),
        index_line(mp4=[0, -1]),
        {"record": json.loads(JSON)},
        {"flac": [0, 1]},
    ],
    ids=lambda line: str(line)[-60:],
)
def test_a_strange_line_of_an_index_is_named(shard, line):
    text = line if isinstance(line, str) else json.dumps(line)
    index = shard.with_suffix(".jsonl")
    content = index.read_bytes() + text.encode(errors="surrogateescape") + b"\n"
    index.write_bytes(content)
    with pytest.raises(CorpusError, match=r"000000\.jsonl:2\b") as caught:
        open_shard(shard)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [[0, 10**30], [10**30, 0], [0, 2**63]])
def test_a_place_beyond_the_shard_names_the_utterance(shard, place):
    shard.with_suffix(".jsonl").write_text(json.dumps(index_line(flac=place)) + "\n")
    with pytest.raises(CorpusError, match=r"000000\.tar is broken \(it is too short for a\)"):
        open_shard(shard)


def test_an_utterance_stands_once_in_a_shard(shard):
    index = shard.with_suffix(".jsonl")
    index.write_bytes(index.read_bytes() * 2)
    with pytest.raises(CorpusError, match=r"000000\.tar holds a twice"):
        open_shard(shard)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.json", JSON), link("a.flac", tarfile.SYMTYPE, "/etc/passwd")], r"a\.flac is a link"),
        ([link("a.json", tarfile.SYMTYPE, "../../x"), ("a.flac", FLAC)], r"a\.json is a link"),
        ([("a.json", JSON), link("a.flac", tarfile.LNKTYPE, "a.json")], r"a\.flac is a link"),
        ([("a.json", JSON), link("a.flac", tarfile.FIFOTYPE, "")], r"a\.flac is a link or a dev"),
        ([("a.json", JSON), link("a.flac", tarfile.CHRTYPE, "")], r"a\.flac is a link or a dev"),
        ([("a.json", JSON)], "a: the utterance has no json or flac"),
        ([("a.flac", FLAC)], "a: the utterance has no json or flac"),
        ([("a.json", b"{"), ("a.flac", FLAC)], r"a\.json: not JSON"),
        ([("a.json", b"\xff"), ("a.flac", FLAC)], r"a\.json: not UTF-8"),
        ([("a.json", b"[1]"), ("a.flac", FLAC)], "must be a JSON object"),
        ([("a.json", b""), ("a.flac", FLAC)], r"a\.json: not JSON"),
        ([("a.json", b" " * 2**25), ("a.flac", FLAC)], r"a\.json has 33554432 bytes, too many"),
        ([("a.json", JSON.replace(b"1.0", b"Infinity")), ("a.flac", FLAC)], "a has no end"),
        ([("a.json", JSON.replace(b'"a"', b'"../a"')), ("a.flac", FLAC)], "has an id that"),
        ([("a.json", JSON), ("a.flac", FLAC), ("b.json", JSON), ("b.flac", FLAC)], "holds a twice"),
        ([("a\x1b[2J.json", b"{"), ("a.flac", FLAC)], r"a\\x1b\[2J\.json: not JSON"),
    ],
)
def test_a_strange_member_is_named(shard, members, message):
    write_tar(shard, members)
    with pytest.raises(CorpusError, match=message) as caught:
        open_shard(shard)
    assert str(shard) in str(caught.value)
    assert str(caught.value).isprintable()


def test_names_that_lead_elsewhere_do_no_harm(shard):
    write_tar(shard, [("../../a.json", JSON), ("../../a.flac", FLAC)])
    assert [sample.audio for sample in open_shard(shard)] == [FLAC]
    assert sorted(path.name for path in shard.parent.iterdir()) == ["000000.tar"]


def test_shards_of_other_programs_are_read(shard):
    folder = tarfile.TarInfo("./part.1")
    folder.type = tarfile.DIRTYPE
    pretty = json.dumps(json.loads(JSON), indent=2).encode()
    members = [(folder, b""), ("./part.1/a.json", pretty), ("./part.1/a.flac", FLAC)]
    members += [("./part.1/a.mp4", MP4), ("./part.1/a.txt", b"more")]
    for tar_format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        write_tar(shard, members, format=tar_format)
        (sample,) = open_shard(shard)
        assert (sample.record, sample.audio, sample.mouth) == (RECORD, FLAC, MP4)


def test_impossible_sizes_and_damaged_headers_end(shard):
    good = shard.read_bytes()
    shard.with_suffix(".jsonl").unlink()
    info = tarfile.TarInfo("a.flac")
    info.size = -512
    negative = info.tobuf(tarfile.GNU_FORMAT)
    random = np.random.default_rng(0)
    cases = [good[:512] + negative + good[1024:], negative, good[:700], b"", gzip.compress(good)]
    for _ in range(60):
        damaged = bytearray(good)
        for position in random.integers(0, 2048, 4):
            damaged[position] = random.integers(256)
        for field in (slice(124, 136), slice(148, 156)):  # size and checksum of the first member
            damaged[field] = random.bytes(field.stop - field.start)
        info = tarfile.TarInfo("a.json")
        info.size = int(random.integers(-(2**40), 2**40))
        cases += [bytes(damaged), info.tobuf(tarfile.GNU_FORMAT) + good[512:]]
    for content in cases:
        shard.write_bytes(content)
        with pytest.raises(CorpusError) as caught:
            list(open_shards(shard.parents[1], "train")) or pytest.fail("nothing was said")
        assert str(shard) in str(caught.value)


def test_what_is_no_file_is_refused(shard):
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(CorpusError, match=r"000000\.tar is no file"):
        open_shard(shard)


def test_training_and_validation_name_them(shard, capsys):
    manifest = shard.parents[1] / "train.jsonl"
    assert cli.main(["validate", str(manifest)]) == 0
    assert [r.utterance_id for r in read_manifest(manifest)] == ["a"]
    write_tar(shard, [("a.json", JSON), link("a.flac", tarfile.SYMTYPE, "/etc/passwd")])
    with pytest.raises(CorpusError, match=r"000000\.tar: a\.flac is a link"):
        read_utterances([CorpusConfig(path=str(manifest.parent))], ["en"])
    capsys.readouterr()
    assert cli.main(["validate", str(manifest)]) == 1
    assert "train.jsonl:1: record a has media that cannot be used: " in capsys.readouterr().out
    other = dataclasses.replace(RECORD, utterance_id="b").to_json().encode()
    write_tar(shard, [("b.json", other), ("b.flac", FLAC)])
    assert cli.main(["validate", str(manifest)]) == 1
    assert "record a is not in the shard 000000.tar" in capsys.readouterr().out


class Deaf:
    """Transcribes nothing."""

    segment_seconds = 20.0

    def extract_visual(self, mouths):
        return [None for _ in mouths]

    def transcribe(self, batch, languages):
        return [[Prediction("one", {"en": 1.0}) for _ in batch] for _ in languages]


def test_a_damaged_utterance_does_not_end_an_evaluation(shard):
    second = dataclasses.replace(RECORD, utterance_id="b").to_json().encode()
    sound = encode_audio(np.sin(np.arange(16_000) * 0.1))
    write_tar(shard, [("a.json", JSON), ("a.flac", b"x"), ("b.json", second), ("b.flac", sound)])
    (shard.parents[1] / "m.jsonl").write_bytes(JSON + b"\n" + second + b"\n")
    config = EvaluationConfig(
        manifest=str(shard.parents[1] / "m.jsonl"),
        modalities=("audio",),
        snr_db=("clean",),
        out=str(shard.parents[1] / "results"),
    )
    results = read_run(evaluate(config, recognizer=Deaf())).conditions["audio-clean-auto"]
    assert [u.utterance_id for u in results if u.failure] == ["a"]
    assert "a FLAC cannot be decoded" in results[0].failure
