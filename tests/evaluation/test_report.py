"""Reports and comparisons of runs whose transcripts are made up."""

import html
import json
import re
from dataclasses import replace

import pytest
from fake_recognizer import FakeRecognizer

from avsr.corpus import read_manifest, write_manifest
from avsr.errors import ConfigError
from avsr.evaluation import (
    EvaluationConfig,
    UtteranceResult,
    compare_runs,
    evaluate,
    lips_gain,
    read_run,
    write_report,
)
from avsr.evaluation.compare import paired_difference
from avsr.evaluation.published import MUAVIC_LANGUAGES, paper_rows

GRID = {"snr_db": ("clean", 0, 5), "video_corruptions": ("clean", "blur:2")}


def run_folder(manifest, recognizer=None, **changes):
    options = {"out": str(manifest.parent / "results"), **GRID, **changes}
    return evaluate(
        EvaluationConfig(manifest=str(manifest), **options),
        recognizer=recognizer or FakeRecognizer(),
    )


def test_the_report_is_one_file_with_every_condition(manifest, lips):
    records = [replace(r, text=f"{r.text} <b>") for r in read_manifest(manifest)]
    write_manifest(manifest, records)
    page = write_report(run_folder(manifest, FakeRecognizer(wrong=("u2",))))
    text = page.read_text()
    assert text.count("<svg") == 3  # one kind of noise, languages, confusions
    assert not re.search(r"(src|href)='(http|/)", text)
    assert "<b>" not in text
    assert html.escape("Word 2. <b>") in text
    assert "href='../../2.flac'" in text
    assert (page.parent / "../../2.flac").exists()
    assert "en taken for fr" in text
    lines = (page.parent / "report.md").read_text().splitlines()
    for title in (
        "sound and lips, clean",
        "sound and lips, babble at 0 dB, blur:2",
        "sound, babble at 5 dB",
        "lips, clean, blur:2",
    ):
        assert any(line.startswith(f"| {title} |") for line in lines), title
    scores = json.loads((page.parent / "results.json").read_text())
    assert scores["format"] == 2
    assert len(scores["conditions"]) == 6 + 3 + 2


def test_a_report_is_the_same_each_time(manifest, lips):
    folder = run_folder(manifest)
    texts = []
    for _ in range(2):
        write_report(folder)
        texts.append([(folder / n).read_bytes() for n in ("results.json", "report.md")])
    assert texts[0] == texts[1]


def test_the_papers_rows_stand_beside_muavic(manifest):
    folder = run_folder(
        manifest, modalities=("audio",), video_corruptions=("clean",), paper="muavic"
    )
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "| the paper, attention + CTC, clean | 48.10 | 2.47 | 25.29 |" in text


def test_the_papers_average_is_the_papers():
    rows = dict(paper_rows(list(MUAVIC_LANGUAGES)))
    assert round(rows["the paper, attention + CTC, clean"][-1], 2) == 35.34
    assert round(rows["the paper, attention + CTC, noisy"][-1], 2) == 51.83
    assert rows["MuAViC, one model, clean"][-1] is None


def outcomes(hypotheses):
    return [
        UtteranceResult(utterance_id=str(i), language="de", reference="a b c d", hypothesis=text)
        for i, text in enumerate(hypotheses)
    ]


def test_a_difference_by_hand():
    worse, better = outcomes(["x b c d"] * 30), outcomes(["a b c d"] * 30)
    difference = paired_difference("condition", worse, better)
    assert difference.rates == (0.25, 0.0)
    assert difference.difference == -0.25
    assert difference.bounds == (-0.25, -0.25)
    assert difference.significant
    same = paired_difference("condition", worse, worse)
    assert (same.difference, same.bounds, same.significant) == (0.0, (0.0, 0.0), False)


def test_a_paired_difference_is_narrower_than_two_intervals():
    # Both err on the same utterances, the second a little less: pairing shows it.
    texts = ["x x x x" if i % 2 else "a b c d" for i in range(100)]
    fewer = ["a x x x" if i % 2 else "a b c d" for i in range(100)]
    difference = paired_difference("condition", outcomes(texts), outcomes(fewer))
    assert difference.significant
    assert difference.bounds[1] - difference.bounds[0] < 0.06


def test_only_the_same_utterances_are_compared():
    with pytest.raises(ConfigError, match="do not have the same utterances"):
        paired_difference("condition", outcomes(["a"]), outcomes(["a", "b"]))
    other = [replace(outcomes(["a"])[0], reference="b")]
    with pytest.raises(ConfigError, match="another reference"):
        paired_difference("condition", outcomes(["a"]), other)


def test_runs_with_other_noise_or_data_are_not_compared(manifest):
    options = {"modalities": ("audio",), "snr_db": ("clean", 0), "video_corruptions": ("clean",)}
    first = read_run(run_folder(manifest, **options))
    noisy = read_run(run_folder(manifest, **options, seed=1))
    with pytest.raises(ConfigError, match="made with another babble noise"):
        compare_runs(first, noisy)
    more = read_run(run_folder(manifest, **options, noises=("babble", "speech")))
    assert {d.name for d in compare_runs(first, more)} == set(first.conditions)
    with_language = read_run(
        run_folder(manifest, **options, language_modes=("given",), beam_size=2)
    )
    with pytest.raises(ConfigError, match="no condition in common"):
        compare_runs(first, with_language)
    assert [d.difference for d in compare_runs(first, first)] == [0.0, 0.0]


def test_what_lips_change_is_compared_for_each_noise_and_corruption(manifest, lips):
    gains = lips_gain(read_run(run_folder(manifest)))
    noises = ["clean", "babble+0dB", "babble+5dB"]
    assert {gain.name for gain in gains} == {
        f"{noise}{corruption}-auto" for noise in noises for corruption in ("", "-blur2")
    }
