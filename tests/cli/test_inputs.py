"""Folders, patterns and lists of videos: their files, and the paths of the results."""

from pathlib import Path

import pytest

from avsr.cli.inputs import VIDEO_ENDINGS, find_media
from avsr.errors import ConfigError


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of empty files, seen from the folder that it is in."""
    for name in (
        *("b.mp4", "a.MKV", "notes.txt", "deep/er/c.wav", ".hidden.mp4", ".cache/d.mp4"),
        *("a.mouth.mp4", "a.overlay.mp4", "dir.mp4/e.webm", "e.part.mp4"),
    ):
        path = tmp_path / "talks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "talks"


def relative_paths(*names: str) -> dict[str, str]:
    files, paths = find_media(names)
    assert files == list(paths)
    return {file: str(path) for file, path in paths.items()}


def test_a_folder_has_its_media_files_and_those_below(talks: Path) -> None:
    assert relative_paths("talks") == {
        "talks/a.MKV": "a",
        "talks/b.mp4": "b",
        "talks/deep/er/c.wav": "deep/er/c",
        "talks/dir.mp4/e.webm": "dir.mp4/e",
        "talks/e.part.mp4": "e.part",
    }


def test_a_folder_may_be_searched_for_videos_only(talks: Path) -> None:
    files, _ = find_media(["talks"], VIDEO_ENDINGS)
    assert files == ["talks/a.MKV", "talks/b.mp4", "talks/dir.mp4/e.webm", "talks/e.part.mp4"]


def test_a_list_in_this_very_folder(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(talks)
    (talks / "list.txt").write_text("b.mp4\r\na.MKV\r\n")
    assert relative_paths("@list.txt") == {"b.mp4": "b", "a.MKV": "a"}


def test_a_named_file_is_taken_whatever_it_is_called(talks: Path) -> None:
    names = ["talks/notes.txt", "talks/a.mouth.mp4", "talks/.hidden.mp4"]
    assert relative_paths(*names) == dict(zip(names, ["notes", "a.mouth", ".hidden"], strict=True))


def test_a_pattern_has_what_the_shell_would_give(talks: Path) -> None:
    assert relative_paths("talks/*.mp4") == {
        "talks/a.mouth.mp4": "a.mouth",
        "talks/a.overlay.mp4": "a.overlay",
        "talks/b.mp4": "b",
        "talks/e.part.mp4": "e.part",
    }
    assert relative_paths("talks/**/[ce].w*") == {
        "talks/deep/er/c.wav": "deep/er/c",
        "talks/dir.mp4/e.webm": "dir.mp4/e",
    }


def test_a_file_with_a_name_like_a_pattern_is_itself(talks: Path) -> None:
    (talks / "[1].mp4").touch()
    assert relative_paths("talks/[1].mp4") == {"talks/[1].mp4": "[1]"}


def test_a_list_is_relative_to_its_folder(talks: Path) -> None:
    (talks / "list.txt").write_text(
        "\ufeff# my talks\n\n  b.mp4 \ndeep\n*.MKV\n" + str(talks / "x.mp4") + "\ngone.mp4\n",
        "utf-8",
    )
    assert relative_paths("@talks/list.txt") == {
        "talks/b.mp4": "b",
        "talks/deep/er/c.wav": "er/c",
        "talks/a.MKV": "a",
        str(talks / "x.mp4"): "x",
        "talks/gone.mp4": "gone",
    }


def test_a_file_whose_name_begins_with_at(talks: Path) -> None:
    Path("@b.mp4").touch()
    assert relative_paths("./@b.mp4") == {"./@b.mp4": "@b"}


def test_a_file_that_is_named_twice_comes_twice_but_a_folder_adds_it_once(talks: Path) -> None:
    files, _ = find_media(["talks/b.mp4", "talks/b.mp4", "talks/?.mp4", "talks"])
    assert files.count("talks/b.mp4") == 2
    assert len(files) == 6


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("talks/gone.mp4", "there is no such file"),
        ("nowhere/", "there is no such file"),
        ("talks/.cache", "no media files"),
        ("talks/*.avi", "no file matches this pattern"),
        ("@nowhere.txt", "cannot be read (No such file"),
        ("@talks", "cannot be read (Is a directory"),
        ("@talks/binary", "not UTF-8"),
        ("@talks/notes.txt", "the list is empty"),
    ],
)
def test_nothing_in_it_is_one_line(talks: Path, name: str, complaint: str) -> None:
    (talks / "binary").write_bytes(b"\xff\xfe\x00")
    (talks / ".cache" / "d.mp4").unlink()
    with pytest.raises(ConfigError) as caught:
        find_media(["talks/b.mp4", name])
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert complaint in message
    assert "\n" not in message
