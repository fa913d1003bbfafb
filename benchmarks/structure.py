"""Figures of the code's structure: ``python -m benchmarks.structure [CHECKOUT]``.

Modules directly in ``avsr/``, import circles, imports inside functions, places of defaults, lines
of the README, and names of locals that hide what the value is. ``tests/test_layout.py`` uses the
same readings.
"""

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VAGUE = frozenset(
    {"found", "told", "made", "given", "kept", "there", "own", "shown", "seen", "heard"}
    | {"places", "chosen", "rest"}
)
"""Names that say how a value came about, not what it is."""

DEFAULTS = {
    "search CTC weight": r"ctc_weight: (?:float|CtcOption|Annotated\[.*\]) = 0?\.\d+",
    "beam size": r"beam_size: (?:int|BeamOption|Annotated\[.*\]) = \d+",
    "language model weight": r"lm_weight: (?:float|LmOption|Annotated\[.*\]) = 0?\.\d+",
    "longest segment": r"(?:SECONDS|seconds: float|SEGMENT\w*) = 20\.0",
    "Modality": r"Modality = Literal",
    "progress callback": r"Progress = Callable",
}
"""Default -> pattern of a line that states it anew."""


@dataclass(frozen=True)
class Import:
    """An import of one module by another."""

    importer: str
    imported: str
    """Dotted name of a module."""
    line: int
    function: str | None
    """The function it stands in; None at the top of the module."""
    typing_only: bool


def module_name(path: Path, root: Path) -> str:
    """``avsr/media/video.py`` -> ``avsr.media.video``."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_modules(root: Path, package: str = "avsr") -> dict[str, Path]:
    """Name -> file of every module of a package."""
    return {module_name(path, root): path for path in sorted((root / package).rglob("*.py"))}


def read_imports(modules: dict[str, Path]) -> list[Import]:
    """Every import of every module; names imported from a package count as its submodules."""
    imports: list[Import] = []
    for name, path in modules.items():
        for node, function, typing_only in _walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                targets = []
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    targets.append(full if full in modules else str(node.module))
            imports += [
                Import(name, target, node.lineno, function, typing_only)
                for target in dict.fromkeys(targets)
            ]
    return imports


def _walk(
    node: ast.AST, function: str | None = None, typing_only: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, str | None, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, function, typing_only
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, child.name, typing_only)
        else:
            guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _walk(child, function, typing_only or guarded)


def find_circles(imports: list[Import], modules: dict[str, Path]) -> list[list[str]]:
    """Groups of modules that import each other, imports inside functions included.

    Strongly connected components (Tarjan 1972) of more than one module. A package is its
    ``__init__``; that a submodule runs it first is no circle.
    """
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for one in imports:
        if one.imported in modules and not one.typing_only and one.imported != one.importer:
            graph[one.importer].add(one.imported)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                circles.append(sorted(stack[at:]))
            del stack[at:]

    sys.setrecursionlimit(10_000)
    for name in graph:
        if name not in index:
            visit(name)
    return circles


def count_vague_names(modules: dict[str, Path]) -> Counter[str]:
    """How often a function binds one of VAGUE: as an argument, by assignment, or in a loop."""
    counts: Counter[str] = Counter()
    for path in modules.values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            names = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
            names |= {
                name.id
                for name in ast.walk(node)
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
            counts.update(names & VAGUE)
    return counts


def count_defaults(modules: dict[str, Path]) -> dict[str, int]:
    """In how many places each of DEFAULTS is written down."""
    texts = [path.read_text("utf-8") for path in modules.values()]
    return {
        name: sum(len(re.findall(pattern, text)) for text in texts)
        for name, pattern in DEFAULTS.items()
    }


def measure(root: Path) -> dict[str, object]:
    """All figures of a checkout."""
    modules = read_modules(root)
    imports = read_imports(modules)
    inside = [one for one in imports if one.function is not None]
    vague = count_vague_names(modules)
    return {
        "modules directly in avsr": len(list((root / "avsr").glob("*.py"))),
        "import circles": len(find_circles(imports, modules)),
        "modules in circles": sum(map(len, find_circles(imports, modules))),
        "imports in functions": len(inside),
        "of them of avsr": sum(one.imported.startswith("avsr") for one in inside),
        "places of defaults": count_defaults(modules),
        "lines of README": len((root / "README.md").read_text("utf-8").splitlines()),
        "vague locals": sum(vague.values()),
        "vague locals by name": dict(vague.most_common()),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1] if len(sys.argv) > 1 else ".")), indent=2))
