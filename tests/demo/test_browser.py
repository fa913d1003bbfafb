"""The page in a real browser: what a visitor clicks, and what she then sees."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from avsr.hub import ASSETS, BUNDLED, DEFAULT_MODEL
from demo.jobs import Desk

WAIT = 60  # s, for the page and for a transcript


class Visitor:
    """Somebody at the page."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        browser.get(address)
        self.see("#begin")

    def see(self, selector: str, text: str = "") -> Any:
        """The visible element of a selector, with ``text`` in it, when it is there."""
        from selenium.webdriver.support.ui import WebDriverWait

        def look(browser: Any) -> Any:
            found = browser.find_elements("css selector", selector)
            return next((e for e in found if e.is_displayed() and text in e.text), None)

        return WebDriverWait(self.browser, WAIT, 0.1, [Exception]).until(look, f"{selector} {text}")

    def wait(self, script: str) -> Any:
        """What a script returns once that is something."""
        from selenium.webdriver.support.ui import WebDriverWait

        command = f"return {script}"
        return WebDriverWait(self.browser, WAIT, 0.1, [Exception]).until(
            lambda browser: browser.execute_script(command), script
        )

    def upload(self, clip: Path) -> None:
        """Choose a file in the upload field, as the system's dialogue would."""
        self.wait("!!document.querySelector('#video input[type=file]')")
        field = self.browser.find_element("css selector", "#video input[type=file]")
        field.send_keys(str(clip))
        self.wait("document.querySelector('#video video')?.readyState > 0")

    def words(self) -> list[str]:
        """The words of the result."""
        self.see("#player .word")
        return [w.text for w in self.browser.find_elements("css selector", "#player .word")]


@pytest.fixture
def visit(
    demo: ModuleType, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Visitor]]:
    """``visit(transcriber, examples)`` opens the page."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    pages = []

    def open_page(transcriber: Any, examples: Path = tmp_path / "none") -> Visitor:
        page = demo.build_app(transcriber, examples)
        _, address, _ = page.launch(
            prevent_thread_lock=True, quiet=True, css=demo.CSS, theme=demo.THEME
        )
        pages.append(page)
        return Visitor(browser, address)

    yield open_page
    browser.get("about:blank")
    for page in pages:
        page.close()


def test_an_upload_becomes_words_that_jump_subtitles_and_files(
    visit: Callable[..., Visitor], transcriber: Any, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    visitor = visit(transcriber)
    visitor.browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    visitor.upload(make_clip("talk.mp4"))
    facts = visitor.see("#facts", "no face").text
    assert facts.split("\n")[:3] == ["2.0 s", "64 × 48", "25 pictures a second"]
    visitor.see("#begin").click()

    assert visitor.words() == ["place", "blue", "at", "f", "two", "now"]
    assert transcriber.asked == [
        {"modality": "av", "language": "auto", "beam_size": 5, "face": "auto"}
    ]
    languages = visitor.see("#player .languages").text.split()
    assert languages == ["Language", "English", "88%", "Arabic", "12%"]
    unsure = visitor.browser.find_elements("css selector", "#player .word.unsure")
    assert [word.text for word in unsure] == ["f"]
    assert "the <b>sound</b> is odd" in visitor.see("#player .notes").text

    now = "document.querySelector('video.source').currentTime"
    visitor.see(".word[data-index='4']").click()
    assert visitor.wait(now) == pytest.approx(1.0, abs=0.01)
    assert visitor.see(".word.now").text == "two"
    assert visitor.wait("document.querySelector('.mouth video').currentTime > 0.9")

    track = "document.querySelector('video.source').textTracks[0]"
    assert visitor.wait(f"{track}.cues && {track}.cues[0].text") == "place blue at f two now"
    assert visitor.wait(f"{track}.mode") == "showing"
    visitor.see("[data-does=subtitles]").click()
    assert visitor.wait(f"{track}.mode") == "hidden"

    visitor.see("[data-does=edit]").click()
    visitor.browser.execute_script("document.querySelector('.word[data-index=\"3\"]').focus()")
    visitor.browser.execute_script(
        "document.querySelector('.word[data-index=\"3\"]').textContent = '<eff>';"
        "document.activeElement.blur()"
    )
    assert visitor.wait(f"{track}.cues?.[0].text.includes('eff')")
    for ending in ("srt", "vtt", "ass", "json", "txt"):
        visitor.see("#downloads button", ending.upper()).click()
        content = downloaded(tmp_path / f"talk.{ending}")
        assert "<eff>" in content or "&lt;eff&gt;" in content, ending
        if ending == "json":
            assert json.loads(content)["words"][3]["text"] == "<eff>"


def downloaded(path: Path) -> str:
    """The content of a file once the browser has written it."""
    end = time.monotonic() + WAIT
    while not path.is_file() and time.monotonic() < end:
        time.sleep(0.05)
    return path.read_text("utf-8")


def test_arabic_runs_from_the_right(
    visit: Callable[..., Visitor], transcriber: Any, make_clip: Callable[..., Path]
) -> None:
    visitor = visit(transcriber)
    visitor.upload(make_clip("talk.mp4"))
    visitor.see("#language input").click()
    visitor.see("[role=option]", "Arabic").click()
    visitor.see("#begin").click()
    first, second = visitor.words()
    assert (first, second) == ("سبعة", "كتب")
    left = "document.querySelectorAll('.word')[{}].getBoundingClientRect().left"
    assert visitor.wait(left.format(0)) > visitor.wait(left.format(1))


def test_stop_ends_the_work_within_two_seconds(
    visit: Callable[..., Visitor],
    transcriber: Any,
    make_clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []
    stop = Desk.stop
    monkeypatch.setattr(
        Desk, "stop", lambda desk, owner: (told.append(time.monotonic()), stop(desk, owner))
    )
    transcriber.seconds = 600.0
    visitor = visit(transcriber)
    visitor.upload(make_clip("talk.mp4"))
    visitor.see("#begin").click()
    visitor.see("#status", "Reading the lips")
    visitor.see("#cancel").click()
    visitor.see("#begin")
    stopped = transcriber.last_report
    assert stopped - told[0] < 2
    time.sleep(0.3)
    assert transcriber.last_report == stopped, "it only looked as if it had stopped"


def test_a_broken_file_is_named(
    visit: Callable[..., Visitor], transcriber: Any, make_clip: Callable[..., Path]
) -> None:
    def fail(path: str, **options: Any) -> None:
        from avsr.errors import MediaError

        raise MediaError(f"{path}: nothing to transcribe: no face was found in any frame")

    transcriber.transcribe = fail
    visitor = visit(transcriber)
    visitor.upload(make_clip("talk.mp4"))
    visitor.see("#begin").click()
    message = visitor.see(".toast-body").text
    assert "talk.mp4: nothing to transcribe" in message
    assert "/" not in message


def test_the_bundled_model_reads_the_bundled_example_in_quiet_and_in_noise(
    visit: Callable[..., Visitor], demo: ModuleType, tmp_path: Path
) -> None:
    if not (ASSETS / BUNDLED[DEFAULT_MODEL]).is_dir():
        pytest.skip("no bundled model in avsr/assets")
    if not (demo.EXAMPLES / "en.mp4").is_file():
        pytest.skip("no example clips in demo/examples")
    (tmp_path / "examples").mkdir()
    shutil.copy(demo.EXAMPLES / "en.mp4", tmp_path / "examples")
    visitor = visit(None, tmp_path / "examples")
    visitor.see("#examples button", "English").click()
    assert visitor.words()
    assert "English" in visitor.see("#player .languages").text
    assert visitor.wait("document.querySelector('.mouth video').videoWidth") == 288
    visitor.see("#more button").click()
    assert "GRID" in visitor.see("#about", "Licence").text

    visitor.see("#laboratory button").click()
    visitor.see("#picture label", "Mouth covered").click()
    visitor.see("#attempt").click()
    readings = visitor.see("#outcome .readings").text
    assert all(name in readings for name in ("In quiet", "Sound only", "Lips only"))
    assert visitor.wait("document.querySelector('video.spoilt').duration") > 1
    visitor.see("#levels").click()
    visitor.see("#outcome .sweep")
    points = visitor.browser.find_elements("css selector", "#outcome circle")
    assert len(points) == 18, "three readings at five levels and in quiet"
