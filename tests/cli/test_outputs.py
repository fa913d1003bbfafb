"""``avsr transcribe -o, --format and --burn-in``: what is written where, and what is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pysubs2
import pytest
from PIL import features

from avsr import Transcript
from avsr.cli import app as cli
from avsr.errors import ConfigError
from avsr.media import probe, read_frames
from avsr.recognition import recognizer as model
from avsr.transcript import FORMATS, Segment, Word
from avsr.transcript.result import Interrupted

Run = Callable[..., SimpleNamespace]
TEXTS = {"arab": ("ar", "مرحبا بكم"), "chinese": ("zh", "你好")}


class Speaker:
    """Writes two words for every file, in a language by its name; stores the paths."""

    languages = ("ar", "en", "zh")

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.interrupted: set[str] = set()

    def transcribe(self, path: str, **options: Any) -> Transcript:
        info = probe(path)
        self.paths.append(path)
        if Path(path).stem in self.interrupted:
            raise Interrupted(part_of(path, info.duration))
        language, text = TEXTS.get(Path(path).stem, ("en", "good morning"))
        return Transcript(
            file=path,
            language=language,
            language_probs={language: 0.98},
            text=text,
            modality="av",
            words=tuple(
                Word(word, 0.4 + 0.4 * i, 0.8 + 0.4 * i, 0.9) for i, word in enumerate(text.split())
            ),
            duration=info.duration,
        )


def part_of(path: str, duration: float) -> Transcript:
    """Return the finished part of a file at Ctrl-C: the first second."""
    shared: dict[str, Any] = {"language": "en", "language_probs": {"en": 1.0}, "modality": "av"}
    words = (Word("good", 0.4, 0.8, 0.9),)
    segment = Segment(start=0.2, end=1.0, text="good", words=words, **shared)
    return Transcript(
        file=path, text="good", words=words, duration=duration, segments=(segment,), **shared
    )


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    network = Speaker()
    monkeypatch.setattr(model, "load_model", lambda name, device, precision: network)
    return network


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], speaker: Speaker) -> Run:
    """``run(...)`` transcribes -> status, out, err."""

    def call(*arguments: object) -> SimpleNamespace:
        status = cli.main(["transcribe", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def talk(make_clip: Callable[..., Path]) -> Path:
    return make_clip("talk.mp4", size=(320, 240), event=10.0)


@pytest.mark.parametrize("ending", [*FORMATS, "SRT"])
def test_a_file_is_written_by_its_ending(run: Run, talk: Path, ending: str) -> None:
    path = talk.with_name(f"out.{ending}")
    path.write_text("old")
    got = run(talk, "-o", path)
    assert (got.status, got.err) == (0, "")
    assert got.out == f"{talk}  en (0.98)  good morning\n", "stdout stays as it is"
    content = path.read_text("utf-8")
    assert "good morning" in content
    if ending.lower() in ("srt", "vtt", "ass"):
        (event,) = pysubs2.load(str(path), format_=ending.lower())
        end = 1230 if ending == "ass" else 1233  # ASS has hundredths
        assert (event.start, event.end, event.text) == (400, end, "good morning")
    if ending == "json":
        assert json.loads(content)["cues"] == [
            {"start": 0.4, "end": 1.233, "lines": ["good morning"]}
        ]


@pytest.mark.parametrize(("options", "ending"), [((), "srt"), (("--format", "vtt"), "vtt")])
def test_a_folder_gets_a_file_for_each_video(
    run: Run, talk: Path, tmp_path: Path, options: tuple[str, ...], ending: str
) -> None:
    other = talk.with_name("other.part.mp4")
    other.write_bytes(talk.read_bytes())
    bad = talk.with_name("bad.mp4")
    bad.write_text("no video")
    folder = tmp_path / "new" / "subtitles"
    got = run(talk, bad, other, "-o", folder, *options)
    assert got.status == 1
    assert sorted(os.listdir(folder)) == [f"other.part.{ending}", f"talk.{ending}"]


@pytest.mark.parametrize("name", ["out.v2/", "there.doc"])
def test_a_folder_may_have_an_ending(run: Run, talk: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "there.doc").mkdir()
    assert run(talk, "-o", f"{tmp_path}/{name}").status == 0
    assert os.listdir(tmp_path / name) == ["talk.srt"]


def test_what_is_done_is_skipped(run: Run, speaker: Speaker, talk: Path, tmp_path: Path) -> None:
    other = talk.with_name("other.mp4")
    other.write_bytes(talk.read_bytes())
    out = tmp_path / "out"
    assert run(talk, "-o", out).err == ""
    (out / "talk.srt").write_text("edited by hand")
    got = run(talk, other, "-o", out)
    assert (got.status, got.out) == (0, f"{other}  en (0.98)  good morning\n")
    there = f"avsr: {talk}: skipped, {out / 'talk.srt'} is there already\n"
    summary = "avsr: 1 done, 1 skipped (--overwrite does them again), 0 failed\n"
    assert got.err == there + summary
    assert (out / "talk.srt").read_text() == "edited by hand"
    speaker.paths.clear()
    got = run(talk, other, "-o", out)
    assert (got.status, got.out, speaker.paths) == (0, "", [])
    assert got.err.startswith(there)
    assert got.err.endswith("avsr: 0 done, 2 skipped (--overwrite does them again), 0 failed\n")
    assert run(talk, "-o", out, "--format", "vtt").out, "another format is not done"
    got = run(talk, other, "-o", out, "--overwrite")
    assert got.err.endswith("avsr: 2 done, 0 skipped, 0 failed\n")
    assert "good morning" in (out / "talk.srt").read_text("utf-8")


def test_a_video_that_is_newer_than_its_file_is_done_again(
    run: Run, talk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(talk, "-o", out)
    later = (out / "talk.srt").stat().st_mtime + 10
    os.utime(talk, (later, later))
    assert run(talk, "-o", out).out.count("good morning") == 1


def test_ctrl_c_leaves_what_is_finished_beside_the_place_of_the_whole(
    run: Run, speaker: Speaker, talk: Path, tmp_path: Path
) -> None:
    first, last = talk.with_name("first.mp4"), talk.with_name("unheard.mp4")
    for other in (first, last):
        other.write_bytes(talk.read_bytes())
    out = tmp_path / "out"
    speaker.interrupted = {"talk"}
    got = run(first, talk, last, "-o", out)
    assert got.status == 130
    assert got.out == f"{first}  en (0.98)  good morning\n{talk}  en (1.00)  good\n"
    part = out / "talk.partial.srt"
    assert f"avsr: {talk}: stopped at 1.0 of 2.0 s; the finished part is in {part}" in got.err
    assert got.err.endswith("avsr: stopped\n")
    assert sorted(os.listdir(out)) == ["first.srt", "talk.partial.srt"]
    (event,) = pysubs2.load(str(part))
    assert (event.start, event.text) == (400, "good")
    speaker.interrupted, speaker.paths = set(), []
    assert run(first, talk, last, "-o", out).status == 0
    assert speaker.paths == [str(talk), str(last)], "what was stopped is not done"
    assert sorted(os.listdir(out)) == ["first.srt", "talk.srt", "unheard.srt"]


def test_ctrl_c_leaves_an_older_file_of_the_whole_as_it_is(
    run: Run, speaker: Speaker, talk: Path, tmp_path: Path
) -> None:
    run(talk, "-o", tmp_path / "a.vtt")
    whole = (tmp_path / "a.vtt").read_text()
    speaker.interrupted = {"talk"}
    assert run(talk, "-o", tmp_path / "a.vtt").status == 130
    assert (tmp_path / "a.vtt").read_text() == whole
    assert "good" in (tmp_path / "a.partial.vtt").read_text()


def test_one_file_is_always_written(run: Run, talk: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(talk, "-o", tmp_path / "a.srt").out.count("good morning") == 1


def test_a_tree_of_videos_becomes_a_tree_of_files(run: Run, talk: Path, tmp_path: Path) -> None:
    root = tmp_path / "talks"
    for name in ("a/one.mp4", "b/one.mp4", "b/deep/two.MKV"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(talk.read_bytes())
    out = tmp_path / "out"
    got = run(root, "-o", out)
    assert got.status == 0
    assert got.err.endswith("avsr: 3 done, 0 skipped, 0 failed\n")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.srt")) == [
        "a/one.srt",
        "b/deep/two.srt",
        "b/one.srt",
    ]


def test_the_same_video_twice_is_one_file(run: Run, talk: Path, tmp_path: Path) -> None:
    same = tmp_path / "x" / ".." / talk.name
    (tmp_path / "x").mkdir()
    got = run(talk, same, "-o", tmp_path / "out")
    assert got.status == 0
    assert got.out.count("good morning") == 2
    assert os.listdir(tmp_path / "out") == ["talk.srt"]


def test_wrong_use_is_told_before_anything_is_done(
    run: Run, speaker: Speaker, talk: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "plain").write_text("a file")
    (tmp_path / "folder.mp4").mkdir()
    namesake = tmp_path / "b" / "TALK.mkv"
    namesake.write_bytes(talk.read_bytes())
    other = tmp_path / "other.mp4"
    other.write_bytes(talk.read_bytes())
    titles = tmp_path / "odd.srt"
    titles.write_bytes(talk.read_bytes())
    before = sorted(os.listdir(tmp_path))
    out = tmp_path / "out"
    for arguments, complaint in [
        ((talk, "-o", tmp_path / "a.doc"), "unknown ending '.doc'"),
        ((talk, "-o", tmp_path / "a.doc"), ".srt, .vtt, .ass, .json, .tsv, .txt"),
        ((talk, other, "-o", tmp_path / "a.srt"), "one file for 2 videos"),
        ((talk, "-o", tmp_path / "a.srt", "--format", "vtt"), "the name says srt"),
        ((talk, "-o", tmp_path / "nowhere" / "a.srt"), "there is no folder"),
        ((talk, "-o", tmp_path / "plain"), "is not a folder"),
        ((talk, namesake, "-o", out), "would both be written to"),
        ((talk, namesake, "-o", out), str(namesake)),
        ((titles, "-o", titles), "is the video itself"),
        ((titles, "-o", tmp_path), "is the video itself"),
        ((talk, "--format", "vtt"), "-o"),
        ((talk, "--overwrite"), "-o"),
        ((tmp_path / "folder.mp4", "-o", out), "no media files"),
        ((tmp_path / "*.avi", talk, "-o", out), "no file matches this pattern"),
        ((f"@{tmp_path / 'none.txt'}",), "the list cannot be read"),
        ((talk, "-o", out, "--format", "doc"), "'doc' is not one of"),
        ((talk, "--burn-in", tmp_path / "a.avi"), "ends with .mp4"),
        ((talk, other, "--burn-in", tmp_path / "a.mp4"), "there are 2"),
        ((talk, "--burn-in", talk), "is the video itself"),
        ((talk, "--burn-in", tmp_path / "folder.mp4"), "is a folder"),
        ((talk, "--burn-in", tmp_path / "nowhere" / "a.mp4"), "there is no folder"),
    ]:
        got = run(*arguments)
        assert got.status == 2, arguments
        assert got.out == ""
        assert got.err.startswith("avsr: ")
        assert got.err.count("\n") == 1
        assert complaint in got.err
    assert speaker.paths == []
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_that_cannot_be_written_to(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avsr.cli.outputs import plan_outputs

    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match="cannot be written to"):
        plan_outputs([str(talk)], str(tmp_path / "a.srt"))


def test_a_file_that_cannot_be_written_is_named_and_the_others_are_done(
    run: Run, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = talk.with_name("other.mp4")
    other.write_bytes(talk.read_bytes())
    folder = tmp_path / "out"
    folder.mkdir()

    class Obstructing(Speaker):
        def transcribe(self, path: str, **options: Any) -> Transcript:
            (folder / "talk.srt").mkdir(exist_ok=True)  # in the way, since it was looked at
            return super().transcribe(path, **options)

    monkeypatch.setattr(model, "load_model", lambda name, device, precision: Obstructing())
    got = run(talk, other, "-o", folder)
    assert got.status == 1
    complaint, summary = [line for line in got.err.splitlines() if line.startswith("avsr: ")]
    assert complaint.startswith(f"avsr: {talk}: {folder / 'talk.srt'}: cannot be written")
    assert summary == "avsr: 1 done, 0 skipped, 1 failed"
    assert got.out.count("good morning") == 2
    assert sorted(os.listdir(folder)) == ["other.srt", "talk.srt"]


def test_burning_and_a_file_at_once(run: Run, talk: Path, tmp_path: Path) -> None:
    out = tmp_path / "burnt.mp4"
    got = run(talk, "--burn-in", out, "-o", tmp_path / "talk.srt")
    assert (got.status, got.err) == (0, "")
    assert got.out == f"{talk}  en (0.98)  good morning\n"
    assert (tmp_path / "talk.srt").exists()
    lit = [frame[150:].max() > 200 for frame in read_frames(out)]
    assert lit == [10 <= k < 31 for k in range(50)]  # 0.4 to 1.233 s: 5/6 s to read
    assert probe(out).has_audio


def test_sound_alone_cannot_be_burnt(
    run: Run, speaker: Speaker, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    sound = make_clip("sound.mka", video_codec=None)
    got = run(sound, "--burn-in", tmp_path / "a.mp4")
    assert (got.status, got.out) == (1, "")
    assert got.err == f"avsr: {sound}: has no picture to write subtitles into\n"
    assert speaker.paths == []


def test_arabic_without_shaping_is_refused(
    run: Run, speaker: Speaker, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    arab = talk.rename(talk.with_name("arab.mp4"))
    early = run(arab, "--language", "ar", "--burn-in", tmp_path / "a.mp4")
    assert (early.status, early.out, speaker.paths) == (2, "", [])
    late = run(arab, "--burn-in", tmp_path / "a.mp4")
    assert late.status == 1
    for got in (early, late):
        assert "cannot draw Arabic" in got.err
        assert got.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["arab.mp4"]


def test_letters_that_cannot_be_drawn_fail_the_burning_only(
    run: Run, talk: Path, tmp_path: Path
) -> None:
    chinese = talk.rename(talk.with_name("chinese.mp4"))
    got = run(chinese, "--burn-in", tmp_path / "a.mp4", "-o", tmp_path / "a.srt")
    assert got.status == 1
    assert "你好" in got.out
    assert got.err.startswith(f"avsr: {chinese}: cannot draw '你好'")
    assert "你好" in (tmp_path / "a.srt").read_text("utf-8")
    assert not (tmp_path / "a.mp4").exists()
