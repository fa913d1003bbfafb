"""The recipe that collects sentences reads templates and leaves out what nobody says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("wordfreq")
PATH = Path(__file__).parents[2] / "recipes/synthetic/sentences.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("sentences_recipe", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expand(recipe, sentences, **data):
    intents = {"Any": {"data": [{"sentences": sentences}]}}
    templates = recipe.Templates({"intents": intents, **data}, "en", np.random.default_rng(0))
    return {" ".join(templates.draw().split()) for _ in range(300)}


def test_templates_expand_to_all_that_they_admit(recipe):
    assert expand(recipe, ["turn [the] (light|fan) on"]) == {
        "turn light on",
        "turn the light on",
        "turn fan on",
        "turn the fan on",
    }
    assert expand(recipe, ["(now;please) stop"]) == {"now please stop", "please now stop"}
    assert expand(
        recipe,
        ["set <it> to {level:value}"],
        expansion_rules={"it": "volume[s]"},
        lists={"level": {"values": ["low", {"in": "(very|quite) high"}]}},
    ) == {
        f"set {it} to {level}"
        for it in ("volume", "volumes")
        for level in ("low", "very high", "quite high")
    }


def test_numbers_are_words_and_unknown_lists_give_nothing(recipe):
    lists = {"hours": {"range": {"from": 3, "to": 4}}}
    assert expand(recipe, ["wait {hours} hours"], lists=lists) == {
        "wait three hours",
        "wait four hours",
    }
    assert expand(recipe, ["play {song}"]) == {""}
    assert expand(recipe, ["buy {shopping_item}"]) >= {"buy bread", "buy milk"}


def test_only_what_can_be_said_is_selected(recipe):
    known = recipe.known_words("en")
    texts = [
        "The door is open. The window is not open!",
        "Set {name} to the value of it",  # a placeholder
        "You have 3 new messages here",  # digits
        "Open the USB port of the device",  # an abbreviation
        "See www.example.org for more of this",
        "Too short.",
        "The zxqv is not a word",
        "It's the user's own choice",
    ]
    assert set(recipe.select(texts, "en", known, frozenset())) == {
        "the door is open",
        "the window is not open",
        "it's the user's own choice",
    }
    assert recipe.select(texts[:1], "en", known, frozenset(["the door is open"])) == [
        "the window is not open"
    ]


def test_a_missing_package_is_named(recipe, tmp_path):
    with pytest.raises(recipe.AvsrError, match="no wheel of home-assistant-intents: pip download"):
        recipe.open_wheel(tmp_path, "home_assistant_intents")
