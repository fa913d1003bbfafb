"""What the visitor provides and chooses: a file, which is described at once, and a model."""

import base64
import html
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
import gradio as gr
import numpy as np

from avsr import AvsrError, Transcript, load_model
from avsr.errors import MediaError, ModelError
from avsr.face import Face, default_detector, probe_faces
from avsr.hub import BUNDLED, DEFAULT_MODEL, Listed, find_model, list_models
from avsr.languages import language_name
from avsr.media import MediaInfo, read_frames
from avsr.model.directory import read_licence
from avsr.runtime.progress import Progress, format_bytes, listen_downloads

NUM_FRAMES = 25  # at the beginning of a video in which faces are looked for
FRAME_STEP = 12  # one frame in so many is searched
MAX_SIDE = 640  # px, longer side of a frame in which faces are looked for
THUMBNAIL = 72  # px

_detector_lock = threading.Lock()  # detectors need memory: one file at a time


class Transcriber(Protocol):
    """What the page needs of a model; ``avsr.Recognizer`` has it."""

    @property
    def languages(self) -> tuple[str, ...]: ...

    def transcribe(
        self, path: str, *, progress: Progress | None = None, **options: Any
    ) -> Transcript: ...


def describe(info: MediaInfo) -> Iterator[str]:
    """Yield HTML about a file: length, size and frame rate at once, then with its faces."""
    facts = "".join(f"<li>{fact}</li>" for fact in _facts(info))
    yield f'<ul class="facts">{facts}</ul>'
    if info.has_video:
        yield f'<ul class="facts">{facts}{_faces(info)}</ul>'


def _facts(info: MediaInfo) -> Iterator[str]:
    minutes, seconds = divmod(info.duration, 60)
    yield f"{minutes:.0f} min {seconds:.0f} s" if minutes else f"{seconds:.1f} s"
    if info.has_video:
        yield f"{info.width} × {info.height}"
    if info.fps:
        yield f"{info.fps:.4g} pictures a second"
    if not info.has_video:
        reason = info.picture_problem if info.video_tracks else "no picture"
        yield f"{reason}: only the sound can be read"
    if not info.has_audio:
        reason = info.sound_problem if info.sound_tracks else "no sound"
        yield f"{reason}: only the lips can be read"


def _faces(info: MediaInfo) -> str:
    """HTML with the faces of the frame, among the first ones, that has most of them."""
    best_frame: np.ndarray | None = None
    best_faces: list[Face] = []
    try:
        with _detector_lock:
            tracks = probe_faces(info.path).tracks
        with _detector_lock, default_detector() as detector:
            frames = read_frames(info.path, max_side=MAX_SIDE, tracks=tracks)
            for frame in islice(frames, 0, NUM_FRAMES, FRAME_STEP):
                faces = detector.find(frame)
                if len(faces) > len(best_faces):
                    best_frame, best_faces = frame, faces
    except MediaError:
        return ""
    if best_frame is None:
        return "<li>no face in the first second</li>"
    from_left = sorted(best_faces, key=lambda face: float(face.box[0]))
    images = "".join(_thumbnail(best_frame, face.box) for face in from_left)
    number = "one face" if len(from_left) == 1 else f"{len(from_left)} faces"
    return f'<li class="faces">{number}{images}</li>'


def _thumbnail(frame: np.ndarray, box: np.ndarray) -> str:
    """The square around a face as an HTML image with the data inside."""
    x, y, width, height = box
    half = 0.65 * max(width, height)
    left, top = max(0, round(x + width / 2 - half)), max(0, round(y + height / 2 - half))
    square = frame[top : round(y + height / 2 + half), left : round(x + width / 2 + half)]
    small = cv2.resize(square, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    data = base64.b64encode(jpeg.tobytes()).decode()
    return f'<img alt="face" src="data:image/jpeg;base64,{data}">'


class ModelRegistry:
    """The models of this server, and those that it may download for a visitor.

    It keeps one in memory beside the default one.
    """

    def __init__(
        self,
        default: Transcriber,
        name: str | None = None,
        downloads: bool | Sequence[str] | None = None,
    ) -> None:
        """List the models.

        Args:
            default: A model that is loaded already.
            name: The name that it was loaded by, as for ``avsr.load_model``.
            downloads: As ``Limits.downloads``; None: no downloads.
        """
        self.default_name = name or DEFAULT_MODEL
        self._default = default
        self._default_licence = _read_licence(self.default_name)
        self._downloads = downloads
        self._others: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self.entries: dict[str, Listed] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again which models are here."""
        self.entries = {
            entry.name: entry
            for entry in list_models()
            if entry.kind == "recognition" and (entry.is_here or self._may_download(entry))
        }

    def _may_download(self, entry: Listed) -> bool:
        if entry.size is None or self._downloads is None:
            return False
        allowed = self._downloads
        return allowed if isinstance(allowed, bool) else entry.name in allowed

    @property
    def names(self) -> list[str]:
        """Names of all models, the default one first."""
        return list(dict.fromkeys([self.default_name, *self.entries]))

    def get(self, name: str | None, progress: Progress | None = None) -> Any:
        """Return a model, downloaded and loaded if need be (None: the default one).

        Args:
            name: One of ``names``.
            progress: Called with (MB done, MB in all, what is being done) while it is downloaded;
                what it raises ends the download and reaches the caller.

        Raises:
            AvsrError: This server has no such model, or it cannot be downloaded.
        """
        if name is None or name == self.default_name:
            return self._default
        if name not in self.entries:
            raise AvsrError(f"there is no model '{name}' on this server")
        with self._lock:
            if name not in self._others:
                with listen_downloads(partial(_report_download, progress)):
                    path = find_model(name)
                self._others.clear()  # before the next takes memory
                self._others[name] = load_model(path)
                self.refresh()
            return self._others[name]

    def languages(self, name: str) -> tuple[str, ...]:
        """Return the language codes of a model; none if this server does not have it."""
        if name == self.default_name:
            return self._default.languages
        entry = self.entries.get(name)
        return () if entry is None else tuple(entry.languages)

    def licence(self, name: str) -> str:
        """Return the licence of a model, as its card states it."""
        if name == self.default_name:
            return self._default_licence
        entry = self.entries.get(name)
        return "unknown" if entry is None else entry.licence

    def render_licence(self, name: str) -> str:
        """Render name and licence of a model as HTML."""
        title = html.escape(display_name(name))
        return f"<p>Model “{title}”. Licence: {html.escape(self.licence(name))}</p>"

    @property
    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of every model; the label has its languages and where it is."""
        return [(self._label(name), name) for name in self.names]

    def _label(self, name: str) -> str:
        codes = self.languages(name)
        languages = language_name(codes[0]) if len(codes) == 1 else f"{len(codes)} languages"
        return f"{display_name(name)} · {languages} · {self._place(name)}"

    def _place(self, name: str) -> str:
        """ "here", or how much is to be downloaded."""
        entry = self.entries.get(name)
        if entry is None or entry.is_here:
            return "here"
        return f"download {format_bytes(entry.size or 0)}"

    def is_trial(self, name: str) -> bool:
        """Whether a model is a bundled one, which was made to try the program."""
        return name in BUNDLED

    def render_details(self, name: str) -> str:
        """Render languages, size, licence and place of a model as HTML."""
        names = ", ".join(language_name(code) for code in self.languages(name))
        entry = self.entries.get(name)
        facts = [f"{names}.", f"Licence: {self.licence(name)}."]
        if entry is not None:
            where = "on this computer" if entry.is_here else "downloaded at its first use"
            facts.append(f"{format_bytes(entry.size or 0)}, {where}.")
        return f"<p>{html.escape(' '.join(facts))}</p>"


def _report_download(progress: Progress | None, done: int, total: int, name: str) -> None:
    """Tell the progress of a download in MB."""
    if progress is not None:
        progress(done / 1e6, total / 1e6, f"downloading {name}, {format_bytes(total)}")


def display_name(name: str) -> str:
    """Return the name of a model for visitors: of a path the last part, of a hub name all."""
    return name if name.startswith("hf://") else Path(name).name


def _read_licence(name: str) -> str:
    """The licence of a model by its name; "unknown" for one that has no directory."""
    try:
        return read_licence(find_model(name))
    except ModelError:
        return "unknown"


def language_choices(models: ModelRegistry, name: str) -> list[tuple[str, str]]:
    """Return (label, value) of every choice of the spoken language of a model."""
    codes = models.languages(name)
    return [("Detect it", "auto"), *((language_name(code), code) for code in codes)]


def add_examples(clips: list[Path], video: gr.Video) -> Any:
    """Add a button for each clip that puts it into ``video``; None without clips."""
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
    code, _, detail = clip.stem.partition("-")
    if language_name(code) == code:
        return clip.stem
    return f"{language_name(code)} ({detail})" if detail else language_name(code)
