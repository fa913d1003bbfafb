"""The tutorial runs, and prints what it shows."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_notebook", DOCS / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook_of(*sources: str) -> dict:
    cells = [{"cell_type": "code", "source": [source], "outputs": []} for source in sources]
    return {"cells": cells}


def test_a_cell_gives_what_it_prints_its_last_value_and_its_figures(runner: ModuleType) -> None:
    figure = "import matplotlib.pyplot as plt\nplt.figure()\nNone"
    printed, value, drawn = runner.run(notebook_of("x = 2\nprint(x)", "x + 1", figure))
    assert [runner.read_text(outputs) for outputs in (printed, value)] == ["2\n", "3"]
    assert [list(output["data"]) for output in drawn] == [["image/png", "text/plain"]]


def test_an_error_in_a_cell_is_an_error(runner: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError):
        runner.run(notebook_of("1 / 0"))


def test_pictures_and_outputs_come_into_the_page(runner: ModuleType) -> None:
    notebook = notebook_of("print(1)", "import matplotlib.pyplot as plt\nplt.figure()\nNone")
    for cell, outputs in zip(notebook["cells"], runner.run(notebook), strict=True):
        cell["outputs"] = outputs
    page, images = runner.to_markdown(notebook)
    assert page.startswith('```python\nprint(1)\n```\n\n```text title="Output"\n1\n```')
    assert "![figure](tutorial-1.png)" in page
    assert images["tutorial-1.png"].startswith(b"\x89PNG")


def test_the_tutorial_prints_what_it_shows(runner: ModuleType) -> None:
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text("utf-8"))
    shown = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for outputs, stored in zip(runner.run(notebook), shown, strict=True):
        assert runner.read_text(outputs) == runner.read_text(stored)
