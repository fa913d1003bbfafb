"""Many files: the same results in one process, in several, and the table at the end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from avsr import Transcript
from avsr.cli import app as cli
from avsr.cli.jobs import FileResult
from avsr.cli.transcribe import summary_table

EXAMPLES = Path(__file__).parents[2] / "demo/examples"


def transcript(file: str, **changes: object) -> Transcript:
    values: dict[str, object] = {"file": file, "modality": "av", "language": "ru"}
    values |= {"language_probs": {"ru": 1.0}, "text": "семь книг", "duration": 61.26}
    return Transcript(**values | changes)  # type: ignore[arg-type]


def test_the_table_has_a_line_for_each_file_and_one_for_all() -> None:
    name = "talks/" + "x" * 70 + ".mp4"
    results = [
        FileResult(video="a.mp4", transcript=transcript("a.mp4")),
        FileResult(video=name, transcript=transcript(name, warnings=("one", "two", "three"))),
        FileResult(video="bad.mp4", error="bad.mp4: is empty (0 bytes)"),
        FileResult(
            video="c.wav", transcript=transcript("c.wav", text=""), error="c.wav: disk full"
        ),
    ]
    lines = summary_table(results)
    assert lines[0].split() == ["file", "language", "seconds", "modality", "words", "warnings"]
    assert lines[1].split() == ["a.mp4", "ru", "61.3", "av", "2"]
    assert lines[2].startswith("..." + "x" * 53 + ".mp4  ru")
    assert lines[2].endswith("2  one (and 2 more)")
    assert lines[3].split(maxsplit=5) == ["bad.mp4", *"----", "is empty (0 bytes)"]
    assert lines[4].split(maxsplit=5) == ["c.wav", "ru", "61.3", "av", "0", "disk full"]
    assert lines[5].split() == ["4", "files", "183.8", "4"]
    assert len({line.index("ru") for line in (lines[1], lines[2], lines[4])}) == 1


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """Two talks, one of them in a subfolder, and a file that is not a video."""
    talks = tmp_path / "talks"
    (talks / "more").mkdir(parents=True)
    for code, name in (("de", "a.mp4"), ("es", "more/b.mp4")):
        (talks / name).write_bytes((EXAMPLES / f"{code}.mp4").read_bytes())
    (talks / "bad.mp4").write_text("no video")
    return talks


def transcribe(
    capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, list[dict], str]:
    """Return the status, the objects on stdout, and stderr without the licence."""
    status = cli.main(["transcribe", "--json", "--modality", "audio", *map(str, arguments)])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "licence" not in line]
    return status, [json.loads(line) for line in out.splitlines()], "\n".join(lines)


def test_the_results_do_not_depend_on_who_works(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = transcribe(capsys, "talks", "-o", "alone")
    together = transcribe(capsys, "talks", "-o", "together", "--workers", 2)
    assert together == alone
    assert alone[0] == 1
    assert [Path(result["file"]).name for result in alone[1]] == ["a.mp4", "b.mp4"]
    assert "2 done, 0 skipped, 1 failed" in alone[2]
    for name in ("a.srt", "more/b.srt"):
        one, other = tmp_path / "alone" / name, tmp_path / "together" / name
        assert one.read_text() == other.read_text()
        assert one.read_text()


def test_a_wrong_language_is_wrong_use_for_many_as_for_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["transcribe", str(folder), "--workers", "2", "--language", "zz"]) == 2
    assert "unknown language 'zz'" in capsys.readouterr().err
