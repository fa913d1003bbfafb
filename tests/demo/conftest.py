"""The demo page around a transcriber that knows one answer, and a real browser to look at it."""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
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


class KnowingTranscriber:
    """Opens the file for real, then says what it was told to; remembers how it was asked."""

    config = SimpleNamespace(languages=("ar", "en"))

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.read: list[tuple[bool, bool]] = []  # whether it was given sound, and lips
        self.seconds = 0.0  # that it takes
        self.last_report = 0.0
        self.trouble = ""  # what it says instead, of a file

    def transcribe(self, path: str, *, progress: Any = None, **options: Any) -> Transcript:
        info = probe(path)
        self.asked.append(options)
        if self.trouble:
            raise MediaError(f"{path}: {self.trouble}")
        began = time.monotonic()
        while (done := time.monotonic() - began) < self.seconds:
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
        """Understands half of the words from the sound or the lips alone."""
        self.read.append((waveform is not None, mouth is not None))
        covered = waveform is not None and mouth is not None and is_covered(mouth)
        both = all(self.read[-1]) and not covered
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
def transcriber() -> KnowingTranscriber:
    return KnowingTranscriber()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium with a made-up camera and microphone; skips where there is none.

    Playwright's event loop runs in this thread while the fixture lives: not beyond one module.
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
