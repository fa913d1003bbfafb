"""Tables with semicolons or tabs were refused, and a text without words blanked all averages."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from fake_recognizer import FakeRecognizer

from avsr.cli import app as cli
from avsr.corpus import Record, read_manifest, validate_manifest, write_manifest
from avsr.errors import ConfigError, CorpusError
from avsr.evaluation import (
    EvaluationConfig,
    compare_runs,
    evaluate,
    lips_gain,
    read_run,
    results,
    write_report,
)

COLUMNS = "utterance_id,media,start,end,text,language,split,speaker"
ROW = "a,a.mp4,0.5,2.8,bin blue,en,test,anna"


@pytest.mark.parametrize("name", ["semi.csv", "tab.tsv", "space.csv"])
def test_the_tables_that_failed(faults_dir, name):
    records = read_manifest(faults_dir / name)
    assert [(r.utterance_id, r.media, r.speaker) for r in records] == [
        ("a", "bbaf4p.mp4", "a"),
        ("b", "bgaa7s.mp4", "b"),
    ]
    assert [r.text for r in records] == ["bin blue at f four please", "bin green at a seven soon"]
    assert validate_manifest(faults_dir / name, check_media=False)[1] == []


def test_the_manifest_that_failed(faults_dir, capsys):
    assert cli.main(["validate", str(faults_dir / "mixempty.jsonl"), "--no-media"]) == 1
    assert "jsonl:2: record f has a text without words ('♪♪')" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("m.csv", f"{COLUMNS}\n{ROW}\n"),
        ("m.csv", f"{COLUMNS}\r\n{ROW}\r\n"),
        ("m.csv", f"\n{COLUMNS}\n\n{ROW}\n,,,,,,,\n"),
        ("m.csv", f"{COLUMNS},,\n{ROW},,\n"),
        ("m.csv", f"{COLUMNS}\n{ROW}".replace(",", " , ")),
        ("m.csv", f"{COLUMNS}\n{ROW}".replace(",", ";")),
        (
            "m.csv",
            f"{COLUMNS}\n{ROW}".replace(",", ";").replace("0.5", "0,5").replace("2.8", "2,8"),
        ),
        ("m.csv", f"sep=;\r\n{COLUMNS}\r\n{ROW}\r\n".replace(",", ";")),
        ("m.csv", f"{COLUMNS}\n{ROW}".replace(",", "|")),
        ("m.CSV", f"{COLUMNS}\n{ROW}".replace(",", "\t")),
        ("m.TSV", f"{COLUMNS}\n{ROW}".replace(",", "\t")),
        ("m.tsv", f"{COLUMNS}\n{ROW}"),
        ("m.csv", '"' + f"{COLUMNS}\n{ROW}".replace(",", '","').replace("\n", '"\n"') + '"\n'),
        ("m.csv", '"' + f"{COLUMNS}\n{ROW}".replace(",", '" ;  "').replace("\n", '"\n"') + '"'),
        ("m.csv", f"{COLUMNS.upper()}\n{ROW}\n"),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables_of_every_spreadsheet_are_read(tmp_path, name, table, mark):
    if '" ;' in table:
        table = table.replace('" ;', '";')  # a blank after a quoted cell is no CSV
    (tmp_path / name).write_text(mark + table, encoding="utf-8", newline="")
    (record,) = read_manifest(tmp_path / name)
    assert record == Record(
        utterance_id="a",
        media="a.mp4",
        start=0.5,
        end=2.8,
        text="bin blue",
        language="en",
        split="test",
        speaker="anna",
    )


def test_cells_with_separators_quotes_and_newlines(tmp_path):
    row = 'a; a.mp4; "bin; ""blue"", at\nf"; en; test; "anna;b"\n'
    (tmp_path / "m.csv").write_text(f"utterance_id; media; text; language; split; speaker\n{row}")
    (record,) = read_manifest(tmp_path / "m.csv")
    assert (record.text, record.speaker) == ('bin; "blue", at\nf', "anna;b")
    write_manifest(tmp_path / "n.tsv", [record])
    assert (tmp_path / "n.tsv").read_text().startswith("utterance_id\tmedia\t")
    assert read_manifest(tmp_path / "n.tsv") == [record]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"utterance_id,media\na,a.mp4\n",
            r"m\.csv:1: the first row misses the columns language, ",
        ),
        (f"{COLUMNS},lang\n{ROW},en\n".encode(), "the first row has the unknown column 'lang'"),
        (
            f"{COLUMNS},txt\n".replace("text,", "").encode(),
            r"misses the column text, .*'txt' \(did",
        ),
        (f"{COLUMNS},text\n{ROW},x\n".encode(), "the first row has the column text twice"),
        (f"{COLUMNS}\n{ROW}\n{ROW}\n".encode(), r"m\.csv:3: record a is in line 2 already"),
        (f"{COLUMNS}\n{ROW},x\n".encode(), r"m\.csv:2: record a has more cells than the first row"),
        (f"{COLUMNS}\na,a.mp4\n".encode(), r"m\.csv:2: record a misses language, misses speaker"),
        (
            f"{COLUMNS}\n{ROW}\n".replace("blue", "bleuâtre").encode("cp1252"),
            r"m\.csv:2: not UTF-8",
        ),
        (f"{COLUMNS}\n{ROW}\n".encode("utf-16"), "is UTF-16, not UTF-8 text: save it as UTF-8"),
        (f'{COLUMNS}\n{ROW}\n"b'.encode(), "not CSV"),
        (b'{"utterance_id": "a"}\n', r"m\.csv:1: JSON lines, not a table: name the file \.jsonl"),
        (
            f"{COLUMNS}\n{ROW}\n".replace(",en,", ",German,").encode(),
            "'German', whose code is 'de'",
        ),
        (
            f"{COLUMNS}\n{ROW}\n".replace(",en,", ",EN,").encode(),
            "language 'EN', whose code is 'en'",
        ),
        (
            f"{COLUMNS}\n{ROW}\n".replace("0.5", '"0,5"').encode(),
            "start or end that is not a number",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_line(tmp_path, content, message, capsys):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_manifest(path)
    assert cli.main(["validate", str(path), "--no-media"]) in (1, 2)
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count(str(path)) == 1


def test_a_table_under_another_name_is_said(tmp_path):
    for name in ("m.txt", "m.jsonl", "m"):
        (tmp_path / name).write_text(f"\ufeff{COLUMNS}\n{ROW}\n")
        with pytest.raises(CorpusError, match=r"a table, not JSON lines: name the file \.csv"):
            read_manifest(tmp_path / name)


@pytest.mark.parametrize("content", ["", "\n\n", f"{COLUMNS}\n"])
def test_a_manifest_without_records_is_said(tmp_path, content, capsys):
    for name in ("m.csv", "m.jsonl") if "," not in content else ("m.csv",):
        path = tmp_path / name
        path.write_text(content)
        for command in (
            ["validate", str(path)],
            ["prepare", "manifest", str(path), str(tmp_path / "out")],
            ["balance", str(path)],
            ["evaluate", str(path)],
        ):
            assert cli.main(command) == 2, command
            message = capsys.readouterr().err
            assert message.count("\n") == 1
            assert "no records" in message


@pytest.fixture
def manifest(tmp_path):
    """Two English utterances with words, one without, and a French one without."""
    records = []
    for number, (language, text) in enumerate(
        [("en", "Word 0."), ("en", "…"), ("en", "Word 2."), ("fr", "♪♪")]
    ):
        sound = 0.3 * np.sin(np.arange(16_000) * 0.1 * (number + 1))
        soundfile.write(tmp_path / f"{number}.flac", sound, 16_000)
        records.append(
            Record(
                utterance_id=f"u{number}",
                media=f"{number}.flac",
                text=text,
                language=language,
                split="test",
                speaker=language,
            )
        )
    write_manifest(tmp_path / "m.jsonl", records)
    return tmp_path / "m.jsonl"


class Knows(FakeRecognizer):
    """Hears nothing where there are no words."""

    def predict(self, clip, code):
        prediction = super().predict(clip, code)
        return prediction if clip.name in ("u0", "u2") else replace(prediction, text="")


def run(manifest, **changes):
    options = {"modalities": ("audio",), "snr_db": ("clean",), "out": str(manifest.parent / "out")}
    config = EvaluationConfig(manifest=str(manifest), **(options | changes))
    return evaluate(config, recognizer=Knows())


def test_averages_leave_out_languages_without_words(manifest):
    folder = run(manifest)
    condition = results(read_run(folder))["conditions"]["audio-clean-auto"]
    assert condition["by_language"]["fr"]["wer"] is None
    assert condition["average"]["wer"] == condition["by_language"]["en"]["wer"] == 0.0
    assert condition["average"]["cer"] == 0.0
    assert condition["average"]["language_accuracy"] is not None
    assert condition["without_words"] == {"utterances": ["u1", "u3"], "languages": ["fr"]}
    page = write_report(folder).read_text("utf-8")
    line = "texts without words: u1, u3; fr has no other, and the averages leave it out"
    assert line in page
    assert line in (folder / "report.md").read_text("utf-8")
    assert line.split(":")[0] in page


def test_comparisons_leave_them_out_and_say_so(manifest, capsys):
    folder = run(manifest)
    (difference,) = compare_runs(read_run(folder), read_run(folder))
    assert difference.rates == (0.0, 0.0)
    assert difference.left_out == ("fr",)
    assert difference.to_dict()["left_out"] == ["fr"]
    assert cli.main(["compare", str(folder), str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "avsr: the averages leave out fr: no text of it has words\n"
    assert "nan" not in printed.out


def test_texts_without_any_word_are_said_too(manifest):
    folder = run(manifest, languages=("fr",), modalities=("audio", "av"))
    write_report(folder)
    loaded = read_run(folder)
    for condition in results(loaded)["conditions"].values():
        assert condition["average"]["wer"] is None
    assert lips_gain(loaded) == []
    with pytest.raises(ConfigError, match="none of the texts has words"):
        compare_runs(loaded, loaded)
    json.loads((folder / "results.json").read_text("utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("text", ["", " ", "♪♪", "...", "—", "\u2028", "¿?", "( )", "🙂"])
def test_validate_names_texts_without_words(tmp_path, text):
    record = Record(
        utterance_id="a", media="a", text=text, language="en", split="test", speaker="s"
    )
    write_manifest(tmp_path / "m.jsonl", [record])
    _, broken = validate_manifest(tmp_path / "m.jsonl", check_media=False)
    assert broken[0].problems[0].startswith(("has an empty text", "has a text without words"))


@pytest.mark.parametrize("text", ["a", "5", "日本", "مرحبا", "ß", "½", "Ⅳ"])
def test_words_of_every_script_are_words(tmp_path, text):
    record = Record(
        utterance_id="a", media="a", text=text, language="en", split="test", speaker="s"
    )
    write_manifest(tmp_path / "m.jsonl", [record])
    assert validate_manifest(tmp_path / "m.jsonl", check_media=False)[1] == []


def test_validate_names_control_characters_and_unknown_languages(tmp_path, capsys):
    record = Record(
        utterance_id="a", media="a", text="a\0b", language="en", split="test", speaker="s"
    )
    write_manifest(tmp_path / "m.jsonl", [record])
    path = str(tmp_path / "m.jsonl")
    assert cli.main(["validate", path, "--no-media"]) == 1
    assert r"has a text with the control character '\x00'" in capsys.readouterr().out
    assert cli.main(["validate", path, "--languages", "German", "--no-media"]) == 2
    assert "'German' is no language code; did you mean 'de'?" in capsys.readouterr().err


def test_languages_without_records_are_named(manifest, caplog):
    run(manifest, languages=("en", "it"))
    assert caplog.messages == [f"{manifest} has no records in it"]
