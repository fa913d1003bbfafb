"""The layout keeps its promises: stages in order, shallow folders, short files, one lock file."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "avsr"
NUMBERS = {
    stage: number
    for number, stage in enumerate(
        ("media", "face", "audio", "encoder", "language", "decoder", "search", "transcript"), 1
    )
}
LEAVES = {
    "ahead",
    "attention",
    "cores",
    "dropout",
    "errors",
    "files",
    "languages",
    "packing",
    "postponed",
    "progress",
    "rates",
    "settings",
}
WORKSHOP = {"corpus", "training", "evaluation", "interop", "synthetic"}
MAX_LINES = 400
BAD_NAMES = {"utils", "common", "helpers", "base", "core"}
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "demo").rglob("*.py")])


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def imported_parts(path: Path) -> set[str]:
    """First names below ``avsr`` that a file imports anywhere: "media" for avsr.media.video."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            assert not name.startswith("."), f"{path} imports relatively: {name}"
            if name.startswith("avsr."):
                parts.add(name.split(".")[1])
    return parts


@pytest.mark.parametrize("stage", NUMBERS)
def test_a_stage_opens_with_its_number_and_flow(stage: str) -> None:
    first = docstring(PACKAGE / stage / "__init__.py").splitlines()[0]
    assert re.fullmatch(rf"Stage {NUMBERS[stage]} of 8: .+ -> .+\.", first), first


@pytest.mark.parametrize("stage", NUMBERS)
def test_a_stage_imports_lower_stages_and_leaves_only(stage: str) -> None:
    lower = {name for name, number in NUMBERS.items() if number <= NUMBERS[stage]}
    for path in (PACKAGE / stage).rglob("*.py"):
        assert imported_parts(path) <= lower | LEAVES, path


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_a_leaf_imports_leaves_only(leaf: str) -> None:
    assert imported_parts(PACKAGE / f"{leaf}.py") <= LEAVES


def test_every_folder_has_its_place() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(NUMBERS) | WORKSHOP


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_shallow_short_and_well_named(path: Path) -> None:
    assert len(path.relative_to(ROOT).parts) <= 3
    assert path.stem not in BAD_NAMES
    assert docstring(path), "no docstring"
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MAX_LINES or "lines" in docstring(path), f"{lines} lines, no reason given"


def test_the_lock_has_every_dependency() -> None:
    pinned = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pinned[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{text} against {version}"
