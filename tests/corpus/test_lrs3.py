import pytest

from avsr.corpus import read_lrs3
from avsr.corpus.lrs3 import VALID_SHARE
from avsr.errors import CorpusError

PRETRAIN = """Text:  HELLO BIG WORLD
Conf:  4

WORD START END ASDSCORE
HELLO 0.10 0.45 8.1
BIG 0.45 0.60 7.0
WORLD 0.72 1.10 5.5
"""
SHORT = "Text:  SO IT'S TRUE\nConf:  3\n"


def lay_out(root, labels):
    for name, text in labels.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_labels_become_records(tmp_path):
    lay_out(tmp_path, {"pretrain/aB-1/00001.txt": PRETRAIN, "test/c.2/50001.txt": SHORT})
    first, last = read_lrs3(tmp_path)
    assert first.utterance_id == "lrs3-pretrain-aB-1-00001"
    assert (first.media, first.split) == ("pretrain/aB-1/00001.mp4", "train")
    assert (first.text, first.speaker) == ("hello big world", "lrs3-aB-1")
    assert first.words[1] == {"word": "big", "start": 0.45, "end": 0.6}
    assert (last.utterance_id, last.split) == ("lrs3-test-c_2-50001", "test")
    assert (last.text, last.words) == ("so it's true", None)


def test_whole_talks_of_trainval_validate(tmp_path):
    talks = [f"talk{number}" for number in range(400)]
    lay_out(tmp_path, {f"trainval/{talk}/00001.txt": SHORT for talk in talks})
    lay_out(tmp_path, {f"pretrain/{talk}/00001.txt": PRETRAIN for talk in talks})
    records = read_lrs3(tmp_path)
    valid_talks = {r.speaker for r in records if r.split == "valid"}
    assert 0.3 * VALID_SHARE < len(valid_talks) / len(talks) < 3 * VALID_SHARE
    assert not valid_talks & {r.speaker for r in records if r.split == "train"}


@pytest.mark.parametrize("text", ["", "HELLO\n", "Text:  \n", PRETRAIN + "HELLO 1.0\n"])
def test_broken_labels_are_named(tmp_path, text):
    lay_out(tmp_path, {"test/a/00001.txt": text})
    with pytest.raises(CorpusError, match=r"00001\.txt"):
        read_lrs3(tmp_path)


def test_a_folder_that_is_no_lrs3(tmp_path):
    with pytest.raises(CorpusError, match="is not LRS3"):
        read_lrs3(tmp_path)
