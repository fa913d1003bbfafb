"""Warnings of what was read named the file twice, and in the page by a path of the server."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr import load_model, media
from avsr.cli import app as cli
from avsr.cli.display import prefix_file

EXAMPLE = Path(__file__).parents[2] / "demo/examples/de.mp4"


def test_a_transcript_does_not_repeat_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = media.read_waveform(EXAMPLE)
    path = tmp_path / "opposite.wav"
    soundfile.write(path, np.stack([voice, -voice], 1), 16_000)
    (warning,) = (w for w in load_model(device="cpu").transcribe(path).warnings if "mix" in w)
    assert warning.startswith("the mix of the 2 sound channels")
    assert cli.main(["transcribe", "--device", "cpu", str(path)]) == 0
    assert f"avsr: {path}: warning: {warning}\n" in capsys.readouterr().err


def test_a_message_gets_the_name_that_it_lacks() -> None:
    assert prefix_file("a.mp4", "is empty") == "a.mp4: is empty"
    assert prefix_file("a.mp4", "a.mp4: is empty") == "a.mp4: is empty"
    assert prefix_file("./a.mp4", "warning: a.mp4: is cut") == "./a.mp4: warning: is cut"
