"""The noise laboratory: spoil sound and picture, and see who still understands.

Some seconds of a recording are read from the sound, from the lips and from both together, with
noise of a chosen kind and level. What a reading has in common with the one in quiet is its score:
nobody has told the page what was really said.
"""

import html
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gradio as gr
import numpy as np

from avsr import AvsrError, Transcript
from avsr.augmentation import mix_at_snr
from avsr.evaluation import Corruption, Noise, NoiseLibrary, normalize_text, word_errors
from avsr.media import write_video
from avsr.rates import SAMPLE_RATE
from avsr.recognition.recording import COVERED
from avsr.runtime.progress import Progress, listen_progress, report
from avsr.transcript import reads_right_to_left
from demo.closeup import SECONDS, look_closely
from demo.intake import ModelRegistry
from demo.jobs import JobQueue, StoppedError, render_position
from demo.player import ResultView, enlarge, file_address

NOISES = [
    ("Many people talking", "babble"),
    ("One other person", "speech"),
    ("Music", "music"),
    ("Rain", "noise"),
]
PICTURES = [
    ("Clear", ""),
    ("Mouth covered", "occlusion:0.8"),
    ("Out of focus", "blur:6"),
    ("Frames missing", "dropped:0.5"),
]
SNRS = (-10.0, -5.0, 0.0, 5.0, 10.0)  # dB, of the sweep: as in the field's tests
READERS = {"audio": "Sound only", "video": "Lips only", "av": "Sound and lips"}
ALONE = "both together are the sound alone"
SEED = 7


@runtime_checkable
class Reader(Protocol):
    """What the laboratory needs of a model."""

    def transcribe_arrays(
        self, waveform: np.ndarray | None, mouth: np.ndarray | None, **options: Any
    ) -> Transcript: ...


@dataclass(frozen=True)
class Scene:
    """Sound (S,) and mouth crops (T, 96, 96) of a part of a recording."""

    waveform: np.ndarray
    mouth: np.ndarray


def read_scene(shown: ResultView) -> Scene:
    """The part that is shown closely. Raises AvsrError where sound or a face is missing."""
    part = look_closely(shown.video, shown.since, shown.face)
    if part.waveform is None:
        raise AvsrError("the laboratory needs a video with both picture and sound")
    if not part.track.found.any():
        raise AvsrError("the laboratory needs a face that speaks, and there is none in this part")
    return Scene(part.waveform, part.track.mouth)


def spoil(scene: Scene, kind: str, snr_db: float | None, picture: str = "") -> Scene:
    """The scene with noise at an SNR (None: without) and a damaged picture ("": as it is)."""
    waveform, mouth = scene.waveform, scene.mouth
    if snr_db is not None and kind in ("babble", "speech"):
        library = NoiseLibrary([kind], seed=SEED)
        waveform, _ = library.mix(waveform, Noise(kind=kind, snr_db=snr_db), "laboratory")
    elif snr_db is not None:
        sound = make_music(SECONDS) if kind == "music" else make_rain(SECONDS)
        waveform = mix_at_snr(waveform, sound, snr_db)
    if picture:
        mouth = Corruption.parse(picture).apply(mouth, np.random.default_rng(SEED))
    return Scene(waveform, mouth)


def make_music(seconds: float) -> np.ndarray:
    """Four plucked chords, a bass and a soft beat, (S,) float32; made here, so it is nobody's."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    chords = [(57, 60, 64), (53, 57, 60), (48, 55, 64), (55, 59, 62)]  # MIDI notes: Am F C G
    music = np.zeros_like(time)
    for beat in range(int(seconds * 2)):
        since = time - beat / 2
        sounding = np.where(since >= 0, np.exp(-4 * np.maximum(since, 0)), 0)
        chord = chords[beat // 4 % 4]
        notes = (*chord, chord[0] - 12, chord[beat % 3] + 12)
        for note in notes:
            pitch = 440 * 2 ** ((note - 69) / 12)
            for overtone in (1, 2, 3):
                music += sounding * np.sin(2 * np.pi * pitch * overtone * time) / overtone**2
    return (music / np.abs(music).max()).astype(np.float32)


def make_rain(seconds: float) -> np.ndarray:
    """Pink noise, (S,) float32: as much power in every octave."""
    num_samples = round(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(SEED).standard_normal(num_samples))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    sound = np.fft.irfft(spectrum, num_samples)
    return (sound / np.abs(sound).max()).astype(np.float32)


def read_all(
    model: Reader, scene: Scene, modalities: Sequence[str], **options: Any
) -> dict[str, Transcript]:
    """What the model makes of a scene from each of the modalities."""
    return {
        modality: model.transcribe_arrays(
            None if modality == "video" else scene.waveform,
            None if modality == "audio" else scene.mouth,
            **options,
        )
        for modality in modalities
    }


def share_right(said: Transcript, understood: Transcript) -> float:
    """1 less the word error rate against ``said``, at least 0."""
    texts = [normalize_text(t.text, said.language) for t in (said, understood)]
    return max(0.0, 1 - word_errors(*texts).rate)


def compare(
    model: Reader, shown: ResultView, kind: str, snr_db: float, picture: str, **options: Any
) -> tuple[Scene, Transcript, dict[str, Transcript]]:
    """The spoilt scene, the reading in quiet, and the three readings of what is spoilt."""
    scene = read_scene(shown)
    report(1, 3, "reading it in quiet")
    quiet = read_all(model, scene, ["av"], **options)["av"]
    spoilt = spoil(scene, kind, snr_db, picture)
    report(2, 3, "reading it three times in noise")
    return spoilt, quiet, read_all(model, spoilt, list(READERS), **options)


def sweep(
    model: Reader, shown: ResultView, kind: str, picture: str, **options: Any
) -> tuple[dict[str, list[float]], bool]:
    """Share of words that are right for each modality, at each of SNRS and, last, in quiet.

    And whether the mouth is covered, so that beside the sound it was not read.
    """
    scene = read_scene(shown)
    steps = len(SNRS) + 2
    report(1, steps, "reading it in quiet")
    quiet = read_all(model, scene, ["av"], **options)["av"]
    found: dict[str, list[float]] = {modality: [] for modality in READERS}
    lips: float | None = None
    covered = False
    for step, snr_db in enumerate([*SNRS, None], 1):
        report(step, steps, "in quiet" if snr_db is None else f"at {snr_db:+.0f} dB")
        spoilt = spoil(scene, kind, snr_db, picture)
        readings = read_all(model, spoilt, ["audio", "av"], **options)
        if lips is None:  # they do not hear the noise
            lips = share_right(quiet, read_all(model, spoilt, ["video"], **options)["video"])
        for modality, reading in readings.items():
            found[modality].append(share_right(quiet, reading))
        found["video"].append(lips)
        covered = readings["av"].modality == "audio"
    return found, covered


def marked_words(said: str, understood: str) -> list[tuple[str, str]]:
    """(word, how it is: right, wrong, extra or missing) of what was understood, in order."""
    reference, words = said.split(), understood.split()
    marks = []
    matcher = SequenceMatcher(None, reference, words, autojunk=False)
    for tag, first, last, begin, end in matcher.get_opcodes():
        if tag == "equal":
            marks += [(word, "right") for word in words[begin:end]]
            continue
        marks += [(word, "wrong" if tag == "replace" else "extra") for word in words[begin:end]]
        fewer = (last - first) - (end - begin)
        marks += [(word, "missing") for word in reference[last - fewer : last] if fewer > 0]
    return marks


def render_comparison(quiet: Transcript, readings: Mapping[str, Transcript], video: str) -> str:
    """A row for each reading, its differences to the one in quiet marked."""
    rows = [
        _row("In quiet", "quiet", quiet, [(word, "right") for word in quiet.text.split()], None)
    ]
    alone = {
        word
        for modality in ("audio", "video")
        for word, how in marked_words(quiet.text, readings[modality].text)
        if how == "right"
    }
    for modality, name in READERS.items():
        reading = readings[modality]
        marks = marked_words(quiet.text, reading.text)
        if modality == "av":
            marks = [(w, "won" if how == "right" and w not in alone else how) for w, how in marks]
        rows.append(_row(name, modality, reading, marks, share_right(quiet, reading)))
    return (
        f'<div class="laboratory"><video class="spoilt" src="{file_address(video)}" controls'
        ' playsinline preload="metadata" aria-label="What the model hears and sees"></video>'
        f'<ul class="readings">{"".join(rows)}</ul><p class="legend"><span><mark>other</mark> than'
        " in quiet, <del>missing</del>, <ins>only from both together</ins></span></p></div>"
    )


def _row(
    name: str, kind: str, reading: Transcript, marks: Sequence[tuple[str, str]], right: float | None
) -> str:
    tags = {"right": "span", "wrong": "mark", "extra": "mark", "missing": "del", "won": "ins"}
    words = " ".join(f"<{tags[how]}>{html.escape(word)}</{tags[how]}>" for word, how in marks)
    score = "" if right is None else f"<b>{right:.0%}</b>"
    direction = "rtl" if reads_right_to_left(reading.text, reading.language) else "ltr"
    return (
        f'<li class="{kind}"><h4>{name} {score}</h4><p lang="{html.escape(reading.language)}"'
        f' dir="{direction}">{words or "nothing"}</p>{_notes(reading)}</li>'
    )


def _notes(reading: Transcript) -> str:
    """What went otherwise than asked for: as of any transcript, as in "something covers"."""
    return "".join(f"<small>{html.escape(note)}</small>" for note in reading.warnings)


def render_sweep(found: Mapping[str, Sequence[float]], covered: bool = False) -> str:
    """A plot: share of words that are right, over the level of the noise."""
    names = [*(f"{snr_db:+.0f}".replace("+0", "0") for snr_db in SNRS), "quiet"]
    left, right, top, bottom = 46, 590, 14, 220
    across = [left + 20 + i * (right - left - 40) / (len(names) - 1) for i in range(len(names))]

    def height(share: float) -> float:
        return bottom - share * (bottom - top)

    grid = "".join(
        f'<path class="grid" d="M{left} {height(share):.0f}H{right}"/><text x="{left - 6}" '
        f'y="{height(share) + 4:.0f}" text-anchor="end">{share:.0%}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    grid += "".join(
        f'<text x="{x:.0f}" y="{bottom + 18}" text-anchor="middle">{name}</text>'
        for x, name in zip(across, names, strict=True)
    )
    lines = ""
    for modality, shares in found.items():
        points = [f"{x:.1f} {height(share):.1f}" for x, share in zip(across, shares, strict=True)]
        lines += f'<path class="line {modality}" d="M{"L".join(points)}"/>'
        lines += "".join(
            f'<circle class="{modality}" cx="{point.split()[0]}" cy="{point.split()[1]}" r="4">'
            f"<title>{READERS[modality]}, {name}: {share:.0%}</title></circle>"
            for point, name, share in zip(points, names, shares, strict=True)
        )
    keys = "".join(f'<li class="{key}">{READERS[key]}</li>' for key in found)
    told = "; ".join(
        f"{READERS[key]}: {', '.join(f'{share:.0%}' for share in found[key])}" for key in found
    )
    note = f"<small>{COVERED.capitalize()}: {ALONE}.</small>" if covered else ""
    return (
        f'<div class="laboratory"><svg class="sweep" viewBox="0 0 600 262" role="img" aria-label="'
        f'Words right, from loud noise to quiet. {told}">{grid}{lines}<text x="318" y="258" '
        'text-anchor="middle">speech over noise, dB</text></svg>'
        f'<ul class="keys">{keys}</ul>{note}</div>'
    )


def add_laboratory(
    shelf: ModelRegistry, desk: JobQueue, shown: gr.State, choices: Sequence[Any], folder: Path
) -> None:
    """Put the laboratory on the page that is being built.

    ``choices`` are the page's components for model, language and beam size.
    """
    with gr.Accordion("Noise laboratory: why lips matter", open=False, elem_id="laboratory"):
        gr.Markdown(
            f"Put noise on {SECONDS:.0f} seconds (the first, or those that you look at closely), "
            "cover the mouth, and see what is still understood from the sound, from the lips, and "
            "from both."
        )
        kind = gr.Radio(NOISES, value="babble", label="Noise", elem_id="noise")
        snr_db = gr.Slider(
            -10,
            15,
            value=0,
            step=5,
            label="Speech over noise, dB",
            elem_id="snr",
            info="0: equally loud; below 0 the noise is louder",
        )
        picture = gr.Radio(PICTURES, value="", label="Picture", elem_id="picture")
        with gr.Row():
            attempt = gr.Button("Try it", variant="primary", elem_id="attempt")
            levels = gr.Button("Try all levels", elem_id="levels")
        with gr.Column(visible=False) as working:
            status = gr.HTML(elem_id="experiment")
            cancel = gr.Button("Stop")
        outcome = gr.HTML(apply_default_css=False, elem_id="outcome")

    def follow(work: Callable[[], str], owner: object) -> Iterator[dict[Any, Any]]:
        def told(progress: Progress) -> str:
            with listen_progress(progress):
                return work()

        job = desk.take(told, owner)
        yield {attempt: gr.Button(interactive=False), levels: gr.Button(interactive=False)}
        idle = {
            attempt: gr.Button(interactive=True),
            levels: gr.Button(interactive=True),
            working: gr.Column(visible=False),
        }
        for position in job.positions():
            yield {status: render_position(position), working: gr.Column(visible=True)}
        try:
            yield {**idle, outcome: job.result()}
        except StoppedError:
            yield idle
        except AvsrError as error:
            yield {**idle, outcome: f'<p class="trouble">{html.escape(str(error))}</p>'}
        except Exception:  # a bug: gradio says that there was one, and the page can go on
            yield idle
            raise

    def once(
        now: ResultView,
        kind: str,
        snr_db: float,
        picture: str,
        model: str,
        language: str,
        beam_size: float,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        def work() -> str:
            options = {"language": language, "beam_size": int(beam_size)}
            reader: Reader = shelf.get(model)
            scene, quiet, readings = compare(reader, now, kind, snr_db, picture, **options)
            path = folder / f"spoilt-{uuid.uuid4().hex}.mp4"
            write_video(path, enlarge(scene.mouth), waveform=scene.waveform)
            outcome.temp_files.add(str(path))
            return render_comparison(quiet, readings, str(path))

        yield from follow(work, request.session_hash)

    def often(
        now: ResultView,
        kind: str,
        picture: str,
        model: str,
        language: str,
        beam_size: float,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        def work() -> str:
            options = {"language": language, "beam_size": int(beam_size)}
            return render_sweep(*sweep(shelf.get(model), now, kind, picture, **options))

        yield from follow(work, request.session_hash)

    event: dict[str, Any] = {
        "outputs": [attempt, levels, working, status, outcome],
        "concurrency_limit": None,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    attempt.click(once, [shown, kind, snr_db, picture, *choices], **event)
    levels.click(often, [shown, kind, picture, *choices], **event)

    def stop(request: gr.Request) -> None:
        desk.stop(request.session_hash)

    cancel.click(stop, concurrency_limit=None, api_visibility="private")
