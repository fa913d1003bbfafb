"""The page through its API: answers, files and error messages."""

import dataclasses
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio_client
import numpy as np
import pytest

from avsr import AvsrError, Transcript
from avsr.media import probe, read_frames
from demo.intake import example_label
from tests.demo.conftest import FakeRecognizer

MakeClip = Callable[..., Path]


@pytest.fixture
def clip(make_clip: MakeClip) -> Path:
    return make_clip("talk.mp4")


@dataclass
class Page:
    """A page that is served, and the model behind it."""

    client: gradio_client.Client
    recognizer: FakeRecognizer
    folder: Path
    """Where the server keeps its files."""


@pytest.fixture(scope="module")
def page(demo: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    recognizer = FakeRecognizer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        blocks = demo.build_app(recognizer, folder / "no examples")
        _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
        client = gradio_client.Client(address, verbose=False, download_files=str(folder / "got"))
        yield Page(client, recognizer, folder)
        client.close()
        blocks.close()


@pytest.fixture
def ask(page: Page) -> Callable[..., tuple[Any, ...]]:
    """Call the endpoint of the page: ``ask(path, modality, language)``."""
    page.recognizer.calls.clear()

    def call(path: Path | None, *settings: str) -> tuple[Any, ...]:
        video = None if path is None else gradio_client.handle_file(path)
        return page.client.predict(video, *settings, api_name="/transcribe")

    return call


def test_the_answer_of_the_model_is_returned(
    ask: Callable[..., Any], clip: Path, page: Page
) -> None:
    label, text, mouth, notes, files = ask(clip, "video", "auto")
    assert page.recognizer.calls == [
        {"modality": "video", "language": "auto", "beam_size": 5, "face": "auto"}
    ]
    assert text["value"] == "place blue at f two now"
    assert text["label"] == "Text (English)"
    assert not text["rtl"]
    assert label["label"] == "English"
    languages = {entry["label"]: entry["confidence"] for entry in label["confidences"]}
    assert languages == {"English": 0.875, "Arabic": 0.125}
    assert "the &lt;b&gt;sound&lt;/b&gt; is odd" in notes

    assert [Path(file).name for file in files] == [
        f"talk.{ending}" for ending in ("srt", "vtt", "ass", "json", "tsv", "txt")
    ]
    contents = [Path(file).read_text() for file in files]
    assert all("place blue at f two now" in content for content in contents)
    assert '"file": "talk.mp4"' in contents[3], "without the server's folder"

    path = Path(mouth)
    assert probe(path).fps == pytest.approx(25)
    frames = np.stack(list(read_frames(path)))
    assert frames.shape == (30, 288, 288, 3)
    across = frames[15, 100].mean(axis=-1)  # the ramp of the crop, three times as wide
    assert across == pytest.approx(np.linspace(0, 255, 96).repeat(3), abs=12)


def test_no_language_is_named_for_a_text_that_is_not_reliable(
    ask: Callable[..., Any], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcribe = FakeRecognizer.transcribe

    def transcribe_doubtfully(*args: Any, **options: Any) -> Transcript:
        doubt = {"reliable": False, "reliability_reasons": ("the language is unclear",)}
        return dataclasses.replace(transcribe(*args, **options), language="unknown", **doubt)

    monkeypatch.setattr(FakeRecognizer, "transcribe", transcribe_doubtfully)
    label, text, _, notes, _ = ask(clip, "av", "auto")
    assert label["label"] == "unknown"
    assert text["label"] == "Text (unknown)"
    assert notes.startswith("- ⚠️ not reliable: the language is unclear")


def test_arabic_runs_from_right_to_left(ask: Callable[..., Any], clip: Path) -> None:
    _, text, *_ = ask(clip, "av", "ar")
    assert text["value"] == "سبعة كتب"
    assert text["rtl"]


def test_sound_only_has_no_mouth_video(ask: Callable[..., Any], clip: Path) -> None:
    _, _, mouth, *_ = ask(clip, "audio", "auto")
    assert mouth is None


def test_a_broken_file_is_named_without_its_folder(
    ask: Callable[..., Any], page: Page, tmp_path: Path
) -> None:
    broken = tmp_path / "letter.mp4"
    broken.write_text("not a video\n" * 100)
    with pytest.raises(gradio_client.exceptions.AppError) as caught:
        ask(broken, "av", "auto")
    assert "letter.mp4" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert str(page.folder) not in str(caught.value)


def test_without_a_video_the_page_asks_for_one(ask: Callable[..., Any]) -> None:
    with pytest.raises(gradio_client.exceptions.AppError, match="Choose, upload or record"):
        ask(None, "av", "auto")


@pytest.mark.parametrize(
    ("name", "label"),
    [("de", "German"), ("en-office", "English (office)"), ("talk", "talk"), ("a-b", "a-b")],
)
def test_examples_are_called_by_their_language(name: str, label: str) -> None:
    assert example_label(Path(f"{name}.mp4")) == label


def test_only_the_models_languages_are_offered(
    demo: ModuleType, recognizer: Any, clip: Path, tmp_path: Path
) -> None:
    for name in ("ar", "en"):
        shutil.copy(clip, tmp_path / f"{name}.mp4")
    components = demo.build_app(recognizer, tmp_path).config["components"]
    dropdown = next(c["props"] for c in components if c["type"] == "dropdown")
    assert [value for _, value in dropdown["choices"]] == ["auto", "ar", "en"]
    examples = next(c["props"] for c in components if c["type"] == "dataset")
    assert examples["sample_labels"] == ["Arabic", "English", "talk"]


def test_the_licence_of_the_model_is_on_the_page(
    demo: ModuleType, recognizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("Licence: MIT\n")
    components = demo.build_app(recognizer, tmp_path, name=str(tmp_path)).config["components"]
    (licence,) = (c["props"] for c in components if c["props"].get("elem_id") == "licence")
    assert licence["visible"] is True
    assert "Licence: MIT" in licence["value"]


def test_a_port_that_is_taken_is_named(demo: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AvsrError, match=f"cannot listen on 127.0.0.1, port {port}"):
            demo.main(port=port)
