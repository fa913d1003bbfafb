"""README and docs name what there is: commands, options, keys of recipes, files and headings."""

import dataclasses
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

from avsr.cli.app import app
from avsr.evaluation.config import EvaluationConfig
from avsr.training.config import StageConfig, TrainConfig

ROOT = Path(__file__).parents[2]
GUIDE = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md")])
PAGES = sorted(
    [*GUIDE, ROOT / "CHANGELOG.md", ROOT / "demo/README.md", *ROOT.glob("recipes/**/*.md")]
)
WITH_COMMANDS = [page for page in PAGES if page.name != "CHANGELOG.md"]  # it names old options
FOREIGN = {"--index-url", "--rm", "--read-only", "--tmpfs", "--build-arg", "--threads"}
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
CALL = re.compile(r"(?:^|\s|\$ )(?:\S*/)?avsr (?=[a-z])")
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)")


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def options() -> dict[str, set[str]]:
    """Names of the options of each command."""
    group = typer.main.get_command(app)
    return {
        name: {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
        for name, command in group.commands.items()
    }


def find_calls(markdown: str) -> list[list[str]]:
    """Words of every call of ``avsr`` in code, from the name of the command on."""
    lines = [code.replace("\n", " ") for code in CODE.findall(FENCE.sub("", markdown))]
    for kind, body in FENCE.findall(markdown):
        block = body.replace("\\\n", " ").splitlines()
        if kind == "console":  # the other lines are output
            block = [line for line in block if line.startswith("$ ")]
        lines += block if kind != "text" else []
    calls = []
    for line in lines:
        for call in CALL.split(line.split("  #")[0])[1:]:
            try:
                calls.append(shlex.split(call.split(" | ")[0].split(" && ")[0]))
            except ValueError:
                calls.append(call.split())
    return calls


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts and MkDocs make it."""
    plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain))


def test_calls_are_found_in_blocks_and_in_lines() -> None:
    text = (
        "`avsr crop x -o y`\n```sh\n.venv/bin/avsr train r.yaml \\\n  --dry-run  # avsr no\n```\n"
    )
    assert find_calls(text) == [["crop", "x", "-o", "y"], ["train", "r.yaml", "--dry-run"]]


def test_output_in_a_console_is_no_call() -> None:
    assert find_calls("```console\n$ avsr models\navsr is here\n```\n") == [["models"]]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_page)
def test_every_command_and_option_exists(page: Path) -> None:
    markdown = page.read_text("utf-8")
    for command, *words in find_calls(markdown):
        assert command in options(), f"avsr {command}"
        named = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert named <= options()[command], f"avsr {command} {' '.join(words)}"
    if page not in GUIDE:
        return
    everything = set().union(*options().values()) | FOREIGN | {"--version"}
    for code in CODE.findall(FENCE.sub("", markdown)):
        if not re.match(r"(?:pip|make|docker|python|mkdocs)\b", code):
            assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", code)) <= everything, code


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        path = page if not target else page.parent / target
        assert path.exists(), target
        if anchor and path.suffix == ".md" and path.parent.name != "api":
            headings = re.findall(
                r"^#+ (.*)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE
            )
            assert anchor in map(slug, headings), f"{target}#{anchor}"


def test_every_key_of_a_recipe_exists() -> None:
    markdown = (ROOT / "docs/training.md").read_text("utf-8")
    tables = re.findall(r"^\| key of a (\w+) \|.*\n((?:\|.*\n)+)", markdown, re.MULTILINE)
    kinds = {"run": TrainConfig, "stage": StageConfig}
    assert [kind for kind, _ in tables] == list(kinds)
    for kind, table in tables:
        keys = re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()))
        assert set(keys) <= field_names(kinds[kind]), kind


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_recipe_in_a_page_has_known_keys(page: Path) -> None:
    for kind, body in FENCE.findall(page.read_text("utf-8")):
        recipe = yaml.safe_load(body) if kind == "yaml" else None
        if isinstance(recipe, dict) and "stages" in recipe:
            assert set(recipe) <= field_names(TrainConfig)
            for stage in recipe["stages"]:
                assert set(stage) <= field_names(StageConfig)


def test_renamed_keys_in_the_changelog_exist() -> None:
    kinds = {"run": TrainConfig, "stage": StageConfig, "evaluate": EvaluationConfig}
    rows = re.findall(
        r"^\| `(\w+)\.yaml`(?:, (\w+))? \| `(\w+)` \| `(\w+)` \|$",
        (ROOT / "CHANGELOG.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert len(rows) == 9
    for name, part, old, new in rows:
        assert new in field_names(kinds[part or name])
        assert old not in field_names(kinds[part or name])


def test_renamed_options_in_the_changelog_exist() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(--[\w-]+)` \| `(--[\w-]+)` \|$",
        (ROOT / "CHANGELOG.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert len(rows) == 5
    for command, old, new in rows:
        assert new in options()[command]
        assert old not in options()[command]


def field_names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}
