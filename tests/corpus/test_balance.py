import dataclasses

import pytest

from avsr.cli import app as cli
from avsr.corpus import Record, balance_table, language_balance, plot_balance, write_manifest
from avsr.errors import CorpusError


def record(number, language, seconds, text="abcd"):
    return Record(
        utterance_id=f"{language}{number}", media="x.mp4", start=1.0, end=1.0 + seconds,
        text=text, language=language, split="train", speaker="s",
    )  # fmt: skip


# 4 of 5 are German: r = 0.8 and 0.2, gamma = 1.118 and 2.236
RECORDS = [
    record(0, "de", 1.0), record(1, "de", 3.0), record(2, "de", 0.16), record(3, "de", 24.0),
    record(0, "el", 2.0, text="abcdefgh"),
]  # fmt: skip


def test_shares_and_weights_are_those_of_the_paper():
    german, greek = language_balance(RECORDS)
    assert (german.language, german.utterances, greek.language) == ("de", 4, "el")
    assert german.share == pytest.approx(0.8)
    assert german.gamma == pytest.approx(1.1180340)
    assert greek.gamma == pytest.approx(2.2360680)
    assert german.hours == pytest.approx(28.16 / 3600)
    assert greek.chars_per_second == pytest.approx(4.0)
    assert greek.seconds == pytest.approx((2.0, 2.0, 2.0))


def test_unusual_segments_are_named():
    german, greek = language_balance(RECORDS)
    assert german.short == ("de2",)
    assert german.long == ("de3",)
    assert greek.short == greek.long == ()
    table = balance_table([german, greek])
    assert "1 under 5 frames: de2\n1 over 500 frames: de3\n" in table


def test_records_without_an_end_cannot_be_counted():
    with pytest.raises(CorpusError, match="record el0 has no end"):
        language_balance([dataclasses.replace(RECORDS[-1], end=float("inf"))])
    with pytest.raises(CorpusError, match="no records"):
        language_balance([])


def test_the_plot_has_a_bar_for_each_language(tmp_path):
    cv2 = pytest.importorskip("cv2")
    plot_balance(language_balance(RECORDS), tmp_path / "b.png")
    image = cv2.imread(str(tmp_path / "b.png"))
    orange = (image == (44, 118, 192)).all(-1).any(0)  # columns that a weight's bar crosses
    assert (orange[1:] & ~orange[:-1]).sum() == 2


def test_the_command_prints_the_table_and_plots(tmp_path, capsys):
    write_manifest(tmp_path / "a.jsonl", RECORDS)
    write_manifest(tmp_path / "b.csv", [dataclasses.replace(RECORDS[-1], split="test")])
    command = ["balance", str(tmp_path / "a.jsonl"), str(tmp_path / "b.csv")]
    assert cli.main([*command, "--plot", str(tmp_path / "p.png")]) == 0
    assert capsys.readouterr().out == balance_table(language_balance(RECORDS))
    assert (tmp_path / "p.png").stat().st_size > 1000
