"""Addresses and ``-`` were "no such file"; long names failed after the work, for all files."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import avsr
from avsr import Transcript
from avsr.cli import app as cli
from avsr.media import probe
from avsr.recognition import recognizer
from avsr.runtime.addresses import explain_no_file
from avsr.transcript import render

ADDRESSES = [
    "https://example.org/talk.mp4",
    "HTTP://example.org/a?b=[1]*",
    "rtsp://camera.local/stream1",
    "www.youtube.com/watch?v=abc",
    "youtu.be/abc",
]
Run = Callable[..., SimpleNamespace]


class Speaker:
    """Reads the header of every file and says the same words."""

    languages = ("en",)

    def transcribe(self, path: str, **options: Any) -> Transcript:
        duration = probe(path).duration
        return Transcript(
            file=path,
            language="en",
            language_probs={"en": 1.0},
            text="good morning é",
            modality="av",
            duration=duration,
        )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``run(...)`` is ``avsr ...`` in a folder of its own -> status, out, err."""
    monkeypatch.setattr(recognizer, "load_model", lambda *arguments: Speaker())
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> SimpleNamespace:
        for stream in (sys.stdout, sys.stderr):  # as in the command's own process
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def talk(make_clip: Callable[..., Path]) -> Path:
    return make_clip("talk.mp4")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "command",
    [
        "transcribe", "transcribe --json", "crop -o out", "validate", "prepare grid", "evaluate",
        "train", "import", "balance", "calibrate", "compare", "export",
    ],
)  # fmt: skip
def test_an_address_is_to_be_downloaded_first(run: Run, command: str, address: str) -> None:
    got = run(*command.split(), address, "other")
    assert got.status == 2
    assert got.err.count("\n") == 1
    assert "is an address; download it first" in got.err
    assert os.listdir() == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_library_says_so_too(address: str) -> None:
    with pytest.raises(avsr.AvsrError, match="is an address; download it first"):
        probe(address)
    with pytest.raises(avsr.AvsrError, match="is an address; download it first"):
        probe(Path("/data") / address) if "://" in address else probe(address)


def test_names_of_files_are_no_addresses(tmp_path: Path) -> None:
    for name in ("talk.mp4", "C:\\talk.mp4", "a:b.mp4", "https.mp4", "my-youtube.com/x", "http"):
        assert explain_no_file(name) is None
    assert "without 'file://'" in str(explain_no_file("file:///home/me/a.mp4"))


@pytest.mark.parametrize("command", ["transcribe", "crop -o out", "validate"])
def test_standard_input_is_refused_in_one_line(run: Run, command: str) -> None:
    got = run(*command.split(), "-")
    assert (got.status, got.out) == (2, "")
    assert got.err.startswith("avsr: -: standard input is not read")
    assert got.err.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("command", ["transcribe", "crop -o out"])
def test_a_pipe_fails_in_one_line_and_the_others_are_done(
    run: Run, talk: Path, command: str
) -> None:
    os.mkfifo("pipe.mp4")
    got = run(*command.split(), "pipe.mp4", talk)
    assert got.status == 1
    assert "avsr: pipe.mp4: is a pipe, not a regular file; save it to a file first" in got.err
    assert "talk" in got.out


@pytest.mark.parametrize(
    ("options", "form"),
    [((), "txt"), (("--format", "srt"), "srt"), (("--format", "json"), "json")],
)
def test_a_dash_as_output_is_stdout(
    run: Run, talk: Path, options: tuple[str, ...], form: Any
) -> None:
    got = run("transcribe", talk, "-o", "-", *options)
    assert (got.status, got.err) == (0, "")
    assert got.out == render(Speaker().transcribe(str(talk)), form)
    assert os.listdir() == ["talk.mp4"]


def test_stdout_gets_the_bytes_of_the_file_in_any_encoding(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert cli.main(["transcribe", str(talk), "-o", "-", "--format", "srt"]) == 0
    printed = stdout.buffer.getvalue()  # type: ignore[attr-defined]
    assert cli.main(["transcribe", str(talk), "-o", "a.srt"]) == 0
    assert printed == Path("a.srt").read_bytes()


def test_stdout_is_one_file_and_one_format(run: Run, talk: Path) -> None:
    other = talk.with_name("other.mp4")
    other.write_bytes(talk.read_bytes())
    assert "one file for 2 videos" in run("transcribe", talk, other, "-o", "-").err
    assert "--json" in run("transcribe", talk, "-o", "-", "--json").err
    assert "give a folder" in run("crop", talk, "-o", "-").err


def test_a_link_stays_and_its_file_is_replaced(run: Run, talk: Path) -> None:
    Path("there").mkdir()
    Path("there/real.srt").write_text("old")
    Path("link.srt").symlink_to("there/real.srt")
    Path("new.srt").symlink_to("there/new.srt")
    for name in ("link.srt", "new.srt"):
        assert run("transcribe", talk, "-o", name).status == 0
        assert Path(name).is_symlink()
    for name in ("real.srt", "new.srt"):
        assert "good morning" in Path("there", name).read_text("utf-8")
    Path("lost.srt").symlink_to("nowhere/a.srt")
    assert "there is no folder" in run("transcribe", talk, "-o", "lost.srt").err


@pytest.mark.parametrize("letter", ["x", "я"])
def test_names_up_to_the_limit_are_written(run: Run, talk: Path, letter: str) -> None:
    stem = letter * ((255 - len(".mp4")) // len(letter.encode()))
    long = talk.with_name(f"{stem}.mp4")
    long.write_bytes(talk.read_bytes())
    assert run("transcribe", long, talk, "-o", "out").status == 0
    assert sorted(os.listdir("out")) == sorted([f"{stem}.srt", "talk.srt"])


def test_a_name_that_is_too_long_fails_before_the_work_and_alone(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = talk.with_name("x" * 251 + ".mp4")
    long.write_bytes(talk.read_bytes())
    worked = []
    plain = Speaker.transcribe
    monkeypatch.setattr(
        Speaker, "transcribe", lambda self, path, **o: worked.append(path) or plain(self, path, **o)
    )
    got = run("transcribe", long, talk, "-o", "out", "--format", "json")
    assert got.status == 1
    assert "the name is too long" in got.err
    assert worked == [str(talk)]
    assert os.listdir("out") == ["talk.json"]
    got = run("crop", long, talk, "-o", "crops")
    assert got.status == 1
    assert "the name is too long" in got.err
    assert len(os.listdir("crops")) == 4


def test_a_name_that_is_no_text_is_cropped(run: Run, talk: Path) -> None:
    name = "\udcff.mp4"
    try:
        Path(name).write_bytes(talk.read_bytes())
    except OSError:
        pytest.skip("the file system takes no such names")
    assert run("crop", name, "-o", "out").status == 0
    assert len(os.listdir("out")) == 4


def test_a_process_substitution_is_a_pipe(talk: Path) -> None:
    script = (
        "import sys, avsr\ntry: avsr.media.probe(sys.argv[1])\nexcept avsr.AvsrError as e: print(e)"
    )
    script = script.replace("import sys, avsr", "import sys, avsr, avsr.media")
    command = f'"$0" -c "$1" <(cat {talk})'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, script], capture_output=True, text=True
    )
    assert "is a pipe, not a regular file" in done.stdout, done.stderr
