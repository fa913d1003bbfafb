"""The components of the page from top to bottom, with their texts and choices."""

from pathlib import Path
from typing import Any

import gradio as gr

from avsr.hub import find_public
from avsr.languages import language_name
from avsr.search.options import BEAM_SIZE
from avsr.transcript import FORMATS
from demo.intake import ModelRegistry, add_examples, display_name, language_choices
from demo.limits import Limits
from demo.player import SCRIPT

# A slow computer cannot encode the camera's largest picture while it records.
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 30}}}
MODALITIES = [("Sound and lips", "av"), ("Sound only", "audio"), ("Lips only", "video")]
FACES = [
    ("Whoever speaks", "auto"),
    ("The largest face", "largest"),
    ("The face on the left", "left"),
    ("The face on the right", "right"),
    *((f"Face {number}", str(number)) for number in range(1, 5)),
]
DOWNLOADS = [name for name in FORMATS if name != "tsv"]  # as buttons; the API has all formats

INTRODUCTION = """# What is being said?
Upload or record a video of a person talking. The model “{model}” {does}, from the sound, the lips,
or both."""
TRIAL = """# What is being said?
See how a computer reads speech from the sound, the lips, or both. The model “{model}” was made to
try that out: it understands the examples below, **but no real talks**. {advice}"""
ADVICE = "For these, choose another model."
NO_OTHER = "For these, this page needs another model; `avsr models` lists some."


def introduce(models: ModelRegistry, name: str, limits: Limits) -> str:
    """The first words of the page, in Markdown: what the chosen model can do and cannot do."""
    codes = models.languages(name)
    does = "names the language and writes down the words"
    if len(codes) == 1:
        does = f"writes down the words of one language, {language_name(codes[0])}"
    elif find_public(name) is not None:  # AV-HuBERT has no part for it
        does = f"writes down the words of {len(codes)} languages, but does not tell which it is"
    advice = ADVICE if any(not models.is_trial(other) for other in models.names) else NO_OTHER
    template = TRIAL if models.is_trial(name) else INTRODUCTION
    text = template.format(model=display_name(name), advice=advice, does=does)
    return f"{text}\n\n{limits.summary}"


class Layout:
    """All components of the page. Create it inside ``with gr.Blocks():``."""

    def __init__(self, models: ModelRegistry, examples: Path, limits: Limits) -> None:
        """``examples`` is the folder of the example videos."""
        self.view = gr.State(None)  # the ResultView that the visitor sees
        self.introduction = gr.Markdown(
            introduce(models, models.default_name, limits), elem_id="introduction"
        )
        self._add_chooser(examples)
        self._add_result()
        self._add_options(models)
        self._add_work()
        self.experiments = gr.Column(visible=False)  # the noise lab
        self.licence = gr.HTML(
            models.render_licence(models.default_name), apply_default_css=False, elem_id="licence"
        )

    def _add_chooser(self, examples: Path) -> None:
        """Add the field for a video, the facts about it and the examples."""
        with gr.Column(elem_id="chooser") as self.chooser:
            self.video = gr.Video(
                show_label=False,
                sources=["upload", "webcam"],
                include_audio=True,
                webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
                elem_id="video",
            )
            self.facts = gr.HTML(apply_default_css=False, elem_id="facts")
            self.examples = add_examples(sorted(examples.glob("*.mp4")), self.video)

    def _add_result(self) -> None:
        """Add the player and the downloads, hidden until there is a result."""
        with gr.Column(visible=False, elem_id="result") as self.result:
            self.player = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="player")
            with gr.Row(elem_id="downloads"):
                gr.HTML("<span>Download</span>", min_width=0)
                self.downloads = {
                    name: gr.DownloadButton(name.upper(), size="sm", min_width=0)
                    for name in DOWNLOADS
                }
                self.another = gr.Button("Another video", size="sm", min_width=0, elem_id="another")

    def _add_options(self, models: ModelRegistry) -> None:
        """Add the options of a transcript."""
        default = models.default_name
        with gr.Row(elem_id="choices"):
            self.modality = gr.Radio(
                MODALITIES, value="av", label="Read from", scale=3, elem_id="modality"
            )
            self.language = gr.Dropdown(
                language_choices(models, default),
                value="auto",
                label="Spoken language",
                scale=2,
                elem_id="language",
            )
        self.model = gr.Dropdown(models.choices, value=default, label="Model", elem_id="model")
        self.details = gr.HTML(models.render_details(default), elem_id="about")
        with gr.Accordion("More options", open=False, elem_id="more"):
            self.beam_size = gr.Slider(
                1,
                20,
                value=BEAM_SIZE,
                step=1,
                label="Number of candidate texts",
                info="More are slower and sometimes more accurate.",
                elem_id="beam",
            )
            self.face = gr.Dropdown(FACES, value="auto", label="Whose lips", elem_id="face")

    def _add_work(self) -> None:
        """Add the button that starts the work, and the progress with a button to stop it."""
        self.begin = gr.Button("Transcribe", variant="primary", elem_id="begin")
        with gr.Column(visible=False, elem_id="working") as self.working:
            self.status = gr.HTML(elem_id="status")
            self.cancel = gr.Button("Stop", elem_id="cancel")

    @property
    def settings(self) -> list[Any]:
        """Components whose values a transcript needs."""
        return [self.video, self.modality, self.language, self.beam_size, self.face]

    @property
    def panels(self) -> list[Any]:
        """Components that are shown and hidden."""
        return [self.begin, self.working, self.chooser, self.result, self.experiments]
