"""Numbers on the command line that are far too large are refused in one line, before any work."""

import pytest

from avsr.cli.app import main
from avsr.errors import CorpusError
from avsr.synthetic import synthesize

HUGE = "9" * 22


@pytest.mark.parametrize(
    "command",
    [
        ["synthesize", "OUT", "--hours", "0.001", "--workers", HUGE],
        ["prepare", "manifest", "m.jsonl", "OUT", "--workers", HUGE],
        ["evaluate", "m.jsonl", "--workers", HUGE],
        ["transcribe", "talk.mp4", "--workers", HUGE],
        ["train", "train.yaml", "--workers", HUGE],
        ["demo", "--port", HUGE],
        ["synthesize", "OUT", "--hours", "inf"],
        ["synthesize", "OUT", "--hours", "1e300"],
        ["synthesize", "OUT", "--hours", "0", "--clips", HUGE],
    ],
    ids=lambda command: " ".join(command[:1] + command[-2:]),
)
def test_options(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("avsr: ")
    assert line.count("\n") == line.count("unexpected") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hours", [float("inf"), float("nan"), -1.0, 1e300])
def test_hours(hours, tmp_path):
    with pytest.raises(CorpusError, match="hours and numbers of clips must be within 0 and"):
        synthesize(tmp_path / "corpus", hours=hours)
    assert list(tmp_path.iterdir()) == []
