"""A small MuAViC, in the layout of its public scripts."""

import numpy as np
import pytest

from avsr.cli import app as cli
from avsr.corpus import read_muavic, read_shards
from avsr.corpus.prepare import read_failures
from avsr.errors import CorpusError


@pytest.fixture
def root(tmp_path, muavic):
    root = tmp_path / "muavic"
    muavic.write_list(
        root, "es", "train", [("t1/t1_0000", "hola a todos"), ("t2/t2_0003", "adiós")]
    )
    muavic.write_list(root, "es", "test", [("t3/t3_0000", "sí")])
    muavic.write_list(root, "el", "train", [("ν.1/0001", "καλημέρα")])
    muavic.write_segment(root, "es", "train", "t1/t1_0000")
    muavic.write_segment(root, "es", "test", "t3/t3_0000")
    muavic.write_segment(root, "el", "train", "ν.1/0001", size=64)
    return root


def test_lists_become_records(root):
    greek, *spanish = read_muavic(root)
    assert greek.utterance_id == "el-ν_1-0001"
    assert [r.text for r in spanish] == ["hola a todos", "adiós", "sí"]
    first = spanish[0]
    assert first.media == "es/video/train/t1/t1_0000.mp4"
    assert (first.language, first.split, first.speaker, first.end) == ("es", "train", "es-t1", 0.4)
    assert [r.language for r in read_muavic(root, ["es"])] == ["es"] * 3


def test_crops_are_taken_as_they_are_and_missing_talks_listed(root, muavic, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["prepare", "muavic", str(root), str(out)]) == 1
    (sample,) = read_shards(out, "train")
    assert sample.record.utterance_id == "es-t1-t1_0000"
    assert sample.mouth.shape == (muavic.FRAMES, 96, 96)
    levels = sample.mouth.mean((1, 2))
    assert np.abs(np.diff(levels) - 15).max() < 4
    assert len(sample.waveform) == 640 * muavic.FRAMES
    assert np.abs(sample.waveform).max() == pytest.approx(8000, rel=0.05)
    reasons = {f.utterance_id: f.reason for f in read_failures(out / "train.failed.jsonl")}
    assert "t2_0003" in reasons["es-t2-t2_0003"]
    assert "is no mouth video: it is 64x64" in reasons["el-ν_1-0001"]
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
    with pytest.raises(CorpusError, match=r"el/train\.tsv:2: expected 'talk/segment'"):
        read_muavic(root, ["el"])
