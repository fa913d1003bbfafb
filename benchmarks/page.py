"""How long a visitor waits: from a click on an example to its words, and from Stop to the end.

Both are measured in headless Chromium, from the click to the moment in which the page shows it,
with a server that has transcribed before. What is stopped is the example over and over, a clip of
15 s, once while its lips are read and once while its words are searched.
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

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
EXAMPLE, EXAMPLE_NAME = EXAMPLES / "en.mp4", "English"
LONG = 15  # s
WAIT = 60  # s
LOOK = 1.0  # s; so long a visitor looks at the page before she clicks again
CLICK = """
const [selector, text, awaited, done] = arguments, began = performance.now();
[...document.querySelectorAll(selector)].find((e) => e.innerText.includes(text)).click();
(function look() {
  if (document.querySelector(awaited)?.offsetParent) done((performance.now() - began) / 1000);
  else setTimeout(look, 10);
})();
"""
SEEN = """
const [selector, text, done] = arguments;
(function look() {
  const found = document.querySelector(selector);
  if (found?.offsetParent && found.innerText.includes(text)) done(true);
  else setTimeout(look, 10);
})();
"""


def measure(runs: int) -> dict[str, Any]:
    """Medians and the slowest of ``runs``, seconds."""
    texts, stops = [], []
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(Path(name)) as (address, _),
        browser_at(address, Path(name)) as browser,
    ):
        clip = Path(name) / "long.mp4"
        write_long(clip)
        for run in range(runs + 1):
            text = click(browser, "#examples button", EXAMPLE_NAME, "#player .word")
            click(browser, "#another", "", "#chooser")
            time.sleep(LOOK)
            if run:  # the first one warms the server up
                texts.append(text)
        see(browser, "#begin", "Transcribe")
        browser.find_element("css selector", "#video input[type=file]").send_keys(str(clip))
        see(browser, "#facts .faces")
        for doing in ["Reading the lips", "Finding the words"] * runs:
            click(browser, "#begin", "", "#working")
            see(browser, "#status", doing)
            stops.append(click(browser, "#cancel", "Stop", "#begin"))
    return {
        "case": "the page in headless Chromium, its server warm",
        "example_to_text_seconds": round(statistics.median(texts), 2),
        "example_to_text_slowest_seconds": round(max(texts), 2),
        "stop_to_stopped_seconds": round(statistics.median(stops), 2),
        "stop_to_stopped_slowest_seconds": round(max(stops), 2),
    }


def write_long(path: Path) -> None:
    """The example, again and again for LONG seconds."""
    from avsr.media import read_frames, read_waveform, write_video
    from avsr.rates import FPS, SAMPLE_RATE

    frames = list(read_frames(EXAMPLE))
    sound = np.resize(read_waveform(EXAMPLE), LONG * SAMPLE_RATE)
    write_video(path, islice(cycle(frames), LONG * FPS), waveform=sound)


@contextmanager
def browser_at(address: str, folder: Path) -> Iterator[Any]:
    """A new Chromium that shows a page."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "mute-audio"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={folder / 'chromium'}")
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    browser.set_script_timeout(WAIT)
    try:
        browser.get(address)
        see(browser, "#examples button")
        yield browser
    finally:
        browser.quit()


def click(browser: Any, selector: str, text: str, awaited: str) -> float:
    """Click what has ``text``; the seconds until ``awaited`` is there to see."""
    return float(browser.execute_async_script(CLICK, selector, text, awaited))


def see(browser: Any, selector: str, text: str = "") -> None:
    """Wait for something that can be seen and has ``text``."""
    browser.execute_async_script(SEEN, selector, text)
