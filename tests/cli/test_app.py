"""The command line: what goes to stdout, what to stderr, and the exit status."""

import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from avsr import Transcript
from avsr.cli import app as cli
from avsr.cli.transcribe import transcribe
from avsr.corpus import read_shards
from avsr.decoder import Tokenizer
from avsr.errors import ModelError
from avsr.media import probe, read_waveform, write_video
from avsr.model.config import PRESETS, ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.recognition import recognizer as model
from avsr.recognition.options import TranscribeOptions

Run = Callable[..., SimpleNamespace]


class FakeModel:
    """Opens the file, then returns a fixed transcript; stores the options of every call."""

    languages = ("en", "ru")

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def transcribe(self, path: str, *, progress: Any = None, **options: Any) -> Transcript:
        info = probe(path)
        self.calls.append(options)
        if Path(path).stem == "bug":
            raise RuntimeError("a bug\nof two lines")
        return Transcript(
            file=path,
            language="ru",
            language_probs={"en": 0.0217, "ru": 0.9783},
            text="семь книг",
            modality=options["modality"],
            warnings=("no face was found in 3 of 50 frames",),
            duration=info.duration,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """The model that every command loads; there is no model "missing"."""
    network = FakeModel()

    def load(name: str | None, device: str, precision: str) -> FakeModel:
        if name == "missing":
            raise ModelError("no model 'missing'")
        return network

    monkeypatch.setattr(model, "load_model", load)
    return network


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("transcribe", ...)`` -> status, out, err."""

    def call(*arguments: object) -> SimpleNamespace:
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def clip(make_clip: Callable[..., Path]) -> Path:
    return make_clip("talk.mp4")


@pytest.fixture
def bad_files(tmp_path: Path, clip: Path) -> dict[str, Path]:
    """Files that cannot be transcribed, by what is wrong with them."""
    text = tmp_path / "letter.mp4"
    text.write_text("Dear reader,\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    truncated = tmp_path / "truncated.mp4"
    truncated.write_bytes(clip.read_bytes()[:500])
    return {"text": text, "empty": empty, "truncated": truncated}


def test_a_line_has_file_language_probability_and_text(
    run: Run, fake: FakeModel, clip: Path
) -> None:
    got = run("transcribe", clip)
    assert got.out == f"{clip}  ru (0.98)  семь книг\n"
    assert got.err == f"avsr: {clip}: warning: no face was found in 3 of 50 frames\n"
    assert got.status == 0


def test_json_is_one_object_per_file_and_line(run: Run, fake: FakeModel, clip: Path) -> None:
    got = run("transcribe", "--json", clip, clip)
    results = [json.loads(line) for line in got.out.splitlines()]
    assert len(results) == 2
    assert results[0] == results[1]
    assert results[0]["file"] == str(clip)
    assert results[0]["language"] == "ru"
    assert results[0]["language_probs"] == {"ru": 0.9783, "en": 0.0217}
    assert results[0]["text"] == "семь книг"
    assert results[0]["words"] == []
    assert results[0]["modality"] == "av"
    assert results[0]["warnings"] == ["no face was found in 3 of 50 frames"]
    assert "семь" in got.out, "readable without decoding escapes"


def test_every_option_reaches_the_model(run: Run, fake: FakeModel, clip: Path) -> None:
    search = ("--beam-size", 7, "--ctc-weight", 0.3, "--lm-weight", 0.2, "--face", "left")
    got = run("transcribe", "--modality", "video", "--language", "en", *search, clip)
    assert got.status == 0
    assert fake.calls == [
        {
            "modality": "video",
            "language": "en",
            "beam_size": 7,
            "ctc_weight": 0.3,
            "lm_weight": 0.2,
            "sync": True,
            "face": "left",
        }
    ]


def test_the_defaults_of_the_help_are_the_librarys() -> None:
    parameters = inspect.signature(transcribe).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    library = dataclasses.asdict(TranscribeOptions())
    assert {name: defaults[name] for name in library} == library


@pytest.mark.parametrize("wrong", ["text", "empty", "truncated"])
def test_a_bad_file_is_named_and_the_others_are_done(
    run: Run, fake: FakeModel, clip: Path, bad_files: dict[str, Path], wrong: str
) -> None:
    bad = bad_files[wrong]
    got = run("transcribe", bad, clip)
    assert got.status == 1
    assert got.out == f"{clip}  ru (0.98)  семь книг\n"
    complaint, _, summary = [line for line in got.err.splitlines() if line.startswith("avsr: ")]
    assert summary == "avsr: 1 done, 0 skipped, 1 failed"
    assert str(bad) in complaint


def test_a_bug_in_one_file_is_one_line_and_the_others_are_done(
    run: Run, fake: FakeModel, clip: Path
) -> None:
    bug = clip.with_name("bug.mp4")
    bug.write_bytes(clip.read_bytes())
    got = run("transcribe", bug, clip)
    assert got.status == 1
    assert f"avsr: {bug}: unexpected RuntimeError: a bug of two lines" in got.err
    assert got.out.startswith(str(clip))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["transcribe"], "Missing argument"),
        (["transcribe", "a.mp4", "b.mp4"], "b.mp4: there is no such file"),
        (["transcribe", "b.mp4", "c.mp4"], "b.mp4: there is no such file (2 are missing)"),
        (["crop", "b.mp4", "-o", "out"], "b.mp4: there is no such file"),
        (["transcribe", "a.mp4", "--modality", "smell"], "'smell' is not one of"),
        (["transcribe", "a.mp4", "--beam-size", "0"], "--beam-size"),
        (["transcribe", "a.mp4", "--ctc-weight", "2"], "--ctc-weight"),
        (["transcribe", "a.mp4", "--language", "englsh"], "unknown language 'englsh'"),
        (["transcribe", "a.mp4", "--language", "de"], "known: en, ru"),
        (["transcribe", "a.mp4", "--model", "missing"], "no model 'missing'"),
        (["transcribe", "a.mp4", "--colour"], "--colour"),
        (["transcrible"], "No such command 'transcrible'"),
        (["synthesize", "out", "--hours", "1", "--languages", "xx"], "unknown language 'xx'"),
        (["prepare", "lrs9", "a", "b"], "unknown corpus 'lrs9'"),
        (["prepare", "grid", "no-such-folder", "b"], "no-such-folder"),
        (["evaluate", "no-such.jsonl"], "no-such.jsonl"),
        (["train", "no-such-recipe.yaml"], "no-such-recipe.yaml"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    run: Run,
    fake: FakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    got = run(*arguments)
    assert got.status == 2
    assert got.out == ""
    assert got.err.startswith("avsr: ")
    assert got.err.count("\n") == 1
    assert complaint in got.err


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a model with random weights, which writes long nonsense."""
    torch.manual_seed(1)
    tokenizer = Tokenizer.train(["place red with q four soon", "bin blue at a two now"] * 20, 26)
    preset = PRESETS["tiny"]
    config = ModelConfig(
        encoder=preset.encoder,
        decoder=preset.decoder,
        classifier_channels=preset.classifier_channels,
        vocabulary_size=len(tokenizer),
        languages=("en", "ru"),
    )
    directory = tmp_path_factory.mktemp("models") / "untrained"
    save_directory(AVSRModel(config, tokenizer).eval(), directory, card="# Untrained\n")
    return directory


def test_a_model_directory_transcribes_in_a_real_shell(untrained: Path, tmp_path: Path) -> None:
    clip = tmp_path / "talk.mp4"
    voice = read_waveform(Path(__file__).parents[2] / "demo/examples/de.mp4")
    write_video(clip, [np.zeros((48, 64, 3), np.uint8)] * 33, waveform=voice)
    process = subprocess.run(
        [sys.executable, "-m", "avsr", "transcribe", "--json", "--model", untrained, clip],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    (line,) = process.stdout.splitlines()
    result = json.loads(line)
    assert result["file"] == str(clip)
    assert set(result["language_probs"]) == {"en", "ru"}
    assert result["modality"] == "audio"  # the clip has no face
    for warning in result["warnings"]:
        assert f"avsr: {clip}: warning: {warning}" in process.stderr.splitlines()
    assert result["warnings"]
    assert process.returncode == 0


@pytest.fixture
def manifest(clip: Path) -> Path:
    """Two utterances, "good" and "bad"; the file of the bad one is not a video."""
    clip.with_name("broken.mp4").write_text("not a video")
    record = {"start": 0.0, "end": 1.5, "language": "en", "split": "test", "speaker": "a"}
    lines = [
        {**record, "utterance_id": name, "media": media, "text": "bin blue at a two now"}
        for name, media in [("good", clip.name), ("bad", "broken.mp4")]
    ]
    path = clip.with_name("test.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_preparation_counts_its_utterances_and_names_the_failed(
    run: Run, manifest: Path, tmp_path: Path
) -> None:
    got = run("prepare", "manifest", manifest, tmp_path / "out", "--no-video")
    assert got.status == 1
    assert got.out == "test  1 utterances\n"
    assert "avsr: bad: " in got.err
    (sample,) = read_shards(tmp_path / "out", "test")
    assert sample.record.utterance_id == "good"


def test_an_evaluation_prints_scores_and_names_what_failed(
    run: Run, untrained: Path, manifest: Path, tmp_path: Path
) -> None:
    options = ["--model", untrained, "--modality", "audio", "--snr", "clean"]
    options += ["--out", tmp_path / "results"]
    got = run("evaluate", manifest, *options)
    assert got.status == 1
    assert "avsr: bad: " in got.err
    _, english, average, report = got.out.splitlines()
    assert english.split()[:2] == ["en", "2"]
    assert average.startswith("sound, clean ")
    folder = Path(report).parent
    assert folder.parent == tmp_path / "results"
    (condition,) = json.loads((folder / "results.json").read_text())["conditions"].values()
    assert english.split()[2] == f"{condition['by_language']['en']['wer']:.1%}"
    assert "<svg" in Path(report).read_text()
    assert "| sound, clean |" in (folder / "report.md").read_text()


def test_an_evaluation_of_a_recipe_runs_every_condition(
    run: Run, untrained: Path, manifest: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "evaluate.yaml"
    recipe.write_text(
        f"manifest: {manifest}\nmodel: {untrained}\nout: {tmp_path / 'results'}\n"
        "modalities: [audio]\nlanguage_modes: [auto, given]\nsnr_db: [clean]\n"
    )
    got = run("evaluate", recipe)
    assert got.status == 1
    assert [line.split("  ")[0] for line in got.out.splitlines()[1:-1]] == [
        "sound, clean",
        "sound, clean, language given",
    ]
    other = run("evaluate", recipe, "--language", "auto", "--beam-size", "2")
    folders = [Path(result.out.splitlines()[-1]).parent for result in (got, other)]
    assert len(set(folders)) == 2
    assert len(json.loads((folders[1] / "results.json").read_text())["conditions"]) == 1
    comparison = run("compare", *folders)
    assert comparison.status == 0
    assert comparison.out.splitlines()[1].startswith("sound, clean ")
    wrong = run("compare", folders[0], tmp_path)
    assert wrong.status == 2
    assert "no folder of an evaluation run" in wrong.err
    same = run("compare", folders[0], folders[0])
    assert same.status == 0
    assert same.out.count("not significant") == 2
    assert json.loads(run("compare", *folders[:1] * 2, "--json").out)["audio-clean-auto"] == {
        "wer": [cell_wer(folders[0])] * 2,
        "left_out": [],
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "significant": False,
    }


def cell_wer(folder: Path) -> float:
    cells = json.loads((folder / "results.json").read_text())["conditions"]
    return round(cells["audio-clean-auto"]["average"]["wer"], 6)


def test_without_arguments_the_help_is_shown(run: Run) -> None:
    got = run()
    assert got.status == 2
    for command in ("transcribe", "demo", "synthesize", "train", "prepare", "evaluate"):
        assert command in got.out


def test_an_unexpected_error_of_a_command_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    monkeypatch.delenv("AVSR_DEBUG", raising=False)
    monkeypatch.setattr(model, "load_model", lambda name, device, precision: 1 / 0)
    got = run("transcribe", clip)
    assert got.status == 1
    assert got.err.startswith("avsr: unexpected ZeroDivisionError")


def test_the_version_is_the_packages(run: Run) -> None:
    import avsr

    assert run("--version").out == f"avsr {avsr.__version__}\n"


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_stops_without_a_traceback(tmp_path: Path) -> None:
    arguments = ["-m", "avsr", "synthesize", str(tmp_path / "out"), "--hours", "1"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 30
    while not (tmp_path / "out").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "avsr: stopped"


def test_a_reader_that_leaves_is_no_error(clip: Path) -> None:
    """``avsr ... | head -0``: the pipe is closed before anything is written to it."""
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "avsr", "--version"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert "Traceback" not in run.stderr
