"""The web page: upload a video and read what is said, in which language, and from which mouth.

Start it with ``make demo``, ``avsr demo``, ``python demo/app.py`` or ``gradio demo/app.py``.

``layout.py`` has the components of the page, ``handlers.py`` what they do, ``player.py`` the result
as HTML, ``jobs.py`` the queue, ``noise_lab.py`` and ``noise_lab_view.py`` the noise laboratory.
``server.py``, ``guard.py``, ``bodies.py``, ``connections.py``, ``listeners.py``, ``store.py`` and
``validation.py`` are the server around the page.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: sys.path begins with demo/ itself instead of its parent
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import gradio as gr

from avsr import load_model
from avsr.model.quantization import Precision
from demo.handlers import Handlers
from demo.intake import ModelRegistry, Transcriber
from demo.jobs import JobQueue
from demo.layout import Layout
from demo.limits import Limits, read_limits
from demo.listeners import Page
from demo.noise_lab import ArrayRecognizer
from demo.noise_lab_view import add_noise_lab
from demo.server import MODEL, Server, bind, create_app, read_users
from demo.store import open_store

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE / "examples"
# System fonts: gradio's own themes load theirs from a font server.
PAGE_STYLE: dict[str, Any] = {
    "css": (HERE / "page.css").read_text("utf-8"),
    "head": f"<script>{(HERE / 'camera.js').read_text('utf-8')}</script>",
    "theme": gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(body_text_color_subdued="*neutral_500"),  # gradio's grey is too faint on white
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The button is at the end of the page, what to know about the result at its beginning.
SHOW_RESULT = "() => { document.querySelector('#result')?.scrollIntoView(); }"
DAY = 86_400  # s, after which gradio removes uploads and mouth videos


def build_app(
    model: Transcriber | None = None,
    examples: Path = EXAMPLES,
    limits: Limits | None = None,
    *,
    name: str | None = None,
) -> gr.Blocks:
    """Build the page.

    Args:
        model: The model that transcribes unless a visitor chooses another one. Default: the bundled
            model.
        examples: Folder of the example videos.
        limits: Limits of a visitor.
        name: The name that ``model`` was loaded by, as for ``avsr.load_model``.

    Returns:
        The page, to be served by ``create_app``.
    """
    limits = limits or Limits()
    transcriber: Transcriber = load_model() if model is None else model
    models = ModelRegistry(transcriber, name, limits.downloads)
    queue = JobQueue(limits.jobs, limits.waiting)
    with Page(title="avsr", analytics_enabled=False, delete_cache=(DAY, DAY)) as page:
        page.jobs = queue
        folder = Path(page.GRADIO_CACHE)
        layout = Layout(models, examples, limits)
        if isinstance(transcriber, ArrayRecognizer):
            with layout.experiments:
                settings = [layout.model, layout.language, layout.beam_size]
                add_noise_lab(models, queue, layout.view, settings, folder)
        handlers = Handlers(layout, models, queue, limits, folder)
        connect_events(page, layout, handlers)
        add_endpoint(layout, handlers)
    return page


def connect_events(page: gr.Blocks, layout: Layout, handlers: Handlers) -> None:
    """Connect the components of the page with their handlers."""
    quick: dict[str, Any] = {
        "concurrency_limit": None,  # JobQueue limits the work and shows the visitor's position
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    result = [layout.view, layout.player, *layout.downloads.values()]
    transcribe: dict[str, Any] = {
        "fn": handlers.transcribe_on_page,
        "inputs": [*layout.settings, layout.model],
        "outputs": [*layout.panels, layout.status, *result, layout.model, layout.details],
        **quick,
    }
    done = [layout.begin.click(**transcribe)]
    if layout.examples is not None:
        done.append(layout.examples.load_input_event.then(**transcribe))
    for event in done:
        event.then(fn=None, js=SHOW_RESULT, **quick)
    layout.player.edit(handlers.correct_word, [layout.view], result, **quick)
    layout.player.select(
        handlers.show_closeup,
        [layout.view],
        [layout.begin, layout.working, layout.status, layout.view, layout.player],
        **quick,
    )
    layout.cancel.click(handlers.stop, **quick)
    layout.video.change(handlers.describe_upload, layout.video, layout.facts, **quick)
    layout.model.change(
        handlers.choose_model,
        layout.model,
        [layout.details, layout.licence, layout.language, layout.introduction],
        **quick,
    )
    page.unload(handlers.stop)
    layout.another.click(handlers.start_over, outputs=[layout.video, *layout.panels], **quick)


def add_endpoint(layout: Layout, handlers: Handlers) -> None:
    """Add the endpoint ``transcribe`` for programs: the page's inputs, outputs of its own."""
    with gr.Column(visible=False):
        outputs = [
            gr.Label(label="Language"),
            gr.Textbox(label="Text"),
            gr.Video(label="The mouth that the model saw"),
            gr.Markdown(),
            gr.File(label="Subtitles and text"),
        ]
        gr.Button().click(
            handlers.transcribe_for_programs,
            layout.settings,
            outputs,
            api_name="transcribe",
            concurrency_limit=1,  # one model; further calls wait in gradio's queue
            concurrency_id=MODEL,
        )


def main(
    host: str = "127.0.0.1",
    port: int | None = None,
    model: str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    config: Path | None = None,
    auth: Path | None = None,
    root_path: str = "",
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        host: Address to listen on.
        port: Port to listen on; None: the first free one from 7860 on.
        model: Name of the model, as for ``avsr.load_model``.
        device: ``cpu``, ``cuda`` or ``auto``.
        precision: Number format for matrix products.
        config: YAML file of limits.
        auth: File with a line ``name:password`` for each user; None: no login is needed.
        root_path: Address or path at which a proxy shows the page.

    Raises:
        AvsrError: A file is wrong, or the model or the port is not available.
    """
    limits = read_limits(config)
    users = None if auth is None else read_users(auth)
    if limits.downloads is None:
        is_private = users is None and not root_path and host in LOOPBACK
        limits = dataclasses.replace(limits, downloads=is_private)
    listener = bind(host, port)
    with listener, open_store(limits) as store:
        page = build_app(load_model(model, device, precision), limits=limits, name=model)
        app = create_app(page, store, users=users, root_path=root_path, **PAGE_STYLE)
        server = Server(app, listener, limits)
        print(f"avsr is at {server.address} (Ctrl-C stops it)", flush=True)
        server.run()


if __name__ == "__main__":
    from avsr.cli.app import main as run_command

    sys.exit(run_command(["demo", *sys.argv[1:]]))
