"""MuAViC in miniature, laid out as its public scripts leave it."""

import wave

import av
import numpy as np
import pytest

from avsr import cli
from avsr.corpus import read_muavic, read_shards
from avsr.corpus.prepare import read_failures
from avsr.errors import CorpusError

FRAMES = 10


def write_segment(root, language, split, name, size=96):
    """A second's part of mouth crops in colour, brighter frame by frame, and a tone."""
    video = root / language / "video" / split / f"{name}.mp4"
    audio = root / language / "audio" / split / f"{name}.wav"
    for path in (video, audio):
        path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10"}
        for i in range(FRAMES):
            picture = np.full((size, size, 3), 40 + 15 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    with wave.open(str(audio), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(640 * FRAMES) / 16_000)
        file.writeframes(tone.astype("<i2").tobytes())


def write_list(root, language, split, rows):
    folder = root / language
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "\t".join([name, f"/old/{name}.mp4", f"/old/{name}.wav", str(FRAMES), str(640 * FRAMES)])
        for name, _ in rows
    ]
    (folder / f"{split}.tsv").write_text("\n".join(["/", *lines]) + "\n")
    (folder / f"{split}.{language}").write_text("".join(f"{text}\n" for _, text in rows))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "muavic"
    write_list(root, "es", "train", [("t1/t1_0000", "hola a todos"), ("t2/t2_0003", "adiós")])
    write_list(root, "es", "test", [("t3/t3_0000", "sí")])
    write_list(root, "el", "train", [("ν.1/0001", "καλημέρα")])
    write_segment(root, "es", "train", "t1/t1_0000")
    write_segment(root, "es", "test", "t3/t3_0000")
    write_segment(root, "el", "train", "ν.1/0001", size=64)
    return root


def test_lists_become_records(root):
    greek, *spanish = read_muavic(root)
    assert greek.utterance_id == "el-ν_1-0001"
    assert [r.text for r in spanish] == ["hola a todos", "adiós", "sí"]
    first = spanish[0]
    assert first.media == "es/video/train/t1/t1_0000.mp4"
    assert (first.language, first.split, first.speaker, first.end) == ("es", "train", "es-t1", 0.4)
    assert [r.language for r in read_muavic(root, ["es"])] == ["es"] * 3


def test_crops_are_taken_as_they_are_and_missing_talks_listed(root, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["prepare", "muavic", str(root), str(out)]) == 1
    (sample,) = read_shards(out, "train")
    assert sample.record.utterance_id == "es-t1-t1_0000"
    assert sample.mouth.shape == (FRAMES, 96, 96)
    levels = sample.mouth.mean((1, 2))
    assert np.abs(np.diff(levels) - 15).max() < 4
    assert len(sample.waveform) == 640 * FRAMES
    assert np.abs(sample.waveform).max() == pytest.approx(8000, rel=0.05)
    reasons = {f.utterance_id: f.reason for f in read_failures(out / "train.failed.jsonl")}
    assert "t2_0003" in reasons["es-t2-t2_0003"]
    assert reasons["el-ν_1-0001"].endswith("is 64x64, mouth crops are 96x96")
    assert "train  1 utterances" in capsys.readouterr().out


def test_what_does_not_fit_is_named(root, tmp_path):
    with pytest.raises(CorpusError, match="is not MuAViC"):
        read_muavic(tmp_path / "empty")
    with pytest.raises(CorpusError, match="fr has no train"):
        read_muavic(root, ["fr"])
    (root / "es/train.es").write_text("hola\n")
    with pytest.raises(CorpusError, match=r"has 2 segments, train\.es 1 texts"):
        read_muavic(root)
    (root / "el/train.tsv").write_text("/\n0001\t/a\t/b\t1\t2\n")
    with pytest.raises(CorpusError, match=r"el/train\.tsv:2: not 'talk/segment'"):
        read_muavic(root, ["el"])
