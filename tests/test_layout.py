"""The layout keeps its promises: stages in order, shallow folders, short files, one lock file."""

import ast
import importlib.metadata
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


def read_lock() -> dict[str, str]:
    """Version of every package in the lock file."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def read_requirements() -> list[Requirement]:
    """Dependencies of the project and of all its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    requirements = [Requirement(text) for text in texts]
    return [one for one in requirements if one.name != project["name"]]


def test_the_lock_has_every_dependency() -> None:
    pinned = read_lock()
    for requirement in read_requirements():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_the_lock_has_no_package_that_nothing_needs() -> None:
    needed: set[tuple[str, str]] = set()  # package, its extra or ""
    queue = read_requirements()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in needed:
                continue
            needed.add((name, extra))
            try:
                texts = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                pytest.skip(f"{name} is not installed, so what it needs is not known")
            for one in map(Requirement, texts):
                if one.marker is None or one.marker.evaluate({"extra": extra}):
                    queue.append(one)
    assert set(read_lock()) <= {name for name, _ in needed}
