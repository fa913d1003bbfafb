"""The command ``demo``: serve the web page."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.options import DeviceOption, ModelOption, PrecisionOption
from avsr.errors import AvsrError

DEMO = Path(__file__).resolve().parents[2] / "demo" / "app.py"


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port; by default the first free one from 7860 on."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    config: Annotated[
        Path | None, typer.Option(help="YAML file of limits; demo/README.md lists them.")
    ] = None,
    auth: Annotated[
        Path | None, typer.Option(help="File with a line name:password for each user.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path or address at which a proxy shows the page, such as /avsr.")
    ] = "",
) -> None:
    """Serve the web page, by default at http://127.0.0.1:7860.

    Example: avsr demo --port 8000
    """
    if not DEMO.is_file():
        raise AvsrError(
            "the demo is not in the installed package: clone the repository and run 'make demo'"
        )
    sys.path.insert(0, str(DEMO.parents[1]))
    page = importlib.import_module("demo.app")
    page.main(
        host=host,
        port=port,
        model=model,
        device=device,
        precision=precision,
        config=config,
        auth=auth,
        root_path=root_path,
    )
