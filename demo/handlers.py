"""What the page does when the visitor clicks: the functions behind its components.

A handler returns or yields a dictionary: component -> its new value, as gradio takes it.
"""

import dataclasses
import html
import math
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from avsr import AvsrError, Transcript
from avsr.languages import language_name
from avsr.runtime.progress import Progress, listen_progress
from avsr.transcript import reads_right_to_left
from demo.closeup import add_closeup
from demo.intake import ModelRegistry, Transcriber, describe, language_choices
from demo.jobs import JobQueue, StoppedError, render_progress
from demo.layout import DOWNLOADS, Layout, introduce
from demo.limits import Limits, check_upload, hide_folder
from demo.player import (
    ResultView,
    edit_word,
    face_boxes,
    mouth_read,
    mouth_video,
    render_player,
    text_files,
)

Updates = dict[Any, Any]


class Handlers:
    """The functions behind the components of one page."""

    def __init__(
        self, layout: Layout, models: ModelRegistry, queue: JobQueue, limits: Limits, folder: Path
    ) -> None:
        """``folder`` is where mouth videos and text files are written."""
        self.layout = layout
        self.models = models
        self.queue = queue
        self.limits = limits
        self.folder = folder

    def transcribe_for_programs(
        self,
        video: str | None,
        modality: str,
        language: str,
        beam_size: float,
        face: str,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        """Transcribe a video: language, text, video of the mouth, warnings, files."""
        path = _require(video)
        options = _options(modality, language, beam_size, face)
        job = self.queue.submit(
            lambda progress: self._transcribe(path, progress, **options), request.session_hash
        )
        try:
            result = job.result()
        except StoppedError:  # nobody listens any more
            raise gr.Error("the work was stopped", print_exception=False) from None
        except AvsrError as error:
            raise gr.Error(str(error), print_exception=False) from error
        named = language_name(result.language)
        likely = {language_name(code): p for code, p in result.language_probs.items()}
        text = gr.Textbox(
            value=result.text,
            rtl=reads_right_to_left(result.text, result.language),
            label=f"Text ({named})",
        )
        files = [str(file) for file in text_files(result, path, self.folder).values()]
        mouth = mouth_video(mouth_read(result), self.folder)
        # The likeliest language is not named where it is not sure, or the text is not reliable.
        return likely if named in likely else named, text, mouth, _list_warnings(result), files

    def transcribe_on_page(
        self,
        video: str | None,
        modality: str,
        language: str,
        beam_size: float,
        face: str,
        model_name: str,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """Transcribe the visitor's video: show the progress, then the result."""
        path = _require(video)
        options = _options(modality, language, beam_size, face)
        result = yield from self._follow(
            lambda progress: self._transcribe(path, progress, model_name, **options),
            request.session_hash,
            path,
        )
        if result is None:
            return
        layout = self.layout
        yield {
            **self._idle(),
            layout.chooser: gr.Column(visible=False),
            layout.result: gr.Column(visible=True),
            layout.experiments: gr.Column(visible=True),
            layout.begin: gr.Button("Transcribe again", visible=True),
            layout.model: gr.Dropdown(self.models.choices),  # one may have come
            layout.details: self.models.render_details(model_name),
            **self._show(self._view(result, path, modality, face)),
        }

    def _transcribe(
        self, video: str, progress: Progress, model_name: str | None = None, **options: Any
    ) -> Transcript:
        """Transcribe a file that is within the limits; raise gr.Error with a text for visitors."""
        try:
            check_upload(video, self.limits)
            model: Transcriber = self.models.get(model_name, progress)
            result = model.transcribe(video, progress=progress, **options)
        except AvsrError as error:
            message = html.escape(hide_folder(error, video))
            raise gr.Error(message, print_exception=False) from error
        warnings = tuple(hide_folder(warning, video) for warning in result.warnings)
        return dataclasses.replace(result, warnings=warnings)

    def _view(self, result: Transcript, video: str, modality: str, face: str) -> ResultView:
        info = check_upload(video, self.limits)
        track = mouth_read(result)
        # The mouth of a long recording, which is read in segments, is not stored as a whole.
        is_long = bool(result.segments) and result.mouth is None
        return ResultView(
            transcript=dataclasses.replace(result, mouth=None),
            video=video,
            mouth=mouth_video(track, self.folder),
            boxes=face_boxes(track, info),
            face=face,
            offers_closeups=is_long and info.has_video and modality != "audio",
        )

    def _idle(self) -> Updates:
        """Show the button that starts the work instead of the progress."""
        return {
            self.layout.begin: gr.Button(visible=True),
            self.layout.working: gr.Column(visible=False),
        }

    def _follow(
        self, work: Callable[[Progress], Any], owner: object, video: str
    ) -> Generator[Updates, None, Any]:
        """Do the work in the queue and show its progress; return its result, None if it failed.

        ``video`` is the file that it is about.
        """
        layout = self.layout
        yield {
            layout.begin: gr.Button(visible=False),
            layout.working: gr.Column(visible=True),
            layout.status: "",
        }
        job = self.queue.submit(work, owner)
        for progress in job.watch():
            yield {layout.status: render_progress(progress)}
        try:
            return job.result()
        except StoppedError:
            yield self._idle()
        except (AvsrError, gr.Error) as error:
            if isinstance(error, gr.Error):  # a text for visitors
                message = error.message
            else:
                message = html.escape(hide_folder(error, video))
            gr.Warning(message, duration=None, title="This did not work")
            yield self._idle()
        except Exception:  # a bug: gradio reports it, and the page stays usable
            yield self._idle()
            raise
        return None

    def _show(self, view: ResultView) -> Updates:
        """Show a result, with its files to download."""
        layout = self.layout
        if view.mouth is not None:
            layout.player.temp_files.add(view.mouth)  # for gradio to delete
        files = text_files(view.transcript, view.video, self.folder)
        return {
            layout.view: view,
            layout.player: render_player(view),
            **{layout.downloads[name]: str(files[name]) for name in DOWNLOADS},
        }

    def show_closeup(
        self, view: ResultView, event: gr.EventData, request: gr.Request
    ) -> Iterator[Updates]:
        """Show face and mouth of the part of a long recording that is playing."""
        require_result(view)
        time = _read_number(event, "time")

        def work(progress: Progress) -> ResultView:
            with listen_progress(progress):
                return add_closeup(view, time, self.folder)

        layout = self.layout
        closeup = yield from self._follow(work, request.session_hash, view.video)
        if closeup is not None:
            layout.player.temp_files.add(closeup.mouth)
            yield {**self._idle(), layout.view: closeup, layout.player: render_player(closeup)}

    def correct_word(self, view: ResultView, event: gr.EventData) -> Updates:
        """Replace a word that the visitor edited."""
        require_result(view)
        index, text = round(_read_number(event, "index")), getattr(event, "text", None)
        if not isinstance(text, str):
            raise gr.Error("text must be a text", print_exception=False)
        try:
            transcript = edit_word(view.transcript, index, text)
        except IndexError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return self._show(dataclasses.replace(view, transcript=transcript))

    def stop(self, request: gr.Request) -> None:
        """Stop all jobs of the visitor."""
        self.queue.stop(request.session_hash)

    def describe_upload(self, video: str | None) -> Iterator[str]:
        """Describe a file as soon as it is uploaded."""
        if video is None:
            yield ""
            return
        try:
            yield from describe(check_upload(video, self.limits))
        except AvsrError as error:
            yield f'<p class="trouble">{html.escape(hide_folder(error, video))}</p>'

    def start_over(self) -> Updates:
        """Return to a page without video and result."""
        layout = self.layout
        return {
            layout.video: None,
            layout.chooser: gr.Column(visible=True),
            layout.result: gr.Column(visible=False),
            layout.experiments: gr.Column(visible=False),
            layout.begin: gr.Button("Transcribe", visible=True),
        }

    def choose_model(self, name: str) -> Updates:
        """Show details, licence and languages of the model that the visitor chose."""
        layout = self.layout
        return {
            layout.details: self.models.render_details(name),
            layout.licence: self.models.render_licence(name),
            layout.introduction: introduce(self.models, name, self.limits),
            layout.language: gr.Dropdown(language_choices(self.models, name), value="auto"),
        }


def _options(modality: str, language: str, beam_size: float, face: str) -> dict[str, Any]:
    """Options of ``transcribe``."""
    return {"modality": modality, "language": language, "beam_size": int(beam_size), "face": face}


def _require(video: str | None) -> str:
    if video is None:
        raise gr.Error("Choose, upload or record a video first.", print_exception=False)
    return video


def require_result(view: ResultView | None) -> None:
    """Raise gr.Error if nothing has been transcribed yet."""
    if view is None:
        raise gr.Error("Transcribe a video first.", print_exception=False)


def _read_number(event: gr.EventData, name: str) -> float:
    """A finite number of an event; raise gr.Error if it has none."""
    try:
        number = float(getattr(event, name, None))  # type: ignore[arg-type]  # None is refused
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise gr.Error(f"{name} must be a number", print_exception=False)
    return number


def _list_warnings(result: Transcript) -> str:
    """What is not reliable, and the warnings, as a Markdown list, escaped."""
    notes = [result.reliability_note] if result.reliability_note else []
    return "\n".join(f"- ⚠️ {html.escape(note)}" for note in [*notes, *result.warnings])
