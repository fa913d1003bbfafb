"""Waiting times on the web page: from clicking an example to its words, and from Stop to the end.

Both are measured in headless Chromium, from the click until the page shows the change, on a server
that has transcribed before. A clip of 15 s, the repeated example, is stopped once while its lips
are read and once while its words are searched.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.demo import EXAMPLES, running_server

CHROMIUM = "/usr/bin/chromium"
EXAMPLE, EXAMPLE_NAME = EXAMPLES / "en.mp4", "English"
LONG = 15  # s
WAIT = 60  # s
PAUSE = 1.0  # s between two clicks of a visitor
CLICK = """([selector, text, awaited]) => new Promise((done) => {
  const began = performance.now();
  [...document.querySelectorAll(selector)].find((e) => e.innerText.includes(text)).click();
  (function look() {
    if (document.querySelector(awaited)?.offsetParent) done((performance.now() - began) / 1000);
    else setTimeout(look, 10);
  })();
})"""


def measure(runs: int) -> dict[str, Any]:
    """Return medians and maxima of ``runs``, in seconds."""
    texts, stops = [], []
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(Path(name)) as (address, _),
        page_at(address) as page,
    ):
        clip = Path(name) / "long.mp4"
        write_long(clip)
        for run in range(runs + 1):
            text = click(page, "#examples button", EXAMPLE_NAME, "#player .word")
            click(page, "#another", "", "#chooser")
            time.sleep(PAUSE)
            if run:  # the first one warms the server up
                texts.append(text)
        see(page, "#begin", "Transcribe")
        page.locator("#video input[type=file]").set_input_files(clip)
        see(page, "#facts .faces")
        for doing in ["Reading the lips", "Finding the words"] * runs:
            click(page, "#begin", "", "#working")
            see(page, "#status", doing)
            stops.append(click(page, "#cancel", "Stop", "#begin"))
    return {
        "case": "the page in headless Chromium, its server warm",
        "example_to_text_seconds": round(statistics.median(texts), 2),
        "example_to_text_slowest_seconds": round(max(texts), 2),
        "stop_to_stopped_seconds": round(statistics.median(stops), 2),
        "stop_to_stopped_slowest_seconds": round(max(stops), 2),
    }


def write_long(path: Path) -> None:
    """Write a clip of LONG seconds that repeats the example."""
    from avsr.media import read_frames, read_waveform, write_video
    from avsr.rates import FPS, SAMPLE_RATE

    frames = list(read_frames(EXAMPLE))
    sound = np.resize(read_waveform(EXAMPLE), LONG * SAMPLE_RATE)
    write_video(path, islice(cycle(frames), LONG * FPS), waveform=sound)


@contextmanager
def page_at(address: str) -> Iterator[Any]:
    """Open a page in a new Chromium."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.set_default_timeout(1000 * WAIT)
        page.goto(address)
        see(page, "#examples button")
        yield page
        browser.close()


def click(page: Any, selector: str, text: str, awaited: str) -> float:
    """Click the element with ``text``; return the seconds until ``awaited`` is visible."""
    return float(page.evaluate(CLICK, [selector, text, awaited]))


def see(page: Any, selector: str, text: str = "") -> None:
    """Wait for a visible element with ``text``."""
    page.locator(selector).filter(has_text=text, visible=True).first.wait_for()
