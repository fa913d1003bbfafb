"""The noise laboratory on the page: its controls, and its results as HTML."""

import html
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from avsr import AvsrError, Transcript
from avsr.media import write_video
from avsr.recognition.recording import COVERED
from avsr.runtime.progress import Progress, listen_progress
from avsr.transcript import reads_right_to_left
from demo.closeup import MAX_SECONDS
from demo.handlers import require_result
from demo.intake import ModelRegistry
from demo.jobs import JobQueue, StoppedError, render_progress
from demo.limits import hide_folder
from demo.noise_lab import (
    MODALITIES,
    SNRS,
    ArrayRecognizer,
    compare,
    mark_words,
    share_correct,
    sweep,
)
from demo.player import ResultView, enlarge, file_url

NOISES = [
    ("Many people talking", "babble"),
    ("One other person", "speech"),
    ("Music", "music"),
    ("Rain", "noise"),
]
VIDEO_CORRUPTIONS = [
    ("Clear", ""),
    ("Mouth covered", "occlusion:0.8"),
    ("Out of focus", "blur:6"),
    ("Frames missing", "dropped:0.5"),
]
SOUND_ALONE = "“sound and lips” is the sound alone"
TAGS = {"right": "span", "wrong": "mark", "extra": "mark", "missing": "del", "won": "ins"}
LEFT, RIGHT, TOP, BOTTOM = 46, 590, 14, 220  # of the plot, in units of its SVG


def render_comparison(quiet: Transcript, noisy: Mapping[str, Transcript], video: str) -> str:
    """Render a row for each transcript, with its differences to the one without noise marked.

    Args:
        quiet: The transcript without noise.
        noisy: Modality -> transcript with noise.
        video: Path of a video of what the model hears and sees.
    """
    rows = [
        _row("In quiet", "quiet", quiet, [(word, "right") for word in quiet.text.split()], None)
    ]
    right_from_one = {
        word
        for modality in ("audio", "video")
        for word, mark in mark_words(quiet.text, noisy[modality].text)
        if mark == "right"
    }
    for modality, name in MODALITIES.items():
        transcript = noisy[modality]
        marks = mark_words(quiet.text, transcript.text)
        if modality == "av":
            marks = [
                (word, "won" if mark == "right" and word not in right_from_one else mark)
                for word, mark in marks
            ]
        rows.append(_row(name, modality, transcript, marks, share_correct(quiet, transcript)))
    return (
        f'<div class="laboratory"><video class="spoilt" src="{file_url(video)}" controls'
        ' playsinline preload="metadata" aria-label="What the model hears and sees"></video>'
        f'<ul class="readings">{"".join(rows)}</ul><p class="legend"><span><mark>different</mark>'
        " from quiet, <del>missing</del>, <ins>right only with sound and lips</ins></span></p>"
        "</div>"
    )


def _row(
    name: str,
    css_class: str,
    transcript: Transcript,
    marks: Sequence[tuple[str, str]],
    share: float | None,
) -> str:
    words = " ".join(f"<{TAGS[mark]}>{html.escape(word)}</{TAGS[mark]}>" for word, mark in marks)
    score = "" if share is None else f"<b>{share:.0%}</b>"
    direction = "rtl" if reads_right_to_left(transcript.text, transcript.language) else "ltr"
    warnings = "".join(f"<small>{html.escape(text)}</small>" for text in transcript.warnings)
    return (
        f'<li class="{css_class}"><h4>{name} {score}</h4>'
        f'<p lang="{html.escape(transcript.language)}"'
        f' dir="{direction}">{words or "nothing"}</p>{warnings}</li>'
    )


def render_sweep(shares: Mapping[str, Sequence[float]], covered: bool = False) -> str:
    """Render a plot of the share of correct words over the level of the noise.

    Args:
        shares: Modality -> share at each of SNRS and, last, without noise.
        covered: Whether to note that the mouth is covered.
    """
    names = [*(f"{snr_db:+.0f}".replace("+0", "0") for snr_db in SNRS), "quiet"]
    step = (RIGHT - LEFT - 40) / (len(names) - 1)
    columns = [(name, LEFT + 20 + index * step) for index, name in enumerate(names)]
    lines = "".join(_line(modality, columns, values) for modality, values in shares.items())
    keys = "".join(f'<li class="{key}">{MODALITIES[key]}</li>' for key in shares)
    numbers = "; ".join(
        f"{MODALITIES[key]}: {', '.join(f'{share:.0%}' for share in values)}"
        for key, values in shares.items()
    )
    note = f"<small>{COVERED.capitalize()}: {SOUND_ALONE}.</small>" if covered else ""
    return (
        f'<div class="laboratory"><svg class="sweep" viewBox="0 0 600 262" role="img" aria-label="'
        f'Correct words, from loud noise to quiet. {numbers}">{_grid(columns)}{lines}'
        '<text x="318" y="258" text-anchor="middle">speech over noise, dB</text></svg>'
        f'<ul class="keys">{keys}</ul>{note}</div>'
    )


def _height(share: float) -> float:
    """The y coordinate of a share of correct words."""
    return BOTTOM - share * (BOTTOM - TOP)


def _grid(columns: Sequence[tuple[str, float]]) -> str:
    """Horizontal lines with percentages, and the names of the columns."""
    rows = "".join(
        f'<path class="grid" d="M{LEFT} {_height(share):.0f}H{RIGHT}"/><text x="{LEFT - 6}" '
        f'y="{_height(share) + 4:.0f}" text-anchor="end">{share:.0%}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    return rows + "".join(
        f'<text x="{x:.0f}" y="{BOTTOM + 18}" text-anchor="middle">{name}</text>'
        for name, x in columns
    )


def _line(modality: str, columns: Sequence[tuple[str, float]], shares: Sequence[float]) -> str:
    """The line of one modality, with a dot and a tooltip at each level."""
    points = [
        (f"{x:.1f}", f"{_height(share):.1f}", name, share)
        for (name, x), share in zip(columns, shares, strict=True)
    ]
    path = "L".join(f"{x} {y}" for x, y, _, _ in points)
    return f'<path class="line {modality}" d="M{path}"/>' + "".join(
        f'<circle class="{modality}" cx="{x}" cy="{y}" r="4">'
        f"<title>{MODALITIES[modality]}, {name}: {share:.0%}</title></circle>"
        for x, y, name, share in points
    )


class NoiseLab:
    """The controls of the laboratory. Create it inside ``with gr.Blocks():``."""

    def __init__(self, models: ModelRegistry, queue: JobQueue, folder: Path) -> None:
        """``folder`` is where videos are written."""
        self.models = models
        self.queue = queue
        self.folder = folder
        with gr.Accordion("Noise laboratory: why lips matter", open=False, elem_id="laboratory"):
            gr.Markdown(
                f"Add noise to {MAX_SECONDS:.0f} seconds of the video (its beginning, or the part "
                "whose lips you see) or cover the mouth. Then compare what is understood from the "
                "sound, from the lips, and from both."
            )
            self.noise = gr.Radio(NOISES, value="babble", label="Noise", elem_id="noise")
            self.snr_db = gr.Slider(
                -10,
                15,
                value=0,
                step=5,
                label="Speech over noise, dB",
                elem_id="snr",
                info="0: equally loud; below 0 the noise is louder",
            )
            self.video_corruption = gr.Radio(
                VIDEO_CORRUPTIONS, value="", label="Picture", elem_id="picture"
            )
            with gr.Row():
                self.attempt = gr.Button("Try it", variant="primary", elem_id="attempt")
                self.levels = gr.Button("Try all levels", elem_id="levels")
            with gr.Column(visible=False) as self.working:
                self.status = gr.HTML(elem_id="experiment")
                self.cancel = gr.Button("Stop")
            self.outcome = gr.HTML(apply_default_css=False, elem_id="outcome")

    def compare(
        self,
        view: ResultView,
        noise: str,
        snr_db: float,
        video_corruption: str,
        model_name: str,
        language: str,
        beam_size: float,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """Compare the modalities at one level of noise."""
        require_result(view)

        def work() -> str:
            model: ArrayRecognizer = self.models.get(model_name)
            options = {"language": language, "beam_size": int(beam_size)}
            scene, quiet, noisy = compare(model, view, noise, snr_db, video_corruption, **options)
            path = self.folder / f"spoilt-{uuid.uuid4().hex}.mp4"
            write_video(path, enlarge(scene.mouth), waveform=scene.waveform)
            self.outcome.temp_files.add(str(path))
            return render_comparison(quiet, noisy, str(path))

        yield from self._follow(work, request.session_hash, view.video)

    def sweep(
        self,
        view: ResultView,
        noise: str,
        video_corruption: str,
        model_name: str,
        language: str,
        beam_size: float,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """Compare the modalities at all levels of noise."""
        require_result(view)

        def work() -> str:
            model: ArrayRecognizer = self.models.get(model_name)
            options = {"language": language, "beam_size": int(beam_size)}
            return render_sweep(*sweep(model, view, noise, video_corruption, **options))

        yield from self._follow(work, request.session_hash, view.video)

    def stop(self, request: gr.Request) -> None:
        """Stop all jobs of the visitor."""
        self.queue.stop(request.session_hash)

    def _follow(
        self, work: Callable[[], str], owner: object, video: str
    ) -> Iterator[dict[Any, Any]]:
        """Do the work in the queue; show its progress, then the HTML that it returns.

        ``video`` is the file that it is about.
        """

        def work_with_progress(progress: Progress) -> str:
            with listen_progress(progress):
                return work()

        job = self.queue.submit(work_with_progress, owner)
        yield self._enable_buttons(False)
        idle = {**self._enable_buttons(True), self.working: gr.Column(visible=False)}
        for progress in job.watch():
            yield {self.status: render_progress(progress), self.working: gr.Column(visible=True)}
        try:
            yield {**idle, self.outcome: job.result()}
        except StoppedError:
            yield idle
        except AvsrError as error:
            message = html.escape(hide_folder(error, video))
            yield {**idle, self.outcome: f'<p class="trouble">{message}</p>'}
        except Exception:  # a bug: gradio reports it, and the page stays usable
            yield idle
            raise

    def _enable_buttons(self, enabled: bool) -> dict[Any, Any]:
        return {button: gr.Button(interactive=enabled) for button in (self.attempt, self.levels)}


def add_noise_lab(
    models: ModelRegistry, queue: JobQueue, view: gr.State, settings: Sequence[Any], folder: Path
) -> None:
    """Add the laboratory to the page that is being built.

    Args:
        models: The models that it can use.
        queue: Where its work is done.
        view: The page's ResultView.
        settings: The page's components for model, language and beam size.
        folder: Where to write videos.
    """
    lab = NoiseLab(models, queue, folder)
    event: dict[str, Any] = {
        "outputs": [lab.attempt, lab.levels, lab.working, lab.status, lab.outcome],
        "concurrency_limit": None,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    inputs = [view, lab.noise, lab.snr_db, lab.video_corruption, *settings]
    lab.attempt.click(lab.compare, inputs, **event)
    lab.levels.click(lab.sweep, [view, lab.noise, lab.video_corruption, *settings], **event)
    lab.cancel.click(lab.stop, concurrency_limit=None, api_visibility="private")
