"""The choice of a model on the page: downloads with progress, and the banner of a doubtful text."""

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from avsr import AvsrError, Transcript
from avsr.errors import ConfigError
from demo.app import PAGE_STYLE, build_app
from demo.intake import ModelRegistry
from demo.jobs import JobQueue
from demo.layout import introduce
from demo.limits import Limits, read_limits
from demo.player import ResultView, render_player
from demo.server import Server, bind, create_app
from demo.store import open_store
from tests.conftest import write_clip
from tests.demo.conftest import FakeRecognizer
from tests.hub.conftest import Hub, hub  # noqa: F401  (a fixture)

SPANISH = "nguyenvulebinh/AV-HuBERT-MuAViC-es"
WAIT = 60_000  # ms


@pytest.fixture
def page(browser: Any, hub: Hub, tmp_path: Path) -> Iterator[Any]:  # noqa: F811
    """The page of a server that may download from a hub on this machine."""
    limits = Limits(downloads=True)
    listener = bind("127.0.0.1", 0)
    (tmp_path / "examples").mkdir()
    with listener, open_store(limits) as store:
        blocks = build_app(FakeRecognizer(), tmp_path / "examples", limits)  # type: ignore[arg-type]
        app = create_app(blocks, store, **PAGE_STYLE)
        with Server(app, listener, limits) as address:
            page = browser.new_page(viewport={"width": 1100, "height": 1000})
            page.set_default_timeout(WAIT)
            page.goto(address)
            yield page
            page.close()


def see(page: Any, selector: str, text: str) -> Any:
    locator = page.locator(selector)
    locator = locator.filter(has_text=re.compile(re.escape(text)), visible=True).first
    locator.wait_for()
    return locator


def upload(page: Any, folder: Path) -> None:
    write_clip(folder / "talk.mp4")
    page.locator("#video input[type=file]").set_input_files(folder / "talk.mp4")


def test_a_model_is_downloaded_with_progress_and_then_transcribes(
    page: Any,
    hub: Hub,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub.add_port(SPANISH)
    hub.cuts, hub.stalls = [5000], True
    upload(page, tmp_path)
    see(page, "#facts", "2.0 s")
    see(page, "#introduction", "no real talks")
    page.locator("#model input").click()
    see(page, "[role=option]", "muavic-es · Spanish · download 1.55 GB").click()
    see(page, "#about", "1.55 GB, downloaded at its first use")
    see(page, "#introduction", "writes down the words of one language, Spanish")
    page.locator("#begin").click()
    see(page, "#status", "Downloading muavic-es")
    page.screenshot(path=tmp_path / "downloading.png")
    hub.stalls = False  # the connection breaks off, and the download goes on where it stopped
    see(page, "#player .words", "")
    page.screenshot(path=tmp_path / "transcribed.png")
    assert hub.ranges()[1:] == ["bytes=5000-"]
    see(page, "#about", "on this computer")
    page.locator("#model input").click()
    see(page, "[role=option]", "muavic-es · Spanish · here")


def test_stop_ends_a_download(
    page: Any,
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop, stopped = JobQueue.stop, threading.Event()

    def record_stop(queue: JobQueue, owner: object) -> None:
        stop(queue, owner)
        stopped.set()

    monkeypatch.setattr(JobQueue, "stop", record_stop)
    hub.add_port(SPANISH)
    hub.cuts, hub.stalls = [5000], True
    upload(page, tmp_path)
    see(page, "#facts", "2.0 s")
    page.locator("#model input").click()
    see(page, "[role=option]", "muavic-es").click()
    see(page, "#about", "downloaded at its first use")
    page.locator("#begin").click()
    see(page, "#status", "Downloading muavic-es")
    page.locator("#cancel").click()
    assert stopped.wait(WAIT / 1000)
    hub.stalls = False
    see(page, "#begin", "Transcribe")
    assert not [*hub.find_in_cache("snapshots/*/model.safetensors")]


def test_the_operator_says_what_may_be_downloaded(tmp_path: Path) -> None:
    default: Any = SimpleNamespace(languages=("en",))

    def names(downloads: Any) -> set[str]:
        models = ModelRegistry(default, None, Limits(downloads=downloads).downloads)
        return {name for name in models.names if name.startswith("muavic")}

    assert names(None) == names(False) == names([]) == set()
    assert names(["muavic-es"]) == {"muavic-es"}
    assert "voxlingua107" not in ModelRegistry(default, None, True).names
    assert len(names(True)) == 10
    with pytest.raises(AvsrError, match="no model 'muavic-de' on this server"):
        ModelRegistry(default, None, ["muavic-es"]).get("muavic-de")
    (tmp_path / "limits.yaml").write_text("downloads: [muavic-es]\n")
    assert read_limits(tmp_path / "limits.yaml").downloads == ("muavic-es",)
    with pytest.raises(ConfigError, match="downloads must be true, false or a list of models"):
        Limits(downloads="muavic-es")  # type: ignore[arg-type]


def test_the_first_sentence_promises_what_the_model_can_do() -> None:
    models = ModelRegistry(FakeRecognizer(), None, False)  # type: ignore[arg-type]
    assert "no real talks" in introduce(models, "tiny", Limits())
    assert "avsr models" in introduce(models, "tiny", Limits())
    models = ModelRegistry(FakeRecognizer(), None, True)  # type: ignore[arg-type]
    assert "choose another model" in introduce(models, "tiny", Limits())
    assert "no real talks" not in introduce(models, "muavic-es", Limits())
    assert "does not tell which it is" in introduce(models, "muavic-multilingual", Limits())


def test_a_text_that_is_not_reliable_has_a_banner() -> None:
    result = Transcript(file="a", language="unknown", language_probs={}, text="b", modality="audio")
    view = ResultView(transcript=result, video="a.mp4", mouth=None)
    assert "banner" not in render_player(view)
    assert "not calibrated" in render_player(view)
    judged = dataclasses.replace(result, reliable=True)
    assert "not calibrated" not in render_player(dataclasses.replace(view, transcript=judged))
    doubtful = dataclasses.replace(
        result, reliable=False, reliability_reasons=("the <b>words</b> are not sure",), advice="Go."
    )
    html = render_player(dataclasses.replace(view, transcript=doubtful))
    assert "Do not rely on this text" in html
    assert "The &lt;b&gt;words&lt;/b&gt; are not sure. Go." in html
