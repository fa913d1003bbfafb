"""What a visitor gives and chooses: a file, looked at at once, and a model with its licence."""

import base64
import html
import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from avsr import AvsrError, load_model
from avsr.errors import MediaError
from avsr.face import Face, MediapipeDetector
from avsr.hub import DEFAULT_MODEL, Listed, list_models
from avsr.languages import LANGUAGES, language_name
from avsr.media import MediaInfo, read_frames

LOOKED_AT = 25  # frames from the beginning, of which
STEP = 12  # each so many is searched for faces
SIDE = 640  # px, longer side of the picture in which faces are looked for
THUMBNAIL = 72  # px
THERE = ("bundled", "cached")  # models that need no network

_looking = threading.Lock()  # detectors take memory: one visitor's faces at a time


def describe(info: MediaInfo) -> Iterator[str]:
    """HTML about a file: its length, rate and size at once, then its faces."""
    facts = "".join(f"<li>{fact}</li>" for fact in _facts(info))
    yield f'<ul class="facts">{facts}</ul>'
    if info.has_video:
        yield f'<ul class="facts">{facts}{_faces(info.path)}</ul>'


def _facts(info: MediaInfo) -> Iterator[str]:
    minutes, seconds = divmod(info.duration, 60)
    yield f"{minutes:.0f} min {seconds:.0f} s" if minutes else f"{seconds:.1f} s"
    if info.has_video:
        yield f"{info.width} × {info.height}"
    if info.fps:
        yield f"{info.fps:.4g} pictures a second"
    if not info.has_video:
        yield "no picture: only the sound can be read"
    if not info.has_audio:
        yield "no sound: only the lips can be read"


def _faces(path: Path) -> str:
    """The faces of that one of the first pictures which shows most of them."""
    shown: np.ndarray | None = None
    most: list[Face] = []
    try:
        with _looking, MediapipeDetector() as finder:
            for frame in islice(read_frames(path, max_side=SIDE), 0, LOOKED_AT, STEP):
                faces = finder.find(frame)
                if len(faces) > len(most):
                    shown, most = frame, faces
    except MediaError:
        return ""
    if shown is None:
        return "<li>no face in the first second</li>"
    from_left = sorted(most, key=lambda face: float(face.box[0]))
    pictures = "".join(_thumbnail(shown, face.box) for face in from_left)
    number = "one face" if len(most) == 1 else f"{len(most)} faces"
    return f'<li class="faces">{number}{pictures}</li>'


def _thumbnail(frame: np.ndarray, box: np.ndarray) -> str:
    """The square around a face as an image in the page itself."""
    x, y, width, height = box
    half = 0.65 * max(width, height)
    left, top = max(0, round(x + width / 2 - half)), max(0, round(y + height / 2 - half))
    square = frame[top : round(y + height / 2 + half), left : round(x + width / 2 + half)]
    small = cv2.resize(square, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    data = base64.b64encode(jpeg.tobytes()).decode()
    return f'<img alt="face" src="data:image/jpeg;base64,{data}">'


class ModelRegistry:
    """The models that a visitor may choose from, one in memory beside the one that is served."""

    def __init__(self, served: Any, name: str | None = None) -> None:
        """``served`` is loaded already; ``name`` is what it was loaded by (None: the default)."""
        self.served_name = name or DEFAULT_MODEL
        self._served = served
        self._others: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self.entries: dict[str, Listed] = {m.name: m for m in list_models() if m.where in THERE}

    @property
    def names(self) -> list[str]:
        """The served one first."""
        return list(dict.fromkeys([self.served_name, *self.entries]))

    def get(self, name: str | None) -> Any:
        """A model by its name, loaded if need be. Raises AvsrError for one that is not here."""
        if name is None or name == self.served_name:
            return self._served
        if name not in self.entries:
            raise AvsrError(f"there is no model '{name}' on this server")
        with self._lock:
            if name not in self._others:
                self._others.clear()
                self._others[name] = load_model(name)
            return self._others[name]

    def languages(self, name: str) -> tuple[str, ...]:
        """Codes of the languages that a model knows; nothing for one that is not here."""
        if name == self.served_name:
            return tuple(getattr(getattr(self._served, "config", None), "languages", LANGUAGES))
        entry = self.entries.get(name)
        return () if entry is None else tuple(entry.languages)

    def about(self, name: str) -> str:
        """HTML: a model's languages, size and licence."""
        entry = self.entries.get(name)
        if entry is None:
            return f"<p>{html.escape(Path(name).name)}: its card says its licence.</p>"
        names = ", ".join(language_name(code) for code in entry.languages)
        return (
            f"<p>{names}. {html.escape(entry.size)}, {html.escape(entry.where)}.<br>"
            f"Licence: {html.escape(entry.licence)}</p>"
        )


def language_choices(shelf: ModelRegistry, name: str) -> list[tuple[str, str]]:
    """What may be chosen as the spoken language of a model."""
    return [("Find out", "auto"), *((language_name(code), code) for code in shelf.languages(name))]


def examples_of(clips: list[Path], video: gr.Video) -> Any:
    """Buttons that put a clip into ``video``; None where there are no clips."""
    if not clips:
        return None
    return gr.Examples(
        [[str(clip)] for clip in clips],
        [video],
        label="Or try one of these",
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
