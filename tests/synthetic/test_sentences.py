import numpy as np
import pytest

from avsr.errors import CorpusError
from avsr.synthetic.corpus import synthesize
from avsr.synthetic.sentences import (
    draw_sentence,
    identify_texts,
    mean_duration,
    read_sentences,
)
from avsr.synthetic.text import text_split
from avsr.synthetic.utterance import MAX_SECONDS, make_utterance

pytest.importorskip("espeakng_loader")
pytest.importorskip("wordfreq")

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def write_sentences(folder, lines, language="en"):
    (folder / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    lines = [f"There are {a} cats, and {b} dogs!" for a in NUMBERS for b in NUMBERS]
    return write_sentences(tmp_path, ["# Own work, CC0", "", *lines, lines[0].upper()])


def test_sentences_are_normalised_and_split_by_their_hash(folder):
    splits = read_sentences(folder, "en")
    assert sum(map(len, splits.values())) == 100
    for split, sentences in splits.items():
        for text in sentences:
            assert text_split(text, "en") == split
    assert "there are one cats and one dogs" in [text for one in splits.values() for text in one]


def test_an_utterance_says_a_sentence_of_its_split(folder):
    for split in ("train", "valid", "test"):
        utterance = make_utterance(1, split, "en", 0, texts=folder)
        assert utterance.text in read_sentences(folder, "en")[split]
        assert [word for word, _, _ in utterance.words] == utterance.text.split()


@pytest.mark.parametrize(
    ("language", "line", "message"),
    [
        ("en", "at 5 o'clock", "line 2 has digits: write numbers in words"),
        ("en", "the дом is big", "line 2 has 'дом', which is no word of the language 'en'"),
        ("ru", "это house", "line 2 has 'house'"),
        ("de", "...", "line 2 has no words"),
        ("en", "word " * 30, "line 2 has 149 letters: divide it, 120 are about 7 seconds"),
    ],
)
def test_a_line_that_cannot_be_spoken_is_named(tmp_path, language, line, message):
    texts = write_sentences(tmp_path, ["# comment", line], language)
    with pytest.raises(CorpusError, match=message):
        read_sentences(texts, language)


def test_of_many_bad_lines_the_first_ones_are_named(tmp_path):
    with pytest.raises(CorpusError, match=r"line 1 .*; line 2 .*; line 3 .* words and 2 more"):
        read_sentences(write_sentences(tmp_path, ["1", "2", "3", "4", "5"]), "en")


def test_too_few_sentences_or_none_are_named(tmp_path):
    with pytest.raises(CorpusError, match="1 sentences are too few, none falls into the split"):
        read_sentences(write_sentences(tmp_path, ["hello"]), "en")
    with pytest.raises(CorpusError, match=r"de\.txt"):
        read_sentences(str(tmp_path), "de")


def test_long_sentences_are_drawn_again(tmp_path):
    long = "supercalifragilistic extraordinary characteristics " * 2
    lines = [long + a + b for a in NUMBERS for b in NUMBERS]
    lines += [f"{a} or {b}" for a in NUMBERS for b in NUMBERS]
    texts = write_sentences(tmp_path, lines)
    durations = [make_utterance(2, "train", "en", i, texts=texts).num_frames for i in range(20)]
    assert max(durations) / 25 < MAX_SECONDS + 0.5
    assert len({duration // 50 for duration in durations}) > 1


def test_sentences_of_grid_follow_its_grammar():
    rng = np.random.default_rng(0)
    texts = [draw_sentence("grid", "en", "train", rng, 1.0, 1000) for _ in range(1000)]
    columns = [set(column) for column in zip(*(text.split() for text in texts), strict=True)]
    assert [len(column) for column in columns] == [4, 4, 4, 25, 10, 4]
    assert "w" not in columns[3]
    assert {text_split(text, "en") for text in texts} == {"train"}


def test_what_identifies_texts_does_not_depend_on_where_they_lie(folder, tmp_path):
    digest = identify_texts(folder, ["en"])
    other = tmp_path / "other"
    other.mkdir()
    lines = [f"there are {a} cats and {b} dogs" for a in NUMBERS for b in NUMBERS]
    assert identify_texts(write_sentences(other, lines), ["en"]) == digest
    changed = tmp_path / "changed"
    changed.mkdir()
    assert identify_texts(write_sentences(changed, lines[:-1]), ["en"]) != digest
    assert identify_texts("words", ["de"]) == "words"


@pytest.mark.parametrize(
    ("texts", "languages", "message"),
    [
        ("sentences", ["en"], "texts must be 'words', 'grid' or a folder, not 'sentences'"),
        ("grid", ["en", "de"], "sentences of GRID are English: leave out the language de"),
    ],
)
def test_a_wrong_source_writes_nothing(tmp_path, texts, languages, message):
    with pytest.raises(CorpusError, match=message):
        synthesize(tmp_path / "out", languages=languages, hours=0.001, texts=texts)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_of_sentences_has_the_hours_that_were_asked_for(folder, tmp_path):
    summary = synthesize(
        tmp_path / "out",
        languages=["en"],
        hours=0.02,
        valid_hours=0,
        clips=0,
        texts=folder,
        video_fraction=0,
    )
    assert summary["seconds"]["train"] == pytest.approx(72, rel=0.25)
    assert summary["options"]["texts"] == identify_texts(folder, ["en"])
    assert mean_duration(folder, ["en"]) == pytest.approx(2.3, abs=0.5)


def test_the_letter_a_is_read_by_its_name():
    said = (make_utterance(1, "train", "en", i, texts="grid") for i in range(200))
    utterance = next(one for one in said if one.text.split()[3] == "a")
    word, start, end = utterance.words[3]
    assert word == "a"
    spoken = [p.symbol for p in utterance.phones if start - 0.01 <= p.start and p.end <= end + 0.01]
    assert spoken == ["eɪ"]
