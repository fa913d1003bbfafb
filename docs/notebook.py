"""Run the tutorial notebook in plain Python, and turn it into Markdown.

``python docs/notebook.py`` runs docs/tutorial.ipynb and stores the outputs in it; the tests run it
as well and compare. Jupyter opens the same file, but is not needed.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

TUTORIAL = Path(__file__).parent / "tutorial.ipynb"


def run(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Run all code cells in one namespace.

    Args:
        notebook: Content of an ``.ipynb`` file.

    Returns:
        Outputs of each code cell: what it printed, the value of its last expression, its figures.

    Raises:
        Exception: Whatever a cell raises.
    """
    import matplotlib

    matplotlib.use("agg")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [_run_cell("".join(cell["source"]), namespace, i) for i, cell in enumerate(cells)]


def _run_cell(source: str, namespace: dict[str, Any], index: int) -> list[dict[str, Any]]:
    import matplotlib.pyplot as plt

    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {index}>", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {index}>", "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"output_type": "execute_result", "data": data})
    for number in plt.get_fignums():
        image = io.BytesIO()
        plt.figure(number).savefig(image, format="png", dpi=80, bbox_inches="tight")
        data = {"image/png": base64.b64encode(image.getvalue()).decode(), "text/plain": ["figure"]}
        outputs.append({"output_type": "display_data", "data": data})
    plt.close("all")
    return outputs


def read_text(outputs: list[dict[str, Any]]) -> str:
    """All that the outputs of a cell say, without pictures."""
    return "".join("".join(o.get("text") or o["data"]["text/plain"]) for o in outputs)


def to_markdown(notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """Turn a notebook with stored outputs into a page.

    Args:
        notebook: Content of an ``.ipynb`` file.

    Returns:
        Markdown, and the pictures it shows: file name -> PNG.
    """
    parts: list[str] = []
    images: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                name = f"tutorial-{len(images) + 1}.png"
                images[name] = base64.b64decode("".join(output["data"]["image/png"]))
                parts.append(f"![figure]({name})")
            else:
                parts.append(f'```text title="Output"\n{read_text([output]).rstrip()}\n```')
    return "\n\n".join(parts) + "\n", images


def main() -> int:
    """Run the tutorial and store its outputs."""
    notebook = json.loads(TUTORIAL.read_text("utf-8"))
    results = iter(run(notebook))
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["outputs"] = next(results)
            cell["execution_count"] = count
            for output in cell["outputs"]:
                if output["output_type"] != "stream":
                    output["metadata"] = {}
                if output["output_type"] == "execute_result":
                    output["execution_count"] = count
    TUTORIAL.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
