import json
import zlib
from collections import defaultdict

import pytest

from avsr.corpus.voices import (
    ARABIC_COMMANDS,
    read_festvox,
    read_voices,
    sentence_split,
    split_speakers,
)
from avsr.errors import CorpusError


def recording(**changes):
    values = {
        "file": "kerstin/de_1.opus",
        "source": "kerstin",
        "language": "de",
        "speaker": "kerstin",
        "text": "Die Straße, sagt er.",
        "duration": 1.0,
        "licence": "CC0-1.0",
    }
    return values | changes


def write_manifest(folder, *rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines)
    return folder


def test_a_recording_becomes_a_record(tmp_path):
    write_manifest(tmp_path, recording(), recording(file="other/1.opus", source="other"))
    (record,) = read_voices(tmp_path, ["kerstin"])
    assert (record.utterance_id, record.media) == ("kerstin-de_1", "kerstin/de_1.opus")
    assert (record.start, record.end) == (0.0, 1.0)
    assert (record.text, record.language) == ("die straße sagt er", "de")
    assert record.split == sentence_split("die straße sagt er")
    assert record.problems() == []


def test_texts_that_may_be_spoken_in_several_ways_are_left_out(tmp_path):
    rows = [recording(text=text) for text in ("Am 20. Mai", None, "", "ja")]
    assert [r.text for r in read_voices(write_manifest(tmp_path, *rows), ["kerstin"])] == ["ja"]


def test_arabic_key_words_are_arabic_and_split_by_speaker(tmp_path):
    rows = [
        recording(
            file=f"arabic/{word}/{speaker}.opus",
            source="arabic-speech-commands",
            language="ar",
            speaker=str(speaker),
            text=word,
            licence="CC-BY-4.0",
        )
        for word in ("zoom in", "three", "unknown word")
        for speaker in range(20)
    ]
    records = read_voices(write_manifest(tmp_path, *rows), ["arabic-speech-commands"])
    assert {record.text for record in records} == {"تكبير", "ثلاثة"}
    assert len(records) == 40
    assert [record.problems() for record in records] == [[]] * 40
    splits = defaultdict(set)
    for record in records:
        splits[record.split].add(record.speaker)
    assert {split: len(names) for split, names in splits.items()} == {
        "train": 17,
        "valid": 1,
        "test": 2,
    }


def test_sentences_of_the_test_split_are_those_whose_crc_ends_in_zero():
    texts = [f"sentence {number}" for number in range(4000)]
    splits = [sentence_split(text) for text in texts]
    assert splits.count("test") / 4000 == pytest.approx(0.10, abs=0.01)
    assert splits.count("valid") / 4000 == pytest.approx(0.05, abs=0.01)
    for text, split in zip(texts, splits, strict=True):
        assert (zlib.crc32(text.encode()) % 10 == 0) == (split == "test")


def test_the_split_of_a_speaker_does_not_depend_on_the_order():
    names = [f"speaker-{number}" for number in range(30)]
    assert split_speakers(names) == split_speakers([*reversed(names), *names])
    assert sorted(split_speakers(names).values()) == ["test"] * 3 + ["train"] * 25 + ["valid"] * 2
    assert split_speakers([]) == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (recording(licence="GPL-3.0-or-later"), "GPL-3.0-or-later: it is for evaluation only"),
        (recording(licence="CC-BY-SA-4.0"), "for evaluation only"),
        (recording(source="kathleen"), "no recordings of the source 'kerstin'"),
        (recording(speaker=None), "manifest.jsonl:1: the recording has no speaker"),
        (recording(duration="1"), "the recording has no duration in seconds"),
        (recording(text=3), "has a text that is not text"),
    ],
)
def test_what_must_not_be_used_is_named(tmp_path, row, message):
    with pytest.raises(CorpusError, match=message):
        read_voices(write_manifest(tmp_path, row), ["kerstin"])


# Each line: seconds of a phone. Long pauses stand before "в" and before "дом".
RUSSIAN = '( ru_0001 "Он+а пошла, в лес. Дом!" )\n'
PHONES = (
    "pau 0.5, a 0.1, n 0.1, aa 0.2, p 0.1, a 0.1, sh 0.1, l 0.1, aa 2.6, pau 0.4, "
    "v 0.1, ll 0.1, ee 0.2, s 2.8, pau 0.2, d 0.1, oo 0.2, m 0.1, pau 0.6"
)


def write_festvox(folder, text=RUSSIAN, phones=PHONES):
    for name in ("etc", "lab", "wav"):
        (folder / name).mkdir()
    (folder / "etc/txt.done.data").write_text(text)
    lines, end = ["#"], 0.0
    for row in phones.split(", "):
        phone, seconds = row.split()
        end += float(seconds)
        lines.append(f"{end:.5f} 125 {phone}")
    (folder / "lab/ru_0001.lab").write_text("\n".join(lines) + "\n")
    return folder


def test_russian_sentences_are_cut_at_long_pauses(tmp_path):
    first, second = read_festvox(write_festvox(tmp_path))
    assert (first.text, first.start, first.end) == ("она пошла", 0.35, 4.05)
    assert (second.text, second.start, second.end) == ("в лес дом", 4.15, 8.25)
    assert (first.utterance_id, first.media) == ("festvox-ru-ru_0001-0", "wav/ru_0001.wav")
    assert first.split == second.split == sentence_split("она пошла в лес дом")
    assert [record.problems() for record in (first, second)] == [[], []]


@pytest.mark.parametrize(
    ("text", "phones", "message"),
    [
        ("nothing\n", PHONES, "txt.done.data:1: not a line like"),
        ("", PHONES, "has no sentences"),
        ('( ru_0001 "Она" )\n', PHONES, "ru_0001.lab has 6 vowels, and its text others: 'она'"),
        ('( ru_0001 "в" )\n', "v 0.1", "has 0 vowels"),
    ],
)
def test_a_broken_russian_voice_is_named(tmp_path, text, phones, message):
    with pytest.raises(CorpusError, match=message):
        read_festvox(write_festvox(tmp_path, text, phones))


def test_the_public_voices_are_whole(voices_dir):
    records = read_voices(voices_dir)
    sentences = {record.text for record in records if record.language == "en"}
    assert len(sentences) == 1142
    assert {r.text for r in records if r.language == "ar"} == set(ARABIC_COMMANDS.values())
    assert len({record.utterance_id for record in records}) == len(records) > 8000
    speakers = defaultdict(set)
    for record in records:
        if record.language == "ar":
            speakers[record.speaker].add(record.split)
    assert {len(splits) for splits in speakers.values()} == {1}
