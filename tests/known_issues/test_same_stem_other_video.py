"""A second run skipped ``b/talk.mp4`` without a word, as ``a/talk.m4a`` had left ``talk.srt``.

What could not be read at all was "skipped" too, with status 0.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from avsr import Transcript
from avsr.cli import app as cli
from avsr.recognition import recognizer

Run = Callable[..., SimpleNamespace]


class Speaker:
    languages = ("en",)

    def transcribe(self, path: str, **options: Any) -> Transcript:
        return Transcript(
            file=path,
            language="en",
            language_probs={"en": 1.0},
            text=path,
            modality="av",
            duration=2.0,
        )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``run(...)`` is ``avsr ...`` in a folder of its own -> status, out, err."""
    monkeypatch.setattr(recognizer, "load_model", lambda *arguments: Speaker())
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> SimpleNamespace:
        status = cli.main(list(arguments))
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture(autouse=True)
def talks(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    """Two videos of one stem, in two folders."""
    content = make_clip("clip.mp4").read_bytes()
    for name in ("a/talk.mov", "b/talk.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)


def test_a_skip_names_the_video_and_its_file(run: Run) -> None:
    assert run("transcribe", "a/talk.mov", "-o", "out").err == ""
    got = run("transcribe", "b/talk.mp4", "-o", "out")
    assert got.status == 0
    assert got.err.splitlines()[0] == "avsr: b/talk.mp4: skipped, out/talk.srt is there already"
    assert "1 skipped" in got.err


@pytest.mark.parametrize("newer", [False, True])
def test_a_file_that_is_of_another_video_is_kept_and_named(run: Run, newer: bool) -> None:
    run("transcribe", "a/talk.mov", "-o", "out", "--format", "json")
    first = Path("out/talk.json").read_bytes()
    if newer:
        os.utime("b/talk.mp4", (4e9, 4e9))
    got = run("transcribe", "b/talk.mp4", "-o", "out", "--format", "json")
    assert got.status == 1
    assert (
        "avsr: b/talk.mp4: out/talk.json is there already, of a/talk.mov; use another folder"
        in (got.err)
    )
    assert Path("out/talk.json").read_bytes() == first
    assert (
        run("transcribe", "b/talk.mp4", "-o", "out", "--format", "json", "--overwrite").status == 0
    )
    assert b"b/talk.mp4" in Path("out/talk.json").read_bytes()


def test_the_same_video_under_another_name_is_skipped(run: Run) -> None:
    run("transcribe", "a/talk.mov", "-o", "out", "--format", "json")
    same = os.path.join(os.getcwd(), "a", "..", "a", "talk.mov")
    assert run("transcribe", same, "-o", "out", "--format", "json").status == 0
    os.rename("a", "moved")
    assert run("transcribe", "moved/talk.mov", "-o", "out", "--format", "json").status == 0


def test_what_cannot_be_read_fails_though_its_file_is_there(run: Run) -> None:
    run("transcribe", "a/talk.mov", "b/talk.mp4", "-o", "out")
    run("transcribe", "a/talk.mov", "-o", "out")
    time = os.stat("a/talk.mov").st_mtime
    Path("a/talk.mov").write_bytes(b"")
    os.utime("a/talk.mov", (time, time))
    got = run("transcribe", "a/talk.mov", "-o", "out")
    assert got.status == 1
    assert got.err.splitlines()[0] == "avsr: a/talk.mov: is empty (0 bytes)"
    assert "0 skipped, 1 failed" in got.err or "0 skipped" not in got.err


def test_crops_of_another_video_are_kept_and_named(run: Run) -> None:
    assert run("crop", "a/talk.mov", "-o", "out").status == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    again = run("crop", "a/talk.mov", "-o", "out")
    assert again.status == 0
    assert again.err.startswith("avsr: a/talk.mov: skipped, out/talk.json is there already\n")
    other = run("crop", "b/talk.mp4", "-o", "out")
    assert other.status == 1
    assert "out/talk.json is there already, of a/talk.mov" in other.err
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
