"""The page in a real browser: what a visitor clicks, and what the page then shows.

Starting a browser and loading the page take most of the time, so the tests share one visitor with
one upload; each test leaves the page ready for the next.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysubs2
import pytest

from avsr.hub import ASSETS, BUNDLED, DEFAULT_MODEL
from demo.app import EXAMPLES, PAGE_STYLE, build_app
from demo.jobs import JobQueue
from demo.limits import Limits
from demo.server import Server, bind, create_app
from demo.store import open_store
from tests.conftest import write_clip
from tests.demo.conftest import FakeRecognizer

WAIT = 60  # s, for the page and for a transcript


@dataclass
class Visitor:
    """Somebody at the page, who has uploaded ``talk.mp4``."""

    page: Any
    recognizer: FakeRecognizer
    folder: Path
    complaints: list[str] = field(default_factory=list)
    """What the browser wrote to its console."""

    def see(self, selector: str, text: str = "") -> Any:
        """Wait for a visible element of a selector with ``text`` in it, and return it."""
        locator = self.page.locator(selector)
        locator = locator.filter(has_text=re.compile(re.escape(text)), visible=True).first
        locator.wait_for()
        return locator

    def wait(self, script: str) -> Any:
        """Run a script until it returns something, and return that."""
        function = f"(() => {{ try {{ return {script} }} catch {{}} }})()"
        return self.page.wait_for_function(function, polling=50).json_value()

    def upload(self, clip: Path) -> None:
        """Choose a file in the upload field, as the system's dialogue would."""
        self.page.locator("#video input[type=file]").set_input_files(clip)

    def choose(self, list_id: str, option: str) -> None:
        self.see(f"#{list_id} input").click()
        self.see("[role=option]", option).click()

    def words(self) -> list[str]:
        """The words of the result."""
        self.see("#player .word")
        return self.page.locator("#player .word").all_inner_texts()

    def start_over(self) -> None:
        """Return to a page with neither a result nor a video."""
        for button in ("#another", "#video [data-testid=video] button[aria-label=Clear]"):
            if (locator := self.page.locator(button)).is_visible():
                locator.click()
        self.page.locator("#video input[type=file]").wait_for(state="attached")
        (self.folder / "talk.mp4").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Visitor]:
    folder = tmp_path_factory.mktemp("visitor")
    (folder / "examples").mkdir()
    shutil.copy(EXAMPLES / "en.mp4", folder / "examples")
    recognizer = FakeRecognizer()
    limits = Limits(minutes=0.1, megapixels=0.5, uploads_per_minute=1000, calls_per_minute=1000)
    listener = bind("127.0.0.1", 0)
    with listener, open_store(limits) as store:
        blocks = build_app(recognizer, folder / "examples", limits, name="knowing")
        app = create_app(blocks, store, **PAGE_STYLE)
        with Server(app, listener, limits) as address:
            # drawing what moves costs as much as all else
            page = browser.new_page(
                viewport={"width": 1600, "height": 1100}, reduced_motion="reduce"
            )
            page.set_default_timeout(1000 * WAIT)
            visitor = Visitor(page, recognizer, folder)
            page.on("console", lambda message: visitor.complaints.append(message.text))
            page.goto(address)
            yield visitor
            page.close()


@pytest.fixture(autouse=True)
def willing(visitor: Visitor) -> None:
    """Undo what the test before asked of the recognizer: each process has other tests before."""
    visitor.recognizer.calls.clear()
    visitor.recognizer.seconds, visitor.recognizer.error = 0.0, ""


@pytest.fixture
def uploaded(visitor: Visitor) -> Visitor:
    """The visitor with her clip of two seconds, in whatever state the page is."""
    if not (visitor.folder / "talk.mp4").exists():
        write_clip(visitor.folder / "talk.mp4")
        visitor.upload(visitor.folder / "talk.mp4")
        visitor.wait("document.querySelector('#video video')?.readyState > 0")
    return visitor


def test_stop_ends_the_work_within_two_seconds(
    uploaded: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor, recognizer = uploaded, uploaded.recognizer
    facts = visitor.see("#facts", "no face").inner_text()
    assert facts.split("\n")[:3] == ["2.0 s", "64 × 48", "25 pictures a second"]
    stop_times = []
    stop = JobQueue.stop

    def record_stop(queue: JobQueue, owner: object) -> None:
        stop_times.append(time.monotonic())
        stop(queue, owner)

    monkeypatch.setattr(JobQueue, "stop", record_stop)
    recognizer.seconds = 600.0
    visitor.see("#begin").click()
    visitor.see("#status", "Reading the lips")
    visitor.see("#cancel").click()
    visitor.see("#begin")
    stopped = recognizer.last_report
    assert stopped - stop_times[0] < 2
    time.sleep(0.2)  # four reports
    assert recognizer.last_report == stopped, "it only looked as if it had stopped"


def test_an_error_is_shown_without_the_servers_folders(uploaded: Visitor) -> None:
    uploaded.recognizer.error = "nothing to transcribe: no face was found in any frame"
    uploaded.see("#begin").click()
    message = uploaded.see(".toast-body").inner_text()
    assert "talk.mp4: nothing to transcribe" in message
    assert "/" not in message
    uploaded.see(".toast-close").click()


def test_an_upload_becomes_words_that_jump_subtitles_and_files(uploaded: Visitor) -> None:
    visitor = uploaded
    visitor.see("#begin").click()
    assert visitor.words() == ["place", "blue", "at", "f", "two", "now"]
    assert visitor.recognizer.calls == [
        {"modality": "av", "language": "auto", "beam_size": 5, "face": "auto"}
    ]
    languages = visitor.see("#player .languages").inner_text().split()
    assert languages == ["Language", "English", "88%", "Arabic", "12%"]
    assert visitor.page.locator("#player .word.unsure").all_inner_texts() == ["f"]
    assert "the <b>sound</b> is odd" in visitor.see("#player .notes").inner_text()

    now = "document.querySelector('video.source').currentTime"
    visitor.see(".word[data-index='4']").click()
    assert visitor.wait(now) == pytest.approx(1.0, abs=0.01)
    assert visitor.see(".word.now").inner_text() == "two"
    assert visitor.wait("document.querySelector('.mouth video').currentTime > 0.9")

    track = "document.querySelector('video.source').textTracks[0]"
    assert visitor.wait(f"{track}.cues && {track}.cues[0].text") == "place blue at f two now"
    assert visitor.wait(f"{track}.mode") == "showing"
    visitor.see("[data-does=subtitles]").click()
    assert visitor.wait(f"{track}.mode") == "hidden"

    visitor.see("[data-does=edit]").click()
    changed = visitor.see(".word[data-index='3']")
    changed.fill("<eff>")
    changed.press("Enter")
    assert visitor.wait(f"{track}.cues?.[0].text.includes('eff')")
    assert visitor.wait(now) == pytest.approx(1.0, abs=0.01), "a correction leads nowhere else"
    for ending in ("srt", "vtt", "ass", "json", "txt"):
        with visitor.page.expect_download() as download:
            visitor.see("#downloads button", ending.upper()).click()
        assert download.value.suggested_filename == f"talk.{ending}"
        content = download.value.path().read_text("utf-8")
        assert "<eff>" in content or "&lt;eff&gt;" in content, ending
        if ending == "json":
            assert json.loads(content)["words"][3]["text"] == "<eff>"
        elif ending != "txt":
            assert len(pysubs2.SSAFile.from_string(content).events) == 1
    complaints = visitor.complaints
    assert not [text for text in complaints if "Content Security" in text or " 40" in text]


def test_arabic_runs_from_the_right(uploaded: Visitor) -> None:
    uploaded.choose("language", "Arabic")
    uploaded.see("#begin").click()
    uploaded.see("#player .word", "سبعة")
    assert uploaded.words() == ["سبعة", "كتب"]
    left = "document.querySelectorAll('.word')[{}].getBoundingClientRect().left"
    assert uploaded.wait(left.format(0)) > uploaded.wait(left.format(1))
    uploaded.choose("language", "Detect it")


def test_each_kind_of_bad_file_shows_its_message(visitor: Visitor) -> None:
    folder = visitor.folder
    visitor.start_over()
    write_clip(folder / "long.mp4", duration=6.5, rate=5)
    write_clip(folder / "large.mp4", size=(1000, 600), duration=0.2)
    (folder / "letter.mp4").write_text("no video\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile a\n")
    for name, message in [
        ("letter.mp4", r"is not a video or audio file"),
        ("empty.mp4", r"is empty"),
        ("list.mp4", r"a list of files"),
        ("long.mp4", r"is longer than the 0\.1 minutes"),
        ("large.mp4", r"1000 x 600 has more than the 0\.5 megapixels"),
    ]:
        visitor.upload(folder / name)
        assert re.search(f"^{name}: .*{message}", visitor.see("#facts .trouble", name).inner_text())
        visitor.see("#video [data-testid=video] button[aria-label=Clear]").click()
        visitor.wait("!document.querySelector('#facts .trouble')")


def test_examples_are_read_however_soon_the_next_one_is_clicked(visitor: Visitor) -> None:
    visitor.start_over()
    visitor.recognizer.calls.clear()
    for clicks in range(1, 6):
        visitor.see("#examples button", "English").click()
        assert visitor.words()
        assert len(visitor.recognizer.calls) == clicks
        visitor.see("#another").click()
    visitor.see("#chooser")


def test_the_camera_is_recorded_to_the_end(visitor: Visitor) -> None:
    visitor.start_over()
    visitor.see("#video button[aria-label='Capture from camera']").click()
    visitor.see("#video button", "Access Webcam").click()
    visitor.see("#video button", "Record").click()
    visitor.see("#video button", "Stop")
    visitor.page.evaluate("void performance.mark('began')")
    visitor.page.wait_for_timeout(1500)
    lasted = visitor.page.evaluate("performance.measure('recorded', 'began').duration / 1000")
    visitor.see("#video button", "Stop").click()
    facts = visitor.see("#facts", "no face").inner_text().split("\n")
    assert facts[1] == "640 × 480"
    assert float(facts[0].removesuffix(" s")) > lasted - 0.5
    visitor.see("#begin").click()
    assert visitor.words()
    visitor.see("#another").click()
    visitor.see("#video button[aria-label='Upload file']").click()


def test_the_bundled_model_is_chosen_and_reads_in_quiet_and_in_noise(visitor: Visitor) -> None:
    if not (ASSETS / BUNDLED[DEFAULT_MODEL]).is_dir():
        pytest.skip("no bundled model in avsr/assets")
    visitor.start_over()
    visitor.recognizer.calls.clear()
    visitor.see("#more button").click()
    visitor.choose("model", DEFAULT_MODEL)
    assert "GRID" in visitor.see("#licence", DEFAULT_MODEL).inner_text()
    visitor.see("#examples button", "English").click()
    visitor.see("#player .languages", "English")
    assert visitor.words()
    assert not visitor.recognizer.calls, "another model was chosen"
    assert visitor.wait("document.querySelector('.mouth video').videoWidth") == 288

    visitor.see("#laboratory button").click()
    visitor.see("#picture label", "Mouth covered").click()
    visitor.see("#attempt").click()
    readings = visitor.see("#outcome .readings").inner_text()
    assert all(name in readings for name in ("In quiet", "Sound only", "Lips only"))
    assert "something covers the mouth" in readings
    assert visitor.wait("document.querySelector('video.spoilt').duration") > 1
    assert not visitor.recognizer.inputs

    visitor.choose("model", "knowing")
    visitor.see("#introduction", "knowing")
    visitor.see("#licence", "knowing")
    visitor.see("#levels").click()
    visitor.see("#outcome small", "Something covers the mouth")
    points = visitor.page.locator("#outcome circle").count()
    assert points == 18, "three readings at five levels and in quiet"
    visitor.see("#laboratory button").click()
    visitor.see("#more button").click()


def test_who_has_a_password_comes_in(visitor: Visitor, browser: Any) -> None:
    """A second server, since the one of the visitor has no login."""
    limits = Limits()
    listener = bind("127.0.0.1", 0)
    with listener, open_store(limits) as store:
        blocks = build_app(FakeRecognizer(), visitor.folder / "none", limits)
        app = create_app(blocks, store, users={"ann": "s3cret"}, **PAGE_STYLE)
        with Server(app, listener, limits) as address:
            page = browser.new_page()
            page.set_default_timeout(1000 * WAIT)
            page.goto(address)
            page.locator("[name=username]").fill("ann")
            page.locator("[name=password]").fill("guess")
            page.locator("button").click()
            page.locator("[role=alert]", has_text="Wrong name or password").wait_for()
            page.locator("[name=password]").fill("s3cret")
            page.locator("button").click()
            page.locator("#introduction").wait_for()
            page.close()


def test_closing_the_page_ends_its_work(visitor: Visitor, browser: Any) -> None:
    clip = visitor.folder / "closed.mp4"
    write_clip(clip)
    page = browser.new_page()
    page.set_default_timeout(1000 * WAIT)
    page.goto(visitor.page.url)
    page.locator("#video input[type=file]").set_input_files(clip)
    page.locator("#facts .facts").first.wait_for()
    visitor.recognizer.seconds = 600.0
    page.locator("#begin").click()
    page.locator("#status", has_text="Reading the lips").wait_for()
    page.close()
    visitor.recognizer.seconds = 0.0
    end, last = time.monotonic() + WAIT, 0.0
    while visitor.recognizer.last_report != last and time.monotonic() < end:
        last = visitor.recognizer.last_report
        time.sleep(0.5)  # ten reports
    assert visitor.recognizer.last_report == last
