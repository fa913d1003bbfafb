"""The web page: a video in; language, words and the mouth that was read out.

Run it with `make demo` or `avsr demo`. It imports the package's public surface only.
"""

import dataclasses
import html
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
import numpy as np

from avsr import AvsrError, Transcript, load_model
from avsr.languages import LANGUAGES, RIGHT_TO_LEFT, language_name
from avsr.media import write_video
from avsr.transcript import FORMATS, write_transcript
from demo.limits import Limits, check_upload, read_limits
from demo.server import Server, bind, create_app, read_users
from demo.store import open_store

EXAMPLES = Path(__file__).parent / "examples"
MODALITIES = [("Sound and lips", "av"), ("Sound only", "audio"), ("Lips only", "video")]
ENLARGED = 3  # times; the crop of 96 px is too small to look at
DAY = 86_400  # s, after which uploads and mouth videos are removed

# An upright video would hide the button; gradio's own styles, loaded late, blank the chosen option.
CSS = """
#video video { max-height: 30rem; }
#modality input:checked { background-color: var(--checkbox-background-color-selected) !important; }
"""

INTRODUCTION = """# avsr
Upload or record a video of a person talking. The page tells which language it is and what is said,
from the sound, from the lips, or from both together."""


class Transcriber(Protocol):
    """What the page needs of a model."""

    def transcribe(self, path: str, **options: Any) -> Transcript: ...


def build_app(
    model: Transcriber | None = None, examples: Path = EXAMPLES, limits: Limits | None = None
) -> gr.Blocks:
    """The page around ``model`` (by default the bundled one) with the videos of ``examples``."""
    allowed = limits or Limits()
    transcriber: Transcriber = load_model() if model is None else model
    config = getattr(transcriber, "config", None)
    languages = getattr(config, "languages", LANGUAGES)
    mouths = Path(tempfile.gettempdir())

    def recognize(video: str | None, modality: str, language: str) -> tuple[Any, ...]:
        """Values of the outputs: language, text, mouth video, notes, files."""
        if video is None:
            raise gr.Error("Choose, upload or record a video first.", print_exception=False)
        try:
            check_upload(video, allowed)
            result = transcriber.transcribe(video, modality=modality, language=language)
        except AvsrError as error:
            message = str(error).replace(video, Path(video).name)
            raise gr.Error(html.escape(message), print_exception=False) from error
        names = {language_name(code): share for code, share in result.language_probs.items()}
        text = gr.Textbox(
            value=result.text,
            rtl=result.language in RIGHT_TO_LEFT,
            label=f"Text ({language_name(result.language)})",
        )
        files = _subtitle_files(result, Path(video).name, mouths)
        return names, text, _mouth_video(result, mouths), _notes(result), files

    with gr.Blocks(title="avsr", analytics_enabled=False, delete_cache=(DAY, DAY)) as page:
        mouths = Path(page.GRADIO_CACHE)
        gr.Markdown(f"{INTRODUCTION}\n\n{allowed.sentence}")
        with gr.Row():
            with gr.Column():
                video = gr.Video(
                    label="Video",
                    sources=["upload", "webcam"],
                    include_audio=True,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    elem_id="video",
                )
                modality = gr.Radio(MODALITIES, value="av", label="Read from", elem_id="modality")
                language = gr.Dropdown(
                    [("Detect", "auto"), *((language_name(code), code) for code in languages)],
                    value="auto",
                    label="Spoken language",
                )
                button = gr.Button("Transcribe", variant="primary")
                shown = _examples(sorted(examples.glob("*.mp4")), video)
            with gr.Column():
                text = gr.Textbox(label="Text", lines=3, buttons=["copy"], elem_id="text")
                probabilities = gr.Label(label="Language", num_top_classes=3, elem_id="language")
                notes = gr.Markdown(elem_id="notes")
                mouth = gr.Video(
                    label="The mouth that the model saw",
                    height=320,
                    interactive=False,
                    elem_id="mouth",
                )
                files = gr.Files(label="Subtitles and text", interactive=False, elem_id="files")
        settings = [video, modality, language]
        outputs = [probabilities, text, mouth, notes, files]
        event: dict[str, Any] = {
            "inputs": settings,
            "outputs": outputs,
            "concurrency_limit": 1,  # one model, one recording at a time; others wait in the queue
            "concurrency_id": "model",
        }
        button.click(recognize, api_name="transcribe", **event)
        if shown is not None:
            shown.load_input_event.then(recognize, api_visibility="private", **event)
    return page


def _examples(clips: list[Path], video: gr.Video) -> Any:
    """Buttons that put a clip into ``video``; None where there are no clips."""
    if not clips:
        return None
    return gr.Examples(
        [[str(clip)] for clip in clips],
        [video],
        label="Examples (a click transcribes)",
        example_labels=[example_label(clip) for clip in clips],
        examples_per_page=len(clips),
        elem_id="examples",
    )


def example_label(clip: Path) -> str:
    """``de.mp4`` -> German, ``en-office.mp4`` -> English (office), ``talk.mp4`` -> talk."""
    code, _, rest = clip.stem.partition("-")
    if language_name(code) == code:
        return clip.stem
    return f"{language_name(code)} ({rest})" if rest else language_name(code)


def _mouth_video(result: Transcript, folder: Path) -> str | None:
    """Path of the mouth crops as an enlarged video; None where the model saw none."""
    if result.mouth is None or result.modality == "audio" or not result.mouth.found.any():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mouth-{uuid.uuid4().hex}.mp4"
    write_video(path, _enlarge(result.mouth.mouth))
    return str(path)


def _subtitle_files(result: Transcript, name: str, folder: Path) -> list[str]:
    """Paths of the transcript in every format, called like the video."""
    folder = folder / f"text-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    named = dataclasses.replace(result, file=name)  # not where the server keeps it
    paths = [folder / f"{Path(name).stem}.{file_format}" for file_format in FORMATS]
    for path, file_format in zip(paths, FORMATS, strict=True):
        write_transcript(path, named, file_format)
    return [str(path) for path in paths]


def _enlarge(mouth: np.ndarray) -> Iterator[np.ndarray]:
    """(T, 96, 96) -> frames (288, 288), each pixel a square."""
    for frame in mouth:
        yield frame.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def _notes(result: Transcript) -> str:
    """The warnings as a list; what they say is shown as it stands, not as markup."""
    return "\n".join(f"- ⚠️ {html.escape(warning)}" for warning in result.warnings)


def main(
    host: str = "127.0.0.1",
    port: int | None = None,
    model: str | None = None,
    device: str = "auto",
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
        page = build_app(load_model(model, device), limits=limits)
        # system fonts: the default theme would ask a font server for its own
        theme = gr.themes.Default(font="sans-serif", font_mono="monospace")
        app = create_app(page, store, users=users, root_path=root_path, css=CSS, theme=theme)
        server = Server(app, listener, limits)
        print(f"avsr is at {server.address} (Ctrl-C stops it)", flush=True)
        server.run()


if __name__ == "__main__":
    try:
        main()
    except AvsrError as error:
        sys.exit(f"avsr: {error}")
