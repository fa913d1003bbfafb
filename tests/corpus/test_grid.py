from pathlib import Path

import pytest

from avsr.corpus import read_grid, read_manifest
from avsr.corpus.grid import spell_sentence
from avsr.errors import CorpusError

ALIGNMENT = """0 23750 sil
23750 29500 bin
29500 34000 blue
34000 35500 at
35500 41000 f
41000 42000 sp
42000 47250 two
47250 53000 now
53000 74500 sil
"""


def lay_out(root: Path, videos: list[str], alignments: dict[str, str]) -> None:
    for name in videos:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in alignments.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    "alignment", ["s1/align/bbaf2n.align", "align/s1/bbaf2n.align", "align/bbaf2n.align"]
)
def test_public_layouts(tmp_path, alignment):
    lay_out(tmp_path, ["s1/bbaf2n.mpg"], {alignment: ALIGNMENT})
    (record,) = read_grid(tmp_path)
    assert record.utterance_id == "grid-s1-bbaf2n"
    assert (record.media, record.speaker, record.split) == ("s1/bbaf2n.mpg", "grid-s1", "train")
    assert (record.text, record.language) == ("bin blue at f two now", "en")
    assert record.words[0] == {"word": "bin", "start": 0.95, "end": 1.18}
    assert [word["word"] for word in record.words] == record.text.split()


def test_without_alignment_the_name_spells_the_sentence(tmp_path):
    lay_out(tmp_path, ["s3/swizzp.mpg"], {})
    (record,) = read_grid(tmp_path)
    assert record.text == "set white in z zero please"
    assert record.words is None


def test_speakers_make_the_splits(tmp_path):
    videos = [f"s{k}/{name}.mpg" for k in (1, 2, 10) for name in ("bbaf2n", "lrbz9s")]
    lay_out(tmp_path, videos, {})
    records = read_grid(tmp_path, valid_speakers=["s10"], test_speakers=["s1"])
    assert {(r.speaker, r.split) for r in records} == {
        ("grid-s1", "test"),
        ("grid-s2", "train"),
        ("grid-s10", "valid"),
    }
    with pytest.raises(CorpusError, match="no speaker s7"):
        read_grid(tmp_path, test_speakers=["s7"])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(CorpusError, match="no GRID videos"):
        read_grid(tmp_path)
    lay_out(tmp_path, ["s1/bbaf2n.mpg"], {"s1/align/bbaf2n.align": "0 1 sil\nbroken\n"})
    with pytest.raises(CorpusError, match=r"bbaf2n\.align:2: 'broken' is not"):
        read_grid(tmp_path)
    with pytest.raises(CorpusError, match="does not spell a GRID sentence"):
        spell_sentence(Path("s1/holiday.mpg"))


def test_names_spell_what_the_alignments_say(grid_dir):
    for record in read_manifest(grid_dir / "manifest.jsonl"):
        assert spell_sentence(Path(record.media)) == record.text
