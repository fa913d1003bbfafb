"""The page in a real browser: open it, click an example, read the text."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from avsr.hub import ASSETS, BUNDLED, DEFAULT_MODEL

WAIT = 60  # s, for the page and for a transcript


def click_example_and_read(browser: Any, page: Any, label: str) -> tuple[str, str, float]:
    """Text, language and width (px) of the mouth video after a click on the example ``label``."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    try:
        wait = WebDriverWait(browser, WAIT, ignored_exceptions=[Exception])
        browser.get(address)
        button = f"//*[@id='examples']//button[normalize-space()='{label}']"
        wait.until(lambda b: b.find_element(By.XPATH, button)).click()
        text = wait.until(
            lambda b: b.find_element(By.CSS_SELECTOR, "#text textarea").get_property("value")
        )
        language = browser.find_element(By.CSS_SELECTOR, "#language").text
        width = wait.until(
            lambda b: b.execute_script(
                "return document.querySelector('#mouth video')?.videoWidth ?? 0"
            )
        )
    finally:
        page.close()
    return text, language, width


def test_an_example_is_clicked_and_its_text_seen(
    demo: ModuleType,
    transcriber: Any,
    browser: Any,
    make_clip: Callable[..., Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(make_clip("clip.mp4"), tmp_path / "examples" / "en.mp4")
    page = demo.build_app(transcriber, tmp_path / "examples")
    text, language, width = click_example_and_read(browser, page, "English")
    assert text == "place blue at f two now"
    assert "English" in language
    assert "88%" in language
    assert width == 288
    assert transcriber.asked == [{"modality": "av", "language": "auto"}]


def test_the_bundled_model_reads_the_bundled_example(demo: ModuleType, browser: Any) -> None:
    if not (ASSETS / BUNDLED[DEFAULT_MODEL]).is_dir():
        pytest.skip("no bundled model in avsr/assets")
    if not (demo.EXAMPLES / "en.mp4").is_file():
        pytest.skip("no example clips in demo/examples")
    text, language, width = click_example_and_read(browser, demo.build_app(), "English")
    assert text.split()
    assert "English" in language
    assert width == 288
