"""The examples in docstrings print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import avsr

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "avsr",
    "avsr.errors",
    "avsr.languages",
    "avsr.recognition.recognizer",
    "avsr.transcript.result",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted
    assert results.failed == 0


@pytest.mark.parametrize("name", sorted(set(avsr.__all__) - {"__version__"}))
def test_what_avsr_exports_has_an_example(name: str) -> None:
    assert ">>> import avsr" in (getattr(avsr, name).__doc__ or "")
