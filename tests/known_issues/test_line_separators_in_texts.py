"""U+2028, U+2029 and U+0085 in a text ended training, and evaluations after all their work.

They are no ends of lines: JSON lines end at newlines only, also where a kill cut one.
"""

import json
from dataclasses import replace

import numpy as np
import pysubs2
import pytest
import soundfile

from avsr.augmentation.noise_files import _musan_speakers
from avsr.cli import app as cli
from avsr.cli.inputs import find_media
from avsr.corpus import (
    Record,
    ShardWriter,
    open_shards,
    read_lrs3,
    read_manifest,
    read_muavic,
    write_manifest,
)
from avsr.corpus.grid import read_alignment
from avsr.corpus.prepare import prepare, read_failures
from avsr.errors import ConfigError
from avsr.evaluation import (
    EvaluationConfig,
    Prediction,
    compare_runs,
    evaluate,
    read_run,
    write_report,
)
from avsr.interop.ecapa_import import read_labels
from avsr.interop.vocabulary import read_dictionary
from avsr.runtime.text_lines import json_lines, split_lines
from avsr.transcript import Transcript, Word, write_transcript

SEPARATORS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"
TEXT = "one" + "two".join(SEPARATORS) + "three"


@pytest.fixture
def manifest(tmp_path):
    """Two utterances whose texts hold every separator."""
    records = []
    for number in range(2):
        sound = 0.3 * np.sin(np.arange(16_000) * 0.1 * (number + 1))
        soundfile.write(tmp_path / f"{number}.flac", sound, 16_000)
        records.append(
            Record(
                utterance_id=f"u{number}",
                media=f"{number}.flac",
                end=1.0,
                text=TEXT,
                language="en",
                split="train",
                speaker=f"speaker{SEPARATORS}",
                title=TEXT,
            )
        )
    write_manifest(tmp_path / "m.jsonl", records)
    return tmp_path / "m.jsonl"


class Echo:
    """A recognizer that hears what it was told."""

    segment_seconds = 20.0

    def extract_visual(self, mouths):
        return [None for _ in mouths]

    def transcribe(self, batch, languages):
        return [[Prediction(TEXT, {"en": 1.0}) for _ in batch] for _ in languages]


def config(manifest):
    return EvaluationConfig(
        manifest=str(manifest),
        modalities=("audio",),
        snr_db=("clean",),
        out=str(manifest.parent / "results"),
        batch_size=1,
    )


def test_manifests_shards_and_lists_of_failures_hold_them(manifest, capsys):
    records = read_manifest(manifest)
    out = manifest.parent / "out"
    (manifest.parent / "1.flac").write_bytes(b"no sound")
    prepared = prepare(records, manifest.parent, out, "train", video=False)
    assert [sample.record.text for sample in open_shards(out, "train")] == [TEXT]
    assert read_failures(out / "train.failed.jsonl") == prepared.failures
    assert cli.main(["balance", str(out / "train.jsonl")]) == 0
    assert read_manifest(out / "train.jsonl")[0].speaker == f"speaker{SEPARATORS}"
    for suffix in (".csv", ".tsv"):
        write_manifest(manifest.with_suffix(suffix), records)
        assert [r.text for r in read_manifest(manifest.with_suffix(suffix))] == [TEXT, TEXT]
    with ShardWriter(out, "valid") as writer:
        writer.write(records[0], np.zeros(16_000), None)
    assert len(list(open_shards(out, "valid"))) == 1


def test_an_evaluation_ends_and_is_read_again(manifest):
    folder = evaluate(config(manifest), recognizer=Echo())
    page = write_report(folder).read_text("utf-8")
    assert "no file" not in page
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert results["conditions"]["audio-clean-auto"]["average"]["wer"] == 0.0
    run = read_run(folder)
    assert [u.reference for u in run.conditions["audio-clean-auto"]] == [TEXT, TEXT]
    assert compare_runs(run, run)[0].difference == 0.0


@pytest.mark.parametrize("kept", [1, 0.5])
def test_an_evaluation_goes_on_after_a_line_that_was_cut_in_a_character(manifest, kept):
    folder = evaluate(config(manifest), recognizer=Echo())
    path = folder / "conditions" / "audio-clean-auto.jsonl"
    whole = path.read_bytes()
    first, second = whole.split(b"\n")[:2]
    cut = second[: second.index("\u2028".encode()) + 1]  # the first byte of three
    path.write_bytes(first + b"\n" + cut if kept == 1 else cut)
    assert "audio-clean-auto" not in read_run(folder).conditions
    assert evaluate(config(manifest), recognizer=Echo()) == folder
    assert path.read_bytes() == whole


def test_subtitles_with_them_stay_whole(tmp_path):
    words = tuple(Word(f"wor{c}d", float(n), n + 0.9, 0.5) for n, c in enumerate(SEPARATORS))
    transcript = Transcript(
        file="a.mp4",
        language="en",
        language_probs={"en": 1.0},
        text=TEXT,
        modality="av",
        words=words,
        duration=9.0,
    )
    for file_format in ("srt", "vtt", "ass", "tsv"):
        path = tmp_path / f"a.{file_format}"
        write_transcript(path, transcript, file_format)
        content = path.read_text("utf-8")
        assert content.splitlines() == split_lines(content), file_format
        if file_format != "tsv":
            cues = pysubs2.SSAFile.from_string(content)
            assert sum(cue.plaintext.count("wor d") for cue in cues) == len(SEPARATORS)


def test_lists_of_corpora_and_models_hold_them(tmp_path):
    align = tmp_path / "a.align"
    align.write_bytes("0 25000 bin\r\n25000 50000 blue\u0085\r\n".encode())
    assert [word["word"] for word in read_alignment(align)] == ["bin", "blue"]
    label = tmp_path / "lrs3" / "test" / "talk" / "00001.txt"
    label.parent.mkdir(parents=True)
    label.write_text("Text:  ONE\u2028TWO\n")
    assert read_lrs3(tmp_path / "lrs3")[0].text == "one\u2028two"
    (tmp_path / "muavic" / "de").mkdir(parents=True)
    (tmp_path / "muavic" / "de" / "test.tsv").write_bytes(b"/\r\nt/1\t/a.mp4\t/a.wav\t10\t6400\r\n")
    (tmp_path / "muavic" / "de" / "test.de").write_bytes("eins\u2028zwei\r\n".encode())
    assert [r.text for r in read_muavic(tmp_path / "muavic")] == ["eins zwei"]
    (tmp_path / "dict.txt").write_text("a\u2028 3\n\u0085b 2\n")
    assert read_dictionary(tmp_path / "dict.txt")[4:] == ["a\u2028", "\u0085b"]
    (tmp_path / "label_encoder.txt").write_text(f"'a\u2028' => 0\n{'=' * 16}\n")
    assert read_labels(tmp_path / "label_encoder.txt") == ("a\u2028",)
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "ANNOTATIONS").write_text("a x\u2028y\nb z\n")
    assert _musan_speakers(tmp_path) == {"a": "x y", "b": "z"}
    name = tmp_path / "a\u2028b.mp4"
    name.touch()
    (tmp_path / "list.txt").write_text(f"{name}\n")
    assert find_media([f"@{tmp_path / 'list.txt'}"])[0] == [str(name)]


def test_lines_of_json():
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": \xe2\x80'
    assert [(line.number, line.values, line.problem) for line in json_lines(content)] == [
        (1, {"a": 1}, ""),
        (3, {}, "not UTF-8 text"),
    ]
    halves = b'{"a": "\\ud83d\\ude00"}\n{"a": "\\uD83D"}\n{"a": "\\\\ud83d"}'
    assert [line.values for line in json_lines(halves)] == [{"a": "😀"}, {}, {"a": "\\ud83d"}]
    assert split_lines("a\u2028b\r\nc\n\n") == ["a\u2028b", "c", ""]
    assert split_lines("") == []


@pytest.mark.parametrize("change", [{"reference": 5}, {"language_probs": []}, {"more": 1}, {}])
def test_a_damaged_line_of_a_run_is_named_and_made_anew(manifest, change, caplog):
    folder = evaluate(config(manifest), recognizer=Echo())
    path = folder / "conditions" / "audio-clean-auto.jsonl"
    whole = path.read_bytes()
    first, second = whole.split(b"\n")[:2]
    damaged = json.dumps({**json.loads(second), **change}) if change else "[1]"
    path.write_bytes(first + b"\n" + damaged.encode() + b"\n")
    (folder / "timing.json").write_text('{"shared": "long", "audio-clean-auto": 1.5}')
    evaluate(config(manifest), recognizer=Echo())
    assert path.read_bytes() == whole
    assert f"{path}:2 is damaged and left out" in caplog.messages


@pytest.mark.parametrize("content", ['{"kinds": {"babble": NaN}}', '{"kinds": 1}', "[]", '"x"'])
def test_a_file_of_noise_that_is_none_is_named(manifest, content):
    (manifest.parent / "noise.json").write_text(content)
    noisy = replace(
        config(manifest), snr_db=(0,), noise_manifest=str(manifest.parent / "noise.json")
    )
    with pytest.raises(ConfigError, match=r"noise\.json"):
        evaluate(noisy, recognizer=Echo())
