"""Renderers of talking heads by name: what draws the mouth crops and the heads of an utterance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from avsr.synthetic.camera import film, film_frames
from avsr.synthetic.drawn_head import draw_drawn_identity, render_drawn_frames
from avsr.synthetic.faces import draw_identity, render_frames, render_mouth
from avsr.synthetic.mesh_head import draw_mesh_identity, render_mesh_frames, render_mesh_mouth
from avsr.synthetic.utterance import Utterance
from avsr.synthetic.visemes import mouth_trajectory

DrawMouth = Callable[[Utterance, np.random.Generator], np.ndarray]
DrawFrames = Callable[[Utterance, np.random.Generator], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Renderer:
    """Draws an utterance with a random face of its split."""

    draw_mouth: DrawMouth | None  # crops (T, 96, 96) uint8; None: for whole heads only
    draw_frames: DrawFrames  # T frames (H, W, 3) uint8


def _from_trajectory(
    draw: Callable[[str, np.random.Generator], Any],
    mouth: Callable[[Any, np.ndarray, np.random.Generator], np.ndarray],
    frames: Callable[[Any, np.ndarray, np.random.Generator], Iterator[np.ndarray]],
) -> Renderer:
    """Make a renderer from its three functions.

    Its faces move along ``mouth_trajectory``, and a camera films them.
    """

    def arguments(
        utterance: Utterance, rng: np.random.Generator
    ) -> tuple[Any, np.ndarray, np.random.Generator]:
        identity = draw(utterance.split, rng)
        num, language = utterance.num_frames, utterance.language
        return identity, mouth_trajectory(utterance.phones, num, rng, language=language), rng

    return Renderer(
        lambda utterance, rng: film(mouth(*arguments(utterance, rng)), rng),
        lambda utterance, rng: film_frames(frames(*arguments(utterance, rng)), rng),
    )


def _draw_drawn_frames(utterance: Utterance, rng: np.random.Generator) -> Iterator[np.ndarray]:
    identity = draw_drawn_identity(utterance.split, rng)
    num, language = utterance.num_frames, utterance.language
    return render_drawn_frames(identity, utterance.phones, num, rng, language)


DEFAULT = "photo"
RENDERERS = {
    DEFAULT: _from_trajectory(draw_identity, render_mouth, render_frames),
    "mesh": _from_trajectory(draw_mesh_identity, render_mesh_mouth, render_mesh_frames),
    "drawn": Renderer(None, _draw_drawn_frames),
}
CLIPS_ONLY = "must not be trained on, so hours and valid_hours must be 0"


def find_renderer_problems(names: Sequence[str], has_shards: bool) -> list[str]:
    """Return what is wrong with the names of renderers of a corpus, with or without shards."""
    unknown = [name for name in names if name not in RENDERERS]
    if unknown:
        return [f"unknown renderer '{unknown[0]}', use some of {', '.join(RENDERERS)}"]
    if not names or len(set(names)) < len(names):
        return ["renderers must be one name or several different ones"]
    foreign = [name for name in names if RENDERERS[name].draw_mouth is None]
    return [f"{' and '.join(foreign)} {CLIPS_ONLY}"] if foreign and has_shards else []


def choose_renderer(
    names: Sequence[str], utterance: Utterance, rng: np.random.Generator
) -> tuple[Renderer, Utterance]:
    """Draw the renderer of an utterance.

    Args:
        names: Keys of ``RENDERERS``.
        utterance: What is to be rendered.
        rng: Used for one draw, if there are several names.

    Returns:
        The renderer, and the utterance with the renderer's name in its ID unless it is photo alone.
    """
    name = names[int(rng.integers(len(names)))] if len(names) > 1 else names[0]
    if tuple(names) != (DEFAULT,):
        utterance = replace(utterance, utterance_id=f"{utterance.utterance_id}-{name}")
    return RENDERERS[name], utterance
