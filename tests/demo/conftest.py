"""A model with a fixed answer for the demo page, and a real browser to open the page in."""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from avsr import Transcript
from avsr.errors import MediaError
from avsr.face import MouthTrack, is_covered
from avsr.media import probe
from avsr.transcript import Word

CHROMIUM = Path("/usr/bin/chromium")
NUM_FRAMES = 30


class FakeRecognizer:
    """Opens the file, then returns a fixed transcript. Records its calls."""

    languages = ("ar", "en")

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []  # options of each call of transcribe
        self.inputs: list[tuple[bool, bool]] = []  # (sound, lips) of each transcribe_arrays
        self.seconds = 0.0  # that transcribe takes
        self.last_report = 0.0  # time.monotonic() of its last report
        self.error = ""  # raised by transcribe if not empty

    def transcribe(self, path: str, *, progress: Any = None, **options: Any) -> Transcript:
        info = probe(path)
        self.calls.append(options)
        if self.error:
            raise MediaError(f"{path}: {self.error}")
        start = time.monotonic()
        while (done := time.monotonic() - start) < self.seconds:
            self.last_report = time.monotonic()
            progress(done, self.seconds, "reading the lips")
            time.sleep(0.05)
        language = "en" if options["language"] == "auto" else options["language"]
        columns = np.linspace(0, 255, 96).astype(np.uint8)
        track = MouthTrack(
            mouth=np.tile(columns, (NUM_FRAMES, 96, 1)),
            found=np.ones(NUM_FRAMES, bool),
            boxes=np.zeros((NUM_FRAMES, 4), np.float32),
            tracks=np.zeros(NUM_FRAMES, int),
            landmarks=np.zeros((NUM_FRAMES, 25, 2), np.float32),
            matrices=np.zeros((NUM_FRAMES, 2, 3), np.float32),
        )
        text = {"en": "place blue at f two now", "ar": "سبعة كتب"}[language]
        words = [
            Word(word, start=0.25 * i, end=0.25 * i + 0.2, confidence=0.3 if word == "f" else 0.9)
            for i, word in enumerate(text.split())
        ]
        return Transcript(
            file=path,
            language=language,
            language_probs={"ar": 0.125, "en": 0.875},
            text=text,
            words=tuple(words),
            modality=options["modality"],
            warnings=("the <b>sound</b> is odd",),
            duration=info.duration,
            mouth=track,
        )

    def transcribe_arrays(self, waveform: Any, mouth: Any, **options: Any) -> Transcript:
        """Return half of the words from the sound or the lips alone, all from both."""
        self.inputs.append((waveform is not None, mouth is not None))
        covered = waveform is not None and mouth is not None and is_covered(mouth)
        both = all(self.inputs[-1]) and not covered
        return Transcript(
            file="",
            language="en",
            language_probs={},
            text="place blue at f" if both else "place blue",
            modality="av" if both else "audio" if waveform is not None else "video",
            duration=1.0,
            warnings=("something covers the mouth",) if covered else (),
        )


@pytest.fixture(scope="session")
def demo() -> ModuleType:
    """The module demo/app.py."""
    return importlib.import_module("demo.app")


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium with a fake camera and microphone; skips where there is none.

    One per module, since Playwright's event loop runs in this thread as long as the fixture lives.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()
