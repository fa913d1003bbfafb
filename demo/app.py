"""The web page: a video in; language, words and the mouth that was read out.

Run it with `make demo` or `avsr demo`. It imports the package's public surface only. What is on it
is put together here; `player.py` shows a result, `jobs.py` lets visitors wait, watch and stop,
`laboratory.py` adds noise.
"""

import dataclasses
import html
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from avsr import AvsrError, Transcript, load_model
from avsr.languages import language_name
from avsr.model.quantization import Precision
from avsr.runtime.progress import Progress, listen_progress
from avsr.search.options import BEAM_SIZE
from avsr.transcript import FORMATS, reads_right_to_left
from demo.closeup import show_closely
from demo.intake import ModelRegistry, describe, examples_of, language_choices
from demo.jobs import JobQueue, StoppedError, render_position
from demo.laboratory import Reader, add_laboratory
from demo.limits import Limits, check_upload, plainly, read_limits
from demo.player import (
    SCRIPT,
    ResultView,
    edit_word,
    face_boxes,
    mouth_video,
    render_player,
    seen,
    text_files,
)
from demo.server import Server, bind, create_app, read_users
from demo.store import open_store

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
# System fonts: gradio's own themes would ask a font server for theirs.
LOOK: dict[str, Any] = {
    "css": (HERE / "page.css").read_text("utf-8"),
    "head": f"<script>{(HERE / 'camera.js').read_text('utf-8')}</script>",
    "theme": gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(body_text_color_subdued="*neutral_500"),  # its own grey is too faint to read on white
}
# A camera's largest picture is more than a slow computer can encode while it records.
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 30}}}
MODALITIES = [("Sound and lips", "av"), ("Sound only", "audio"), ("Lips only", "video")]
FACES = [
    ("Whoever speaks", "auto"),
    ("The largest face", "largest"),
    ("The face on the left", "left"),
    ("The face on the right", "right"),
    *((f"Face {number}", str(number)) for number in range(1, 5)),
]
OFFERED = [name for name in FORMATS if name != "tsv"]  # as buttons; the API has all
DAY = 86_400  # s, after which uploads and mouth videos are removed

INTRODUCTION = """# What is being said?
Give a video of a person talking. This page finds out which language it is and what is said: from
the sound, from the lips, or from both together."""


class Transcriber(Protocol):
    """What the page needs of a model."""

    def transcribe(
        self, path: str, *, progress: Progress | None = None, **options: Any
    ) -> Transcript: ...


def build_app(
    model: Transcriber | None = None,
    examples: Path = EXAMPLES,
    limits: Limits | None = None,
    *,
    name: str | None = None,
) -> gr.Blocks:
    """The page around ``model`` (by default the bundled one) with the videos of ``examples``.

    ``name`` is what ``model`` was loaded by.
    """
    allowed = limits or Limits()
    transcriber: Transcriber = load_model() if model is None else model
    folder = Path(tempfile.gettempdir())
    desk = JobQueue(allowed.jobs, allowed.waiting)
    shelf = ModelRegistry(transcriber, name)

    def transcribe(
        video: str, progress: Progress, chosen: str | None = None, **options: Any
    ) -> Transcript:
        """The model's transcript; a message for the visitor where there can be none."""
        try:
            check_upload(video, allowed)
            own: Transcriber = shelf.get(chosen)
            return own.transcribe(video, progress=progress, **options)
        except AvsrError as error:
            message = html.escape(plainly(error, video))
            raise gr.Error(message, print_exception=False) from error

    def answer(
        video: str | None, modality: str, language: str, beam_size: float, face: str
    ) -> tuple[Any, ...]:
        """For programs: language, text, mouth video, notes, files."""
        chosen = _required(video)
        options = _options(modality, language, beam_size, face)
        job = desk.take(lambda progress: transcribe(chosen, progress, **options))
        try:
            result = job.result()
        except AvsrError as error:
            raise gr.Error(str(error), print_exception=False) from error
        names = {language_name(code): share for code, share in result.language_probs.items()}
        text = gr.Textbox(
            value=result.text,
            rtl=reads_right_to_left(result.text, result.language),
            label=f"Text ({language_name(result.language)})",
        )
        files = [str(path) for path in text_files(result, chosen, folder).values()]
        return names, text, mouth_video(seen(result), folder), _notes(result), files

    def recognize(
        video: str | None,
        modality: str,
        language: str,
        beam_size: float,
        face: str,
        model_name: str,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """For the page: how far it is, then the result."""
        chosen = _required(video)
        options = _options(modality, language, beam_size, face)
        result = yield from follow(
            lambda progress: transcribe(chosen, progress, model_name, **options),
            request.session_hash,
        )
        if result is None:
            return
        info = check_upload(chosen, allowed)
        now = ResultView(
            transcript=dataclasses.replace(result, mouth=None),
            video=chosen,
            mouth=mouth_video(seen(result), folder),
            boxes=face_boxes(seen(result), info),
            face=face,
            closer=bool(result.segments)
            and result.mouth is None
            and info.has_video
            and modality != "audio",
        )
        yield {
            **idle(),
            chooser: gr.Column(visible=False),
            found: gr.Column(visible=True),
            experiments: gr.Column(visible=True),
            begin: gr.Button("Transcribe again", visible=True),
            **show(now),
        }

    def idle() -> dict[Any, Any]:
        return {begin: gr.Button(visible=True), working: gr.Column(visible=False)}

    def follow(
        work: Callable[[Progress], Any], owner: object
    ) -> Generator[dict[Any, Any], None, Any]:
        """How far the work of a visitor is; returns what came out, None where nothing did."""
        yield {begin: gr.Button(visible=False), working: gr.Column(visible=True), status: ""}
        job = desk.take(work, owner)
        for position in job.positions():
            yield {status: render_position(position)}
        try:
            return job.result()
        except StoppedError:
            yield idle()
        except (AvsrError, gr.Error) as error:
            message = getattr(error, "message", str(error))
            gr.Warning(message, duration=None, title="This did not work")
            yield idle()
        except Exception:  # a bug: gradio says that there was one, and the page can go on
            yield idle()
            raise
        return None

    def look_closer(
        now: ResultView, event: gr.EventData, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        """Face and mouth of the part of a long recording that is playing."""

        def work(progress: Progress) -> ResultView:
            with listen_progress(progress):
                return show_closely(now, float(event.time), folder)

        closer = yield from follow(work, request.session_hash)
        if closer is not None:
            player.temp_files.add(closer.mouth)
            yield {**idle(), shown: closer, player: render_player(closer)}

    def show(now: ResultView) -> dict[Any, Any]:
        player.temp_files.update(path for path in (now.mouth,) if path)  # for gradio to remove
        files = text_files(now.transcript, now.video, folder)
        return {
            shown: now,
            player: render_player(now),
            **{downloads[name]: str(files[name]) for name in OFFERED},
        }

    def correct(now: ResultView, event: gr.EventData) -> dict[Any, Any]:
        """A word was edited."""
        try:
            transcript = edit_word(now.transcript, int(event.index), str(event.text))
        except IndexError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return show(dataclasses.replace(now, transcript=transcript))

    def stop(request: gr.Request) -> None:
        desk.stop(request.session_hash)

    def look(video: str | None) -> Iterator[str]:
        """What the file is, as soon as it is here."""
        if video is None:
            yield ""
            return
        try:
            yield from describe(check_upload(video, allowed))
        except AvsrError as error:
            yield f'<p class="trouble">{html.escape(str(error))}</p>'

    def restart() -> dict[Any, Any]:
        return {
            video: None,
            chooser: gr.Column(visible=True),
            found: gr.Column(visible=False),
            experiments: gr.Column(visible=False),
            begin: gr.Button("Transcribe", visible=True),
        }

    with gr.Blocks(title="avsr", analytics_enabled=False, delete_cache=(DAY, DAY)) as page:
        folder = Path(page.GRADIO_CACHE)
        shown = gr.State(None)
        gr.Markdown(f"{INTRODUCTION}\n\n{allowed.sentence}", elem_id="introduction")
        with gr.Column(elem_id="chooser") as chooser:
            video = gr.Video(
                show_label=False,
                sources=["upload", "webcam"],
                include_audio=True,
                webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
                elem_id="video",
            )
            facts = gr.HTML(apply_default_css=False, elem_id="facts")
            clicked = examples_of(sorted(examples.glob("*.mp4")), video)
        with gr.Column(visible=False, elem_id="found") as found:
            player = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="player")
            with gr.Row(elem_id="downloads"):
                gr.HTML("<span>Download</span>", min_width=0)
                downloads = {
                    name: gr.DownloadButton(name.upper(), size="sm", min_width=0)
                    for name in OFFERED
                }
                another = gr.Button("Another video", size="sm", min_width=0, elem_id="another")
        with gr.Row(elem_id="choices"):
            modality = gr.Radio(
                MODALITIES, value="av", label="Read from", scale=3, elem_id="modality"
            )
            language = gr.Dropdown(
                language_choices(shelf, shelf.served_name),
                value="auto",
                label="Spoken language",
                scale=2,
                elem_id="language",
            )
        with gr.Accordion("More choices", open=False, elem_id="more"):
            beam_size = gr.Slider(
                1, 20, value=BEAM_SIZE, step=1, label="Care: more tries take longer", elem_id="beam"
            )
            face = gr.Dropdown(FACES, value="auto", label="Whose lips", elem_id="face")
            models = gr.Dropdown(
                shelf.names, value=shelf.served_name, label="Model", elem_id="model"
            )
            about = gr.HTML(shelf.about(shelf.served_name), elem_id="about")
        begin = gr.Button("Transcribe", variant="primary", elem_id="begin")
        with gr.Column(visible=False, elem_id="working") as working:
            status = gr.HTML(elem_id="status")
            cancel = gr.Button("Stop", elem_id="cancel")
        with gr.Column(visible=False) as experiments:
            if isinstance(transcriber, Reader):
                add_laboratory(shelf, desk, shown, [models, language, beam_size], folder)

        settings = [video, modality, language, beam_size, face]
        parts = [begin, working, chooser, found, experiments]
        page_event: dict[str, Any] = {
            "inputs": [*settings, models],
            "outputs": [*parts, shown, status, player, *downloads.values()],
            "concurrency_limit": None,  # the desk keeps the line, and tells one's place in it
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        begin.click(recognize, **page_event)
        if clicked is not None:
            clicked.load_input_event.then(recognize, **page_event)
        quick: dict[str, Any] = {
            "concurrency_limit": None,
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        player.edit(correct, [shown], [shown, player, *downloads.values()], **quick)
        player.select(look_closer, [shown], [begin, working, status, shown, player], **quick)
        cancel.click(stop, **quick)
        video.change(look, video, facts, **quick)
        models.change(
            lambda name: (
                shelf.about(name),
                gr.Dropdown(language_choices(shelf, name), value="auto"),
            ),
            models,
            [about, language],
            **quick,
        )
        page.unload(stop)
        another.click(restart, outputs=[video, *parts], **quick)
        _offer_to_programs(answer, settings)
    return page


def _offer_to_programs(answer: Any, settings: list[Any]) -> None:
    """The endpoint ``transcribe``: its inputs are the page's, its outputs are made for programs."""
    with gr.Column(visible=False):
        outputs = [
            gr.Label(label="Language"),
            gr.Textbox(label="Text"),
            gr.Video(label="The mouth that the model saw"),
            gr.Markdown(),
            gr.File(label="Subtitles and text"),
        ]
        gr.Button().click(
            answer,
            settings,
            outputs,
            api_name="transcribe",
            concurrency_limit=1,  # one model; others wait in the queue
            concurrency_id="model",
        )


def _options(modality: str, language: str, beam_size: float, face: str) -> dict[str, Any]:
    """What a model is told."""
    return {"modality": modality, "language": language, "beam_size": int(beam_size), "face": face}


def _required(video: str | None) -> str:
    if video is None:
        raise gr.Error("Choose, upload or record a video first.", print_exception=False)
    return video


def _notes(result: Transcript) -> str:
    """The warnings as a list; what they say is shown as it stands, not as markup."""
    return "\n".join(f"- ⚠️ {html.escape(warning)}" for warning in result.warnings)


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
    """Serve the page until Ctrl-C, within the limits of the file ``config``.

    ``auth`` is a file of users, ``root_path`` where a proxy shows the page. Raises AvsrError if a
    file is wrong, or the model or the port cannot be had.
    """
    limits = read_limits(config)
    users = None if auth is None else read_users(auth)
    listener = bind(host, port)
    with listener, open_store(limits) as store:
        page = build_app(load_model(model, device, precision), limits=limits, name=model)
        app = create_app(page, store, users=users, root_path=root_path, **LOOK)
        server = Server(app, listener, limits)
        print(f"avsr is at {server.address} (Ctrl-C stops it)", flush=True)
        server.run()


if __name__ == "__main__":
    try:
        main()
    except AvsrError as error:
        sys.exit(f"avsr: {error}")
