"""Clips joined to one file: errors of times, words and languages in its transcript.

``grid``: clips of the GRID corpus (folder in AVSR_GRID, with its sentences and alignments) and
synthetic talking heads of other languages between them, three minutes in total.
``switch``: a German and a Spanish talk of synthetic heads in both orders, with pauses of several
lengths between them; the change of language should be detected within a second.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MINUTES = 3.0
BETWEEN = 3  # GRID clips between two synthetic ones
OTHERS = ("de", "es", "fr", "it", "pt", "ru")
PAUSES = (1.0, 0.6, 0.3, 0.0)  # s between the two talks, added to the silence of the clips
TALK = 6  # utterances of each language: more than 20 s in total, or the file is one segment
INNER_PAUSE = 0.4  # s between the utterances of a talk


@dataclass(frozen=True)
class Piece:
    """One clip of a joined file."""

    frames: Callable[[], Iterator[np.ndarray]]
    waveform: np.ndarray
    num_frames: int
    language: str
    text: str
    words: list[dict[str, Any]]
    """``word``, ``start``, ``end`` in seconds from the piece's start."""
    real: bool
    pause: int = 0
    """Frames of silence after it, in which the last frame is repeated."""


@dataclass(frozen=True)
class Placed:
    """A piece and its start and end in the file, s."""

    piece: Piece
    start: float
    end: float


def synthetic(
    seed: int, language: str, index: int, identity: str, size: tuple[int, int], pause: int = 0
) -> Piece:
    """Make an utterance of a synthetic head."""
    from avsr.synthetic import faces, make_utterance, visemes

    utterance = make_utterance(seed, "test", language, index)

    def frames() -> Iterator[np.ndarray]:
        moves = visemes.mouth_trajectory(
            utterance.phones, utterance.num_frames, np.random.default_rng(index)
        )
        person = faces.make_identity(identity)
        return iter(faces.render_frames(person, moves, np.random.default_rng(index), size=size))

    return Piece(
        frames,
        utterance.waveform,
        utterance.num_frames,
        language,
        utterance.text,
        [{"word": word, "start": start, "end": end} for word, start, end in utterance.words],
        real=False,
        pause=pause,
    )


def recorded(folder: Path, record: Any) -> Piece:
    """Read a clip of GRID."""
    from avsr import media
    from avsr.rates import SAMPLES_PER_FRAME

    path = folder / record.media
    count = sum(1 for _ in media.read_frames(path))
    waveform = media.read_waveform(path)[: count * SAMPLES_PER_FRAME]
    missing = count * SAMPLES_PER_FRAME - len(waveform)
    return Piece(
        lambda: media.read_frames(path),
        np.pad(waveform, (0, missing)),
        count,
        record.language,
        record.text,
        record.words,
        real=True,
    )


def write_join(path: Path, pieces: Sequence[Piece]) -> list[Placed]:
    """Write the pieces one after the other into one file; return their times in it."""
    from avsr.media import write_video
    from avsr.rates import FPS, SAMPLES_PER_FRAME

    def frames() -> Iterator[np.ndarray]:
        for piece in pieces:
            for frame in piece.frames():
                yield frame
            for _ in range(piece.pause):
                yield frame

    sound = [np.pad(p.waveform, (0, p.pause * SAMPLES_PER_FRAME)) for p in pieces]
    write_video(path, frames(), waveform=np.concatenate(sound), crf=18)
    placed, first = [], 0
    for piece in pieces:
        placed.append(Placed(piece, first / FPS, (first + piece.num_frames) / FPS))
        first += piece.num_frames + piece.pause
    return placed


def grid(runs: int, minutes: float = MINUTES) -> dict[str, Any]:
    """Return errors of words and times of a file with GRID clips; ``runs`` is ignored."""
    from avsr import load_model, media
    from avsr.corpus import read_manifest
    from avsr.corpus.normalization import normalize_text
    from avsr.evaluation import word_errors
    from avsr.evaluation.word_timing import boundary_errors, time_scores

    folder = os.environ.get("AVSR_GRID")
    if not folder:
        raise SystemExit("grid: set AVSR_GRID to a folder of GRID clips with manifest.jsonl")
    records = [r for r in read_manifest(Path(folder) / "manifest.jsonl") if r.split == "valid"]
    height, width = next(iter(media.read_frames(Path(folder) / records[0].media))).shape[:2]
    pieces: list[Piece] = []
    number, seconds = 0, 0.0
    while seconds < 60 * minutes:
        if number % (BETWEEN + 1) == BETWEEN:
            other = number // (BETWEEN + 1)
            language = OTHERS[other % len(OTHERS)]
            name = f"test-{other % 20:03d}"
            pieces.append(synthetic(7, language, other, name, (width, height)))
        else:
            pieces.append(recorded(Path(folder), records[number % len(records)]))
        seconds += pieces[-1].num_frames / 25
        number += 1
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "joined.mp4"
        placed = write_join(path, pieces)
        result = load_model(device="cpu").transcribe(path)
    errors: list[tuple[float, ...]] = []
    counts = {True: [0, 0], False: [0, 0]}  # word errors and words, of real and synthetic clips
    correct = {True: [0, 0], False: [0, 0]}  # clips with the correct language, and clips
    for place in placed:
        piece = place.piece
        words = [w for w in result.words if place.start <= (w.start + w.end) / 2 < place.end]
        spoken_words = [
            w | {"start": w["start"] + place.start, "end": w["end"] + place.start}
            for w in piece.words
        ]
        if piece.real:
            errors.append(boundary_errors(spoken_words, words, piece.language))
        score = word_errors(
            normalize_text(piece.text, piece.language),
            normalize_text(" ".join(w.text for w in words), piece.language),
        )
        counts[piece.real][0] += score.errors
        counts[piece.real][1] += len(piece.text.split())
        middle = (place.start + place.end) / 2
        languages = [s.language for s in result.segments if s.start <= middle < s.end]
        correct[piece.real][0] += languages == [piece.language]
        correct[piece.real][1] += 1
    times = time_scores(errors)
    assert times is not None
    return {
        "case": f"{len(placed)} clips joined, {correct[True][1]} of GRID, {result.duration:.0f} s",
        "segments": len(result.segments),
        "grid_words": counts[True][1],
        "grid_wer": round(counts[True][0] / counts[True][1], 4),
        "other_wer": round(counts[False][0] / counts[False][1], 4),
        "boundaries": times["boundaries"],
        "boundary_median_ms": times["median_ms"],
        "boundary_within_100_ms": round(times["near"], 4),
        "grid_language_right": round(correct[True][0] / correct[True][1], 3),
        "other_language_right": round(correct[False][0] / max(1, correct[False][1]), 3),
    }


def switch_errors(
    model: Any, path: Path, order: tuple[str, str], number: int, pause: float, **options: Any
) -> tuple[float, bool]:
    """Join two talks and transcribe them.

    Returns:
        Seconds between the true and the detected start of the second language (infinity if it is
        not detected), and whether every segment more than 1 s away has the correct language.
    """
    from avsr.rates import FPS

    pieces = []
    for side, language in enumerate(order):
        for k in range(TALK):
            gap = INNER_PAUSE if k < TALK - 1 else pause if side == 0 else 1.0
            person = f"test-{(2 * number + side) % 20:03d}"
            index = TALK * number + k
            pieces.append(synthetic(8, language, index, person, (320, 320), round(gap * FPS)))
    placed = write_join(path, pieces)
    change = placed[TALK].start + placed[TALK].piece.words[0]["start"]
    segments = model.transcribe(path, **options).segments
    second = [s.start for s in segments if s.language == order[1]]
    error = abs(min(second) - change) if second else float("inf")
    wrong = [
        s
        for s in segments
        if (s.end < change - 1 and s.language != order[0])
        or (s.start > change + 1 and s.language != order[1])
    ]
    return error, not wrong


def switch(runs: int) -> dict[str, Any]:
    """Return the errors of the change of language for every pause; ``runs`` is ignored."""
    from avsr import load_model

    model = load_model(device="cpu")
    result: dict[str, Any] = {"case": f"German and Spanish talks, {2 * TALK} utterances each join"}
    for pause in PAUSES:
        results = []
        for number in range(3):
            for order in (("de", "es"), ("es", "de")):
                with tempfile.TemporaryDirectory() as name:
                    path = Path(name) / "switch.mp4"
                    results.append(switch_errors(model, path, order, number, pause))
                print(f"pause {pause} s: {results[-1]}", file=sys.stderr, flush=True)
        errors = [error for error, _ in results]
        result[f"pause_{pause}_within_1_s"] = f"{sum(e <= 1 for e in errors)} of {len(errors)}"
        result[f"pause_{pause}_worst_s"] = round(max(errors), 2)
        result[f"pause_{pause}_median_s"] = round(statistics.median(errors), 2)
        result[f"pause_{pause}_right"] = f"{sum(right for _, right in results)} of {len(results)}"
    return result
