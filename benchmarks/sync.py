"""Lips in step: how often right lips are moved, how often a shift is found, and what it costs.

Domains, as far as their data is there:

- ``synthetic``: test utterances of the nine languages (unseen voices and faces).
- ``grid``: validation clips of the GRID corpus (folder AVSR_GRID).
- ``voices``: real voices, most of them in languages that the model does not know (AVSR_VOICES), on
  synthetic heads whose mouths follow their loudness: right times, wrong shapes.
- ``strangers``: the same voices with the lips of synthetic heads or GRID clips that say something
  else. There is no right shift, so every move is wrong.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from avsr.recognition.recording import Recording

CLIPS = 60  # of a domain, for each run that is asked for
LATE = 3  # frames: 120 ms
SECONDS = (2.5, 5.0)  # of a piece of a real voice
SILENT, LOUD = 0.25, 0.5  # of the loudness of a voice, as shares of its range
MOST_FRAMES_OPEN = 5  # of one pseudo-vowel
VOWELS, CONSONANTS = "aeiouɛɔæ", "pbmfvtdnlszkg"


def measure(runs: int) -> dict[str, Any]:
    """Return for each domain the shares of clips that are moved, and of shifts that are found."""
    from avsr.hub import load_network
    from avsr.recognition.encoding import extract_visual_features
    from avsr.recognition.lip_sync import Synchronizer

    network = load_network(device="cpu")
    result: dict[str, Any] = {"case": f"lips in step, and {LATE * 40} ms early and late"}
    seconds: list[float] = []

    def estimate(recording: "Recording") -> int:
        visual = extract_visual_features(network, recording.mouth)  # is needed anyway
        recording = replace(recording, visual=visual)
        synchronizer = Synchronizer(network)
        start = time.perf_counter()
        synchronizer.align(recording)
        seconds.append(time.perf_counter() - start)
        return synchronizer.delay

    for name, make in DOMAINS.items():
        recordings = make(CLIPS * runs)
        if not recordings:
            continue
        delays = [estimate(recording) for recording in recordings]
        result[f"{name}_clips"] = len(delays)
        result[f"{name}_moved"] = share(delay != 0 for delay in delays)
        if name == "strangers":
            continue
        errors = [
            estimate(move(recording, late)) - late
            for recording in recordings
            for late in (LATE, -LATE)
        ]
        expected = [late for _ in recordings for late in (LATE, -LATE)]
        result[f"{name}_found_exactly"] = share(error == 0 for error in errors)
        result[f"{name}_found_within_a_frame"] = share(abs(error) <= 1 for error in errors)
        result[f"{name}_left_alone"] = share(
            error == -late for error, late in zip(errors, expected, strict=True)
        )
    result["milliseconds_per_clip"] = round(1000 * float(np.median(seconds)), 1)
    return result


def share(hits: Any) -> float:
    """Share of hits, rounded."""
    return round(float(np.mean(list(hits))), 3)


def move(recording: "Recording", frames: int) -> "Recording":
    """The recording with lips that come ``frames`` later; the edge stands."""
    assert recording.mouth is not None
    number = len(recording.mouth)
    return replace(
        recording, mouth=recording.mouth[np.clip(np.arange(number) - frames, 0, number - 1)]
    )


@cache
def make_synthetic(clips: int) -> "list[Recording]":
    """Crops of synthetic heads with their own sound."""
    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.recognition.recording import Recording
    from avsr.synthetic import make_utterance
    from avsr.synthetic.visemes import mouth_trajectory

    recordings = []
    for number in range(clips):
        index, turn = divmod(number, len(MUAVIC_LANGUAGES))
        language = MUAVIC_LANGUAGES[turn]
        utterance = make_utterance(1, "test", language, index)
        rng = np.random.default_rng(number)
        trajectory = mouth_trajectory(
            utterance.phones, utterance.num_frames, rng, language=language
        )
        mouth = render(trajectory, rng)
        recordings.append(
            Recording(name=utterance.utterance_id, waveform=utterance.waveform, mouth=mouth)
        )
    return recordings


def render(trajectory: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mouth crops (T, 96, 96) of an unseen head."""
    from avsr.synthetic.faces import draw_identity, render_mouth

    return render_mouth(draw_identity("test", rng), trajectory, rng)


@cache
def make_grid(clips: int) -> "list[Recording]":
    """Validation clips of GRID."""
    from avsr.recognition.reading import read_recording

    if "AVSR_GRID" not in os.environ:
        return []
    paths = sorted(Path(os.environ["AVSR_GRID"]).glob("valid/*.mp4"))[:clips]
    recordings = [read_recording(path) for path in paths]
    return [recording for recording in recordings if recording.modality == "av"]


def read_voices(clips: int) -> list[np.ndarray]:
    """Pieces of real voices, the sources and languages in turn, words of one speaker joined."""
    from avsr import media
    from avsr.rates import SAMPLE_RATE, SAMPLES_PER_FRAME
    from avsr.runtime.text_lines import split_lines

    if "AVSR_VOICES" not in os.environ:
        return []
    folder = Path(os.environ["AVSR_VOICES"])
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in split_lines((folder / "manifest.jsonl").read_text("utf-8")):
        entry = json.loads(line)
        groups.setdefault((entry["source"], entry["language"]), []).append(entry)
    pieces: list[np.ndarray] = []
    for number in range(clips):
        entries = groups[sorted(groups)[number % len(groups)]]
        rng = np.random.default_rng(number)
        speaker = entries[rng.integers(len(entries))]["speaker"]
        entries = [entry for entry in entries if entry["speaker"] == speaker]
        wanted = round(rng.uniform(*SECONDS) * SAMPLE_RATE)
        sound = np.zeros(0, np.float32)
        for index in rng.permutation(len(entries)):
            pause = np.zeros(round(rng.uniform(0.05, 0.3) * SAMPLE_RATE), np.float32)
            sound = np.concatenate(
                [sound, media.read_waveform(folder / entries[index]["file"]), pause]
            )
            if len(sound) >= wanted:
                break
        pieces.append(sound[: min(len(sound), wanted) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME])
    return pieces


def make_voices(clips: int) -> "list[Recording]":
    """Real voices on heads that open their mouths when it is loud."""
    from avsr.audio import vowel_level
    from avsr.recognition.recording import Recording
    from avsr.synthetic.visemes import mouth_trajectory

    recordings = []
    for number, sound in enumerate(read_voices(clips)):
        rng = np.random.default_rng(number)
        level = vowel_level(sound)
        phones = follow_loudness(level, rng)
        mouth = render(mouth_trajectory(phones, len(level), rng), rng)
        recordings.append(Recording(name=f"voice-{number}", waveform=sound, mouth=mouth))
    return recordings


def follow_loudness(level: np.ndarray, rng: np.random.Generator) -> list[Any]:
    """Phones with the times of a voice: vowels where ``level`` (T,) is high, pauses where low."""
    from avsr.rates import FPS
    from avsr.synthetic.speech import Phone

    quiet, loud = np.percentile(level, [10, 95])
    shares = (level - quiet) / max(0.5, loud - quiet)
    kinds = np.digitize(shares, [SILENT, LOUD])
    phones, first = [], 0
    for frame in range(1, len(kinds) + 1):
        is_same = frame < len(kinds) and kinds[frame] == kinds[first]
        if is_same and not (kinds[first] == 2 and frame - first >= MOST_FRAMES_OPEN):
            continue
        letters = ("", *CONSONANTS) if kinds[first] == 0 else (*VOWELS, *CONSONANTS)
        symbol = str(rng.choice([*VOWELS] if kinds[first] == 2 else letters))
        phones.append(Phone(symbol, first / FPS, frame / FPS))
        first = frame
    return phones


def make_strangers(clips: int) -> "list[Recording]":
    """Real voices with the lips of others."""
    from avsr.rates import SAMPLES_PER_FRAME
    from avsr.recognition.recording import cut_recording

    voices = read_voices(clips)
    lips = make_synthetic(clips) + make_grid(clips) if voices else []
    recordings = []
    for number, sound in enumerate(voices):
        rng = np.random.default_rng(number)
        other = lips[rng.integers(len(lips))]
        frames = min(other.num_frames, len(sound) // SAMPLES_PER_FRAME)
        cut = cut_recording(other, 0, frames)
        recordings.append(replace(cut, waveform=sound[: frames * SAMPLES_PER_FRAME]))
    return recordings


DOMAINS: dict[str, Callable[[int], "list[Recording]"]] = {
    "synthetic": make_synthetic,
    "grid": make_grid,
    "voices": make_voices,
    "strangers": make_strangers,
}
