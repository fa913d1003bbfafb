"""MkDocs hook: pages and files that lie outside docs/, and the tutorial made from its notebook.

Markdown in docs/ and in the repository links to files as a code host shows them
(``../recipes/README.md``). Here such links become links within the site: to a page where the site
has one, to the API reference for source files, else to a copy of the file. On pages of the API
reference, a package becomes a list of its modules.
"""

import json
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from notebook import to_markdown

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES = ["CHANGELOG.md", "CONTRIBUTING.md", "demo/README.md"]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s]+?)(#[^)\s]*)?(?=\))")
API = re.compile(r"^::: (avsr\.\w+)$(?!\n    options)", re.MULTILINE)
FENCE = re.compile(r"^( *)(```+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tutorial, the pages from outside docs/, and the files that pages link to."""
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text("utf-8"))
    tutorial, images = to_markdown(notebook)
    files.append(File.generated(config, "tutorial.md", content=tutorial))
    for name, image in images.items():
        files.append(File.generated(config, name, content=image))
    pages = PAGES + [path.relative_to(ROOT).as_posix() for path in ROOT.glob("recipes/**/*.md")]
    for uri in sorted(pages):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    for file in list(files.documentation_pages()):
        for target in _targets(file.content_string, _folder(file.src_uri)):
            uri = _site_uri(target)
            if uri and target.is_file() and uri not in files.src_uris:
                files.append(File.generated(config, uri, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links within the site."""
    uri = page.file.src_uri
    folder = _folder(uri)

    def rewrite(match: re.Match[str]) -> str:
        target = _site_uri((folder / match[1]).resolve())
        if target is None:
            return match[0]
        return posixpath.relpath(target, posixpath.dirname(uri) or ".") + (match[2] or "")

    markdown = API.sub(_list_modules, markdown)
    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(rewrite, markdown[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, LINK.sub(rewrite, markdown[last:])])


def _list_modules(match: re.Match[str]) -> str:
    """The docstring of a package, then each of its modules under a heading."""
    name = match[1]
    blocks = [f"::: {name}\n    options: {{ members: false }}"]
    for path in sorted((ROOT / name.replace(".", "/")).glob("*.py")):
        if path.name != "__init__.py":
            module = f"{name}.{path.stem}"
            blocks.append(f"## {module}\n\n::: {module}\n    options: {{ heading_level: 3 }}")
    return "\n\n".join(blocks)


def _folder(uri: str) -> Path:
    """The folder of a page's source."""
    path = DOCS / uri
    return path.parent if path.exists() or uri == "tutorial.md" else (ROOT / uri).parent


def _targets(markdown: str, folder: Path) -> list[Path]:
    return [(folder / match[1]).resolve() for match in LINK.finditer(FENCE.sub("", markdown))]


def _site_uri(target: Path) -> str | None:
    """Where the site has a file of the repository; None if it is not one of these."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    if not target.is_relative_to(ROOT) or not target.exists():
        return None
    uri = target.relative_to(ROOT)
    if uri.parts[0] == "avsr" and target.suffix in ("", ".py"):
        package = Path(uri.parts[1]).stem if len(uri.parts) > 1 else "index"
        page = DOCS / "api" / f"{package}.md"
        return page.relative_to(DOCS).as_posix() if page.exists() else None
    if target.is_dir():
        uri = uri / "README.md"
    return "index.md" if uri.as_posix() == "README.md" else uri.as_posix()
