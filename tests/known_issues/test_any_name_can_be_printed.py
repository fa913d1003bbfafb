"""A name that stdout's encoding lacks, a full disk or a closed stream ended the whole run.

Without stderr its messages went to stdout; line breaks and escapes of names reached the terminal.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avsr import Transcript
from avsr.cli import app as cli
from avsr.cli.display import escape_controls
from avsr.recognition import recognizer

NAMES = ("семь.mp4", "\udcff\udce9.mp4", "two\nlines\x1b[31m.mp4")
TEXT = "семь é"
COMMAND = f"""
from avsr import Transcript
from avsr.cli import transcribe
from avsr.cli.jobs import FileResult

def transcribe_files(job, videos, **options):
    for file in videos:
        transcript = Transcript(
            file=file, language="ru", language_probs={{"ru": 1.0}}, text={TEXT!a}, modality="av",
            duration=1.0, warnings=("a warning",),
        )
        job.outputs.write(file, transcript)
        yield FileResult(video=file, transcript=transcript)

transcribe.transcribe_files = transcribe_files
from avsr.__main__ import run
run()
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files with names that can hardly be printed."""
    for name in NAMES:
        try:
            (tmp_path / name).touch()
        except OSError:
            pytest.skip("the file system takes no such names")
    return tmp_path


def run(folder: Path, arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a shell, as ``avsr ARGUMENTS``, which transcribes without a model."""
    command = f'exec "$0" -c "$1" {arguments}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, COMMAND],
        cwd=folder,
        capture_output=True,
        env=os.environ | environment,
    )


def test_what_an_encoding_lacks_is_escaped(folder: Path) -> None:
    done = run(folder, "transcribe [^o]* -o out/", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("cp1252").splitlines()
    assert len(lines) == len(NAMES)
    assert all(line.endswith(r"  ru (1.00)  \u0441\u0435\u043c\u044c é") for line in lines)
    assert {line.split("  ")[0] for line in lines} == {
        r"\u0441\u0435\u043c\u044c.mp4",
        r"\udcff\udce9.mp4",
        r"two\nlines\x1b[31m.mp4",
    }
    assert b"\x1b" not in done.stderr
    assert len(os.listdir(folder / "out")) == len(NAMES)


def test_json_stays_json_in_any_encoding(folder: Path) -> None:
    done = run(folder, "transcribe --json *.mp4", **ASCII)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert {result["text"] for result in results} == {"семь é"}
    assert {os.fsencode(result["file"]) for result in results} == set(map(os.fsencode, NAMES))


def test_without_stderr_no_message_goes_to_stdout(folder: Path) -> None:
    done = run(folder, "transcribe семь.mp4 -o out/ 2>&-", PYTHONUTF8="1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == "семь.mp4  ru (1.00)  семь é\n"
    assert "warning" not in (folder / "out/семь.srt").read_text()


def test_without_stdout_the_files_are_written(folder: Path) -> None:
    done = run(folder, "transcribe семь.mp4 -o out/ <&- >&-", PYTHONUTF8="1")
    assert done.returncode == 0
    assert done.stderr.decode() == "avsr: семь.mp4: warning: a warning\n"
    assert os.listdir(folder / "out") == ["семь.srt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_stdout_is_one_line_and_the_files_are_written(folder: Path) -> None:
    done = run(folder, "transcribe *.mp4 -o out/ > /dev/full", PYTHONUTF8="1")
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last == "avsr: stdout cannot be written (No space left on device)"
    assert len(os.listdir(folder / "out")) == len(NAMES)
    done = run(folder, "transcribe *.mp4 -o again/ 2> /dev/full", PYTHONUTF8="1")
    assert done.returncode == 0
    assert done.stdout.count(b"(1.00)") == len(NAMES)


@pytest.mark.parametrize("arguments", ["transcribe *.mp4", "--help"])
def test_a_pipe_that_nobody_reads_ends_the_run_quietly(folder: Path, arguments: str) -> None:
    done = run(folder, f"{arguments} | exit; exit ${{PIPESTATUS[0]}}", PYTHONUTF8="1")
    assert done.returncode in (0, 141), "0 if all was written before the reader left"
    assert b"Traceback" not in done.stderr
    assert b"Broken pipe" not in done.stderr
    assert b"Exception" not in done.stderr


def test_controls_are_escaped_and_letters_are_not() -> None:
    assert escape_controls("a\n\x1b[2J\x85\u2028b") == r"a\n\x1b[2J\x85\u2028b"
    for text in ("семь", "مرحبا \u200f", "\udcff", "日本 é"):
        assert escape_controls(text) == text


def test_messages_and_tables_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Model:
        languages = ("ru",)

        def transcribe(self, file: str, **options: Any) -> Transcript:
            raise RuntimeError("no")

    monkeypatch.delenv("AVSR_DEBUG", raising=False)
    monkeypatch.setattr(recognizer, "load_model", lambda *arguments: Model())
    names = [tmp_path / f"{i}\n\x1b[1m.mp4" for i in range(2)]
    for name in names:
        name.touch()
    assert cli.main(["transcribe", *map(str, names)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2 + 4 + 1  # messages, table, summary
    assert "\x1b" not in err


def test_a_manifest_with_controls_is_validated_line_by_line(
    tmp_path: Path, run_validate: Callable[[Path], tuple[int, str]]
) -> None:
    record = {"utterance_id": "a\n\x1b[2J", "media": "gone.mp4", "start": 0, "end": 1}
    record |= {"text": "x", "language": "en", "split": "test", "speaker": "s"}
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(record) + "\n")
    status, out = run_validate(path)
    assert status == 1
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out


@pytest.fixture
def run_validate(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], tuple[int, str]]:
    def call(path: Path) -> tuple[int, str]:
        return cli.main(["validate", str(path)]), capsys.readouterr().out

    return call
